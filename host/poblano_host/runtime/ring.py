"""The command ring of a chip on any device: set-up, reset, commands in, completion, errors, counters."""

import time

import numpy as np

from poblano.config import PAGE_ALIGNMENT
from poblano.isa.commands import COMMAND_BYTES, Command, ErrorCode, Opcode
from poblano.isa.ecc_registers import COUNT_BITS, dram_registers, ecc_places
from poblano.isa.registers import COUNTERS, Control, Irq, Status, address, constants
from poblano.isa.topology import UnitKind

from ..compiler.template import Bound
from .ecc import ECCCounts
from .errors import ChipError, DeviceError, HangError
from .resident import Residents
from .result import SAMPLED, RunResult

__all__ = ["Ring", "Stopped", "clear_commands", "command_rows"]

SLOW_WATCHDOG = 1 << 28
"""Cycles of the watchdog where the host is slow."""
LOOKS = 8
"""How often a chip is looked at before it is said to hang."""


def command_rows(commands):
    """``commands`` as uint8 (commands, 64), not copied: those of a
    :class:`~poblano_host.compiler.template.Bound`, or of a buffer with 64 bytes for each (uint64 (commands,
    8), say)."""
    if isinstance(commands, Bound):
        commands = commands.words
    return np.frombuffer(commands, np.uint8).reshape(-1, COMMAND_BYTES)


def clear_commands(config):
    """A program that clears the local memories of every tile."""
    units = config.topology.units_of(UnitKind.VECTOR)
    return b"".join(Command(Opcode.CLEAR, unit, {}).encode() for unit in units)


class Stopped(Exception):
    """The chip stopped at command ``index`` of ``unit`` with an :class:`ErrorCode`. ``completed`` has what
    each unit had completed; the queue has been reset."""

    def __init__(self, code, index, unit, completed):
        super().__init__(code, index, unit, completed)
        self.code, self.index, self.unit, self.completed = code, index, unit, completed


class Ring:
    """The ring of ``size`` commands at ``address`` of the memory of a :class:`Device`, and the chip's queue.

    :meth:`run` runs a program. That of a template stays in the ring's memory as long as there is room: it is
    written once and patched for each run, and the chip's ring is then the program's part of it.

    What brings data between commands calls :meth:`start`, :meth:`issue` and :meth:`until` as it likes, and
    :meth:`finish`; these raise :class:`Stopped`. A chip that hangs, does not end its reset, or is not that of
    ``config`` is a :class:`DeviceError`.

    Members
    -------
    written : commands issued since the start
    sampling : whether a run keeps the counters whenever the device has been let work, for a plot over time
    """

    def __init__(self, config, device, address, size):
        self.config, self.device, self.address, self.size = config, device, address, size
        self.sampling, self._samples = False, []
        for name, value in constants(config).items():
            if (found := self.read(name)) != value:
                raise DeviceError(
                    f"the chip's {name} is 0x{found:08x}; that of {config.name} is 0x{value:08x}"
                )
        self._reset(0)
        self._residents, self._place = Residents(device, address, COMMAND_BYTES * size), (None, None)
        self._use(address, size)
        self._write_wide("MEMORY_SIZE", device.memory_bytes)
        self._write("IRQ_ENABLE", Irq.DONE | Irq.ERROR)
        if config.watchdog and not device.sees_cycles:
            # Commands may come long after those that wait for them.
            self._write("WATCHDOG", SLOW_WATCHDOG)

    def read(self, name, unit=None):
        """The value of a register, or of a counter of ``unit``."""
        return self._several(name, 1, unit)[0]

    def _several(self, first, count, unit=None):
        """The values of registers one behind the other."""
        return self.device.read_registers(address(first, unit), count)

    def _counters(self):
        """The counters of all units, by number and name."""
        values, width = self._several("COMPLETED", len(COUNTERS) * self.config.units, 0), len(COUNTERS)
        return {unit: dict(zip(COUNTERS, values[width * unit :])) for unit in range(self.config.units)}

    def ecc_counts(self):
        """The :class:`~.ecc.ECCCounts` of each place with check bits since the counters were cleared, by its
        name; none of a chip without."""
        read = lambda address: self.device.read_registers(address, 1)[0]
        counts = {}
        for place in ecc_places(self.config):
            value, more = read(place.address), {}
            if place.kind == "dram":
                scrubs, low, high = map(read, dram_registers(place.home).values())
                more = {"scrubs": scrubs, "address": high << 32 | low}
            counts[place.name] = ECCCounts(value & (1 << COUNT_BITS) - 1, value >> COUNT_BITS, **more)
        return counts

    def _write(self, name, value):
        self.device.write_register(address(name), value)

    def _write_wide(self, name, value):
        self._write(f"{name}_LO", value & 0xFFFFFFFF)
        self._write(f"{name}_HI", value >> 32)

    def _use(self, address, size):
        """Tell the chip where its ring is, if it is another than before; nothing is in progress."""
        before, self._place = self._place, (address, size)
        if before[0] != address:
            self._write_wide("RING_BASE", address)
        if before[1] != size:
            self._write("RING_SIZE", size)

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

        ``progress(completed, total, cycles)`` is called from time to time, and at the end; of a device that
        does not see what is completed the number of commands dispatched.
        """
        stays = isinstance(commands, Bound)
        total = len(commands if stays else command_rows(commands))

        def tick():
            if progress is not None and self._running:
                completed = self.device.completed()
                done = self.read("HEAD") if completed is None else completed - before
                progress(done, total, self._cycles())

        self.start()
        before = self.device.completed()
        try:
            if stays and (place := self._residents.bring(commands)):
                self._use(place.address, place.size)
                self._doorbell = self.device.clock()
                self._ring_up(total)
            else:
                self.issue(command_rows(commands), tick=tick)
            result = self.finish(tick=tick)
        except Stopped as stop:
            self._residents.clear()  # what failed may be in there
            raise self._chip_error(stop, commands) from None
        if progress is not None:
            progress(total, total, self._cycles())
        return result

    @staticmethod
    def _chip_error(stop, commands):
        """The :class:`ChipError` of a :class:`Stopped`; a chip with a fault can name a command that is not
        there."""
        rows = command_rows(commands)
        if stop.index >= len(rows):
            return ChipError(stop.code, stop.index, stop.unit, b"", stop.completed)
        label = commands.template.label(stop.index) if isinstance(commands, Bound) else ""
        command = rows[stop.index].tobytes()
        return ChipError(stop.code, stop.index, stop.unit, command, stop.completed, label)

    def use_pages(self, first, page_bytes):
        """Memory, or each home's of several, from ``first`` on is for pages of ``page_bytes``, which
        commands reach through page tables alone."""
        if self.config.memory.homes == 1:
            self._write_wide("MEMORY_SIZE", first)
        else:
            self._write("HOME_END", first // PAGE_ALIGNMENT)
        self._write("PAGE_BYTES", page_bytes)

    def set_pages(self, slot, addresses):
        """The page table of a slot."""
        self._write("PAGE_INDEX", slot * self.config.memory.paging.pages)
        self._write("PAGE_COUNT", len(addresses))
        for place in addresses:
            self._write("PAGE_ENTRY", place // PAGE_ALIGNMENT)

    @property
    def place(self):
        """(address, commands) of the ring that the last program was in."""
        return self._place

    def clear_local(self):
        """Zeros in all local memories of the chip, for another owner of it; its queue is reset."""
        self.run(clear_commands(self.config))

    def start(self):
        """Reset the queue and the counters; then commands can be issued."""
        self._begun, self._samples = time.monotonic(), []
        self._reset(Control.CLEAR_COUNTERS | Control.ENABLE)
        if self.device.sees_cycles:
            self.device.take_events()
        self._doorbell = self.device.clock()

    def issue(self, rows, *, tick=lambda: None):
        """Give commands, uint8 (commands, 64), to the chip; ``tick`` is called while the ring is full."""
        if not self.written:
            self._residents.clear()
            self._use(self.address, self.size)
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
            self._ring_up(self.written)

    def _ring_up(self, written):
        """The doorbell: ``written`` commands are in the ring."""
        self.written = written
        self._write("TAIL", written)
        self._running = written > 0

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
                raise HangError(self._hang(*counts), counts[1:])

    def _wait(self, brief):
        interrupt = self.device.wait(brief)
        if self.sampling and not brief:
            counts = [[counters[name] for name in SAMPLED] for counters in self._counters().values()]
            self._samples.append((self.device.clock() - self._doorbell, np.array(counts)))
        if interrupt is False:
            return
        if interrupt:
            # Cleared before the status is read: of what completes between the two it rises again.
            self._write("IRQ_STATUS", Irq.DONE)
        status = self.read("STATUS")
        if status & Status.ERROR:
            code, index, unit = self._several("ERROR_CODE", 3)
            self._settle()
            completed = self._completed()
            self._reset(0)
            raise Stopped(ErrorCode(code), index, unit, completed)
        self._running = bool(status & Status.RUNNING)

    def _settle(self):
        """Let the units that have not failed end what does not depend on those that have."""
        begun, before = self.device.clock(), None
        while before != (now := self._work()) and self.device.clock() - begun <= self.device.patience:
            before = now
            self._write("IRQ_STATUS", Irq.DONE | Irq.ERROR)
            self.device.wait(True)

    def _work(self):
        """What changes while units work; what those do that have failed is not counted."""
        return self.read("HEAD"), [
            (of["COMPLETED"], of["BUSY"] - of["STALL_IN"] - of["STALL_OUT"])
            for of in self._counters().values()
        ]

    def _completed(self):
        return [counters["COMPLETED"] for counters in self._counters().values()]

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
        events = {}
        low, high, reads, writes = self._several("CYCLES_LO", 4)
        cycles = high << 32 | low
        if self.device.sees_cycles:
            found = self.device.take_events()
            cycles = int(found["cycle"].max(initial=self._doorbell - 1)) + 1 - self._doorbell
            found["cycle"] -= np.uint64(self._doorbell)
            events = {"events": found}
        beat = self.config.memory.data_bytes
        return RunResult(
            commands=self.written,
            seconds=time.monotonic() - self._begun,
            cycles=cycles,
            counters=self._counters(),
            bytes_read=beat * reads,
            bytes_written=beat * writes,
            samples=self._samples,
            ecc={place: counts for place, counts in self.ecc_counts().items() if counts},
            experts=self.read("EXPERTS_ROUTED") if self.config.experts else None,
            rerouted=self.read("EXPERTS_REROUTED") if self.config.experts else 0,
            **events,
        )

    def _cycles(self):
        return self.device.clock() - self._doorbell if self.device.sees_cycles else 0
