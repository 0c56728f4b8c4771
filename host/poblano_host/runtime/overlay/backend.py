"""The backend for a chip whose memory is smaller than the model's."""

from collections import deque
from dataclasses import replace
import time
from typing import Protocol

import numpy as np

from poblano.isa.check import check
from poblano.isa.commands import COMMAND_BYTES, CommandError, ErrorCode
from poblano.isa.registers import (
    COUNTERS,
    IDENTITY,
    RING_ALIGNMENT,
    SMALLEST_RING,
    VERSION_NUMBER,
    Control,
    Status,
    address,
)

from ...sim.simulation import Simulation
from ..session import ChipError, RunResult
from .cache import PageCache
from .program import PagingError, split

__all__ = ["Device", "PagedBackend", "SimulatedDevice"]

LARGEST_RING = 256
LARGEST_PAGE = 4096
SMALLEST_PAGE = 256


class Device(Protocol):
    """A chip and its memory of ``memory_bytes``, however they are reached.

    ``patience`` is how many calls of :meth:`wait` may pass before a chip that completes nothing is said to
    hang.
    """

    memory_bytes: int
    patience: int

    def read_memory(self, address, size):
        """``size`` bytes from ``address`` on, multiples of 4."""

    def write_memory(self, address, data):
        """Write bytes; the address and their number are multiples of 4."""

    def read_register(self, address):
        """A register's value."""

    def write_register(self, address, value):
        """Write a register."""

    def wait(self):
        """Let the chip work for a little."""

    def close(self):
        """Free the device."""


class SimulatedDevice:
    """A chip's RTL in simulation behind :class:`Device`."""

    SLICE = 500

    def __init__(self, config, memory_bytes, *, report=lambda text: None):
        self.memory_bytes = memory_bytes
        self.patience = max(2**31 // config.macs_per_cycle, 2**20) // self.SLICE
        self.simulation = Simulation(config, memory_bytes, report=report)

    def read_memory(self, address, size):
        return self.simulation.memory[address : address + size].tobytes()

    def write_memory(self, address, data):
        self.simulation.memory[address : address + len(data)] = np.frombuffer(data, np.uint8)

    def read_register(self, address):
        return self.simulation.read(address)

    def write_register(self, address, value):
        self.simulation.write(address, value)

    def wait(self):
        self.simulation.run(self.SLICE)

    def close(self):
        self.simulation.close()


class PagedBackend:
    """Runs programs of a memory of ``memory_bytes`` on a :class:`Device` with less: a
    :class:`~poblano_host.runtime.session.Backend`.

    The device's memory holds a short ring of its own and, in the rest, pages of the image. A page stays
    until its place is needed for one that is used sooner; the program is taken to be repeated, so that part
    of what does not fit stays as well. What commands store stays on the device until it is read, or its
    place is needed.

    Parameters
    ----------
    config : ChipConfig of the device's chip
    memory_bytes, ring : of the image; the ring in it is not used
    device : Device
    page_bytes : a power of two; by default 4 KiB, or less in a memory that has fewer than eight such

    Members
    -------
    memory : the image, read only, with all that has been stored
    cache : the :class:`PageCache`, which counts pages and bytes
    look_ahead : pages that commands in progress may use before more are brought; the fewer, the more of the
        others stay
    pieces : commands that the last run issued
    """

    def __init__(self, config, memory_bytes, ring, device, *, page_bytes=None, report=None):
        self.config, self.device = config, device
        self.ring_size = SMALLEST_RING
        while (
            self.ring_size < LARGEST_RING and 16 * 2 * COMMAND_BYTES * self.ring_size <= device.memory_bytes
        ):
            self.ring_size *= 2
        start = max(RING_ALIGNMENT, COMMAND_BYTES * self.ring_size)
        if page_bytes is None:
            page_bytes = LARGEST_PAGE
            while page_bytes > SMALLEST_PAGE and 8 * page_bytes > device.memory_bytes - start:
                page_bytes //= 2
        start = -(-start // page_bytes) * page_bytes
        places = range(start, device.memory_bytes - page_bytes + 1, page_bytes)
        if not places:
            raise PagingError(
                f"a memory of {device.memory_bytes} bytes has no room for a ring of {self.ring_size} "
                "commands and a page of "
                f"{page_bytes} bytes"
            )
        if page_bytes % config.stream_bytes or page_bytes & page_bytes - 1:
            raise PagingError(
                f"page_bytes must be a power of two of at least {config.stream_bytes}, not {page_bytes}"
            )
        self._image = np.zeros(memory_bytes, np.uint8)
        self.cache = PageCache(device, self._image, page_bytes, places)
        self.look_ahead = max(1, len(places) // 16)
        self.pieces = []
        self._start()

    # The image

    @property
    def memory(self):
        self.cache.flush()
        view = self._image.view()
        view.flags.writeable = False
        return view

    def write(self, address, data):
        self._check(address, len(data))
        self.cache.flush(address, len(data))
        self._image[address : address + len(data)] = np.frombuffer(data, np.uint8)
        self.cache.changed(address, len(data))

    def read(self, address, size):
        self._check(address, size)
        self.cache.flush(address, size)
        return self._image[address : address + size].tobytes()

    def _check(self, address, size):
        if address < 0 or address + size > len(self._image):
            raise ValueError(
                f"bytes {address} to {address + size - 1} pass the memory of {len(self._image)} bytes"
            )

    def close(self):
        self.device.close()

    # Registers

    def _read(self, name, unit=None):
        return self.device.read_register(address(name, unit))

    def _write(self, name, value):
        self.device.write_register(address(name), value)

    def _start(self):
        tile, memory = self.config.tile, self.config.memory
        log2 = lambda n: (n - 1).bit_length()
        pack = lambda width, *values: sum(value << width * n for n, value in enumerate(values))
        expected = {
            "ID": IDENTITY,
            "VERSION": VERSION_NUMBER,
            "CONFIG0": pack(8, self.config.tiles, tile.lanes, memory.data_bytes, self.config.units),
            "CONFIG1": pack(16, tile.array.rows, tile.array.cols),
            "CONFIG2": pack(8, *map(log2, (tile.vmem_lines, tile.amem_blocks, tile.fifo_bytes, tile.tokens))),
        }
        for name, value in expected.items():
            if (found := self._read(name)) != value:
                raise PagingError(
                    f"the chip's {name} is 0x{found:08x}; that of {self.config.name} is 0x{value:08x}"
                )
        self._reset_queue()
        for name, value in (("RING_BASE", 0), ("MEMORY_SIZE", self.device.memory_bytes)):
            self._write(f"{name}_LO", value & 0xFFFFFFFF)
            self._write(f"{name}_HI", value >> 32)
        self._write("RING_SIZE", self.ring_size)
        self._write("IRQ_ENABLE", 0)

    def _reset_queue(self, others=0):
        self._write("CONTROL", Control.QUEUE_RESET | others)
        for _ in range(self.device.patience):
            if not self._read("CONTROL") & Control.QUEUE_RESET:
                break
            self.device.wait()
        else:
            raise PagingError("the queue's reset does not end")

    # Runs

    def run(self, commands, *, progress=None):
        begun = time.monotonic()
        decoded, refused = self._decode(commands)
        self.pieces = split(decoded, self.config, self.cache.page_bytes)
        self._program = commands
        self._completed = [0] * self.config.units
        self._pending, self._written, self._head = deque(), 0, 0
        self._reset_queue(Control.CLEAR_COUNTERS)
        self._write("CONTROL", Control.ENABLE)
        for at, (piece, next_use) in enumerate(zip(self.pieces, self._next_uses())):
            command = piece.command
            if piece.page is not None:
                frame = self._frame(piece)
                frame.uses[piece.command.unit], frame.next = piece.count, next_use
                if piece.writes:
                    self.cache.mark(frame, piece.writes)
                placed = {"mem_addr": frame.address + command.operands["mem_addr"]}
                command = replace(command, operands=command.operands | placed)
            self._pending.append(command.encode())
            if len(self._pending) == self.ring_size // 2:
                self._issue()
            if progress is not None and at % 64 == 0:
                progress(at, len(self.pieces), 0)
        self._issue()
        self._until(self._finished)
        if progress is not None:
            progress(len(self.pieces), len(self.pieces), 0)
        result = self._result(len(decoded), begun)
        if refused is not None:
            raise ChipError(refused.code, len(decoded), commands[COMMAND_BYTES * len(decoded) + 1], commands)
        return result

    def _decode(self, commands):
        """The commands before the first that the chip would refuse, and why it would."""
        decoded = []
        for start in range(0, len(commands) // COMMAND_BYTES * COMMAND_BYTES, COMMAND_BYTES):
            try:
                decoded.append(check(commands[start : start + COMMAND_BYTES], self.config, len(self._image)))
            except CommandError as error:
                return decoded, error
        return decoded, None

    def _next_uses(self):
        """For each piece the place of the next that uses its page, in the program or its repetition;
        others' pages come last."""
        after, count = {}, len(self.pieces)
        for at in reversed(range(count)):
            if self.pieces[at].page is not None:
                after[self.pieces[at].page] = count + at
        for page, frame in self.cache.resident.items():
            frame.next = after[page] - count if page in after else 2 * count
            frame.fresh, frame.uses = None, {}
        nexts = [0] * count
        for at in reversed(range(count)):
            page = self.pieces[at].page
            if page is not None:
                nexts[at], after[page] = after[page], at
        return nexts

    def _frame(self, piece):
        """The place of the piece's page, which is brought if it is not there."""
        cache = self.cache
        if piece.page in cache.resident:
            cache.hits += 1
            return cache.resident[piece.page]
        if self._in_use() >= self.look_ahead:
            self._issue()
            self._until(self._poll)
        frame = cache.victim(self._completed)
        whole = piece.writes == ((0, cache.page_bytes),)
        cache.place(frame, piece.page, (piece.command.unit, piece.count) if whole else None)
        return frame

    def _issue(self):
        """Give the pending commands to the chip."""
        while self._pending:
            if self._written - self._head == self.ring_size:
                self._until(self._has_room)
            place = self._written % self.ring_size
            count = min(
                self._head + self.ring_size - self._written, len(self._pending), self.ring_size - place
            )
            self.device.write_memory(
                COMMAND_BYTES * place, b"".join(self._pending.popleft() for _ in range(count))
            )
            self._written += count
            if not self._pending or self._written - self._head == self.ring_size:
                self._write("TAIL", self._written)

    def _has_room(self):
        self._head = self._read("HEAD")
        return self._written - self._head < self.ring_size

    def _in_use(self):
        return sum(not frame.done(self._completed) for frame in self.cache.frames)

    def _poll(self):
        """Learn what the units that touch memory have completed; whether so few pages are in use that a
        place is free."""
        for unit in {
            unit
            for frame in self.cache.frames
            for unit, count in frame.uses.items()
            if count > self._completed[unit]
        }:
            self._completed[unit] = self._read("COMPLETED", unit)
        return self._in_use() < self.look_ahead

    def _finished(self):
        return self._read("STATUS") & (Status.RUNNING | Status.ERROR) == 0

    def _until(self, holds):
        """Wait until ``holds()``. Raises ChipError, and PagingError for a chip that hangs."""
        seen, fruitless = None, 0
        while not holds():
            if self._read("STATUS") & Status.ERROR:
                self._fail()
            self.device.wait()
            counts = (
                [self._read("COMPLETED", unit) for unit in range(self.config.units)]
                if fruitless % 16 == 15
                else seen
            )
            fruitless = 0 if counts != seen else fruitless + 1
            seen = counts
            if fruitless > self.device.patience:
                counts = ", ".join(
                    f"{self.config.topology.name(unit)} {count}" for unit, count in enumerate(counts)
                )
                raise PagingError(
                    f"the chip hangs: {self._read('HEAD')} of {len(self.pieces)} pieces of commands are "
                    "dispatched, and "
                    f"completed are {counts}"
                )

    def _fail(self):
        code, at, unit = (self._read(f"ERROR_{name}") for name in ("CODE", "INDEX", "UNIT"))
        completed = [self._read("COMPLETED", n) for n in range(self.config.units)]
        self._reset_queue()
        self.cache.abandon(completed)
        raise ChipError(
            ErrorCode(code), self.pieces[at].index if at < len(self.pieces) else at, unit, self._program
        )

    def _result(self, count, begun):
        cycles = self._read("CYCLES_LO")
        cycles |= self._read("CYCLES_HI") << 32
        beat = self.config.memory.data_bytes
        counters = {
            unit: {name: self._read(name, unit) for name in COUNTERS} for unit in range(self.config.units)
        }
        return RunResult(
            commands=count,
            seconds=time.monotonic() - begun,
            cycles=cycles,
            counters=counters,
            bytes_read=beat * self._read("READ_BEATS"),
            bytes_written=beat * self._read("WRITE_BEATS"),
        )
