"""The command ring of a chip on any device: set-up, reset, commands in, completion, errors, counters."""

import time

import numpy as np

from poblano.isa.commands import COMMAND_BYTES, ErrorCode
from poblano.isa.registers import COUNTERS, Control, Irq, Status, address, constants

from .errors import ChipError, DeviceError
from .result import RunResult

__all__ = ["Ring", "Stopped", "command_rows"]

LOOKS = 8
"""How often a chip is looked at before it is said to hang."""


def command_rows(commands):
    """``commands`` (a buffer with 64 bytes for each, as a uint64 array of (commands, 8)) as uint8
    (commands, 64), not copied."""
    return np.frombuffer(commands, np.uint8).reshape(-1, COMMAND_BYTES)


class Stopped(Exception):
    """The chip stopped at command ``index`` of ``unit`` with an :class:`ErrorCode`. ``completed`` has what
    each unit had completed; the queue has been reset."""

    def __init__(self, code, index, unit, completed):
        super().__init__(code, index, unit, completed)
        self.code, self.index, self.unit, self.completed = code, index, unit, completed


class Ring:
    """The ring of ``size`` commands at ``address`` of the memory of a :class:`Device`, and the chip's queue.

    :meth:`run` runs a program. What brings data between commands calls :meth:`start`, :meth:`issue` and
    :meth:`until` as it likes, and :meth:`finish`; these raise :class:`Stopped`. A chip that hangs, does not
    end its reset, or is not that of ``config`` is a :class:`DeviceError`.

    Members
    -------
    written : commands issued since the start
    """

    def __init__(self, config, device, address, size):
        self.config, self.device, self.address, self.size = config, device, address, size
        for name, value in constants(config).items():
            if (found := self.read(name)) != value:
                raise DeviceError(
                    f"the chip's {name} is 0x{found:08x}; that of {config.name} is 0x{value:08x}"
                )
        self._reset(0)
        for name, value in (("RING_BASE", address), ("MEMORY_SIZE", device.memory_bytes)):
            self._write(f"{name}_LO", value & 0xFFFFFFFF)
            self._write(f"{name}_HI", value >> 32)
        self._write("RING_SIZE", size)
        self._write("IRQ_ENABLE", Irq.DONE | Irq.ERROR)

    def read(self, name, unit=None):
        """The value of a register, or of a counter of ``unit``."""
        return self.device.read_register(address(name, unit))

    def _write(self, name, value):
        self.device.write_register(address(name), value)

    def _reset(self, others):
        """Reset the queue, with other bits of CONTROL."""
        self._write("CONTROL", Control.QUEUE_RESET | others)
        begun = self.device.clock()
        while self.read("CONTROL") & Control.QUEUE_RESET:
            if self.device.clock() - begun > self.device.patience:
                raise DeviceError(f"the queue's reset has not ended in {self._patience()}")
        self.written = self._head = 0
        self._running = False

    def _patience(self):
        return f"{self.device.patience} {'cycles' if self.device.sees_cycles else 'accesses'}"

    def run(self, commands, *, progress=None):
        """Run a program (as of :func:`command_rows`); its :class:`RunResult`, or a :class:`ChipError`.

        ``progress(dispatched, total, cycles)`` is called from time to time, and at the end.
        """
        rows = command_rows(commands)
        tick = lambda: None
        if progress is not None:
            tick = lambda: progress(self.read("HEAD"), len(rows), self._cycles())
        self.start()
        try:
            self.issue(rows, tick=tick)
            return self.finish(tick=tick)
        except Stopped as stop:
            raise ChipError(stop.code, stop.index, stop.unit, rows[stop.index].tobytes()) from None

    def start(self):
        """Reset the queue and the counters; then commands can be issued."""
        self._begun = time.monotonic()
        self._reset(Control.CLEAR_COUNTERS | Control.ENABLE)
        if self.device.sees_cycles:
            self.device.take_events()
        self._doorbell = self.device.clock()

    def issue(self, rows, *, tick=lambda: None):
        """Give commands, uint8 (commands, 64), to the chip; ``tick`` is called while the ring is full."""
        if not self.written:
            self._doorbell = self.device.clock()
        done = 0
        while done < len(rows):
            if self.written - self._head == self.size:
                self.until(self._has_room, tick=tick)
            end = min(len(rows), done + self._head + self.size - self.written)
            while done < end:
                place = self.written % self.size
                count = min(end - done, self.size - place)
                self.device.write_memory(self.address + COMMAND_BYTES * place, rows[done : done + count])
                done, self.written = done + count, self.written + count
            self._write("TAIL", self.written)
            self._running = True

    def _has_room(self):
        self._head = self.read("HEAD")
        return self.written - self._head < self.size

    def until(self, holds, *, brief=True, tick=lambda: None):
        """Let the chip work until ``holds()``, asked after times that are ``brief`` or not."""
        looked = moved = self.device.clock()
        counts = None
        while not holds():
            self._wait(brief)
            tick()
            now = self.device.clock()
            if now - looked < self.device.patience // LOOKS:
                continue
            looked, found = now, [self.read("HEAD"), *self._completed()]
            if found != counts:
                counts, moved = found, now
            elif now - moved > self.device.patience:
                raise DeviceError(self._hang(*counts))

    def _wait(self, brief):
        interrupt = self.device.wait(brief)
        if interrupt is False:
            return
        if interrupt:
            # Cleared before the status is read: of what completes between the two it rises again.
            self._write("IRQ_STATUS", Irq.DONE)
        status = self.read("STATUS")
        if status & Status.ERROR:
            code, index, unit = (self.read(f"ERROR_{name}") for name in ("CODE", "INDEX", "UNIT"))
            completed = self._completed()
            self._reset(0)
            raise Stopped(ErrorCode(code), index, unit, completed)
        self._running = bool(status & Status.RUNNING)

    def _completed(self):
        return [self.read("COMPLETED", unit) for unit in range(self.config.units)]

    def _hang(self, dispatched, *completed):
        name = self.config.topology.name
        counts = ", ".join(f"{name(unit)} {count}" for unit, count in enumerate(completed))
        return (
            f"the chip hangs: nothing completed in {self._patience()}; {dispatched} of {self.written} "
            f"commands are dispatched, and completed are {counts}"
        )

    def finish(self, *, tick=lambda: None):
        """Wait for all that has been issued; the :class:`RunResult` since the start."""
        self.until(lambda: not self._running, brief=False, tick=tick)
        events, cycles = {}, None
        if self.device.sees_cycles:
            found = self.device.take_events()
            cycles = int(found["cycle"].max(initial=self._doorbell - 1)) + 1 - self._doorbell
            found["cycle"] -= np.uint64(self._doorbell)
            events = {"events": found}
        else:
            cycles = self.read("CYCLES_LO")
            cycles |= self.read("CYCLES_HI") << 32
        units, beat = range(self.config.units), self.config.memory.data_bytes
        return RunResult(
            commands=self.written,
            seconds=time.monotonic() - self._begun,
            cycles=cycles,
            counters={unit: {name: self.read(name, unit) for name in COUNTERS} for unit in units},
            bytes_read=beat * self.read("READ_BEATS"),
            bytes_written=beat * self.read("WRITE_BEATS"),
            **events,
        )

    def _cycles(self):
        return self.device.clock() - self._doorbell if self.device.sees_cycles else 0
