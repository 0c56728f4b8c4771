"""Programs on a chip and its memory: one interface, behind it the simulated RTL or the golden model."""

import time
from typing import Protocol

import numpy as np

from poblano.config import ConfigError
from poblano.isa.commands import Command, CommandError, Opcode
from poblano.isa.topology import UnitKind

from ..golden.chip import GoldenChip
from ..sim.simulation import Simulation
from .device import SimulatedDevice
from .errors import ChipError, DeviceError
from .result import RunResult
from .ring import Ring, clear_commands, command_rows

__all__ = [
    "BACKENDS",
    "Backend",
    "DeviceBackend",
    "GoldenBackend",
    "SimulationBackend",
    "check_range",
    "clear_memory",
    "place_model",
    "open_backend",
    "open_sampled",
    "run_job",
    "write_pieces",
]


WORD = 4
SAMPLING = 250
"""Cycles between samples of counters, for each unit: to read them takes a tenth of these."""
MOST_ROWS = (1 << 16) - 256
"""Of a command, whole beats of memory."""


class Backend(Protocol):
    """A chip and its memory, as bytes; it is made from a configuration, the memory's size and (address,
    commands) of the command ring."""

    memory: np.ndarray

    def write(self, address, data):
        """Write a buffer to memory."""

    def read(self, address, size):
        """``size`` bytes of memory."""

    def run(self, commands, *, progress=None):
        """Reset the queue and run ``commands`` (see :func:`command_rows`); the :class:`RunResult`.

        ``progress(completed, total, cycles)`` is called from time to time. Raises :class:`ChipError`.
        """

    def clear_local(self):
        """Zeros in all local memories, for another owner of the chip."""

    def clear(self, first, end):
        """Zeros in the bytes ``first`` to ``end`` - 1 of memory, multiples of a word, by the chip."""

    def use_pages(self, first, page_bytes):
        """Memory, or each home's of several, from ``first`` on is for pages of ``page_bytes``, which
        commands reach through page tables alone."""

    def set_pages(self, slot, addresses):
        """The page table of a slot: the addresses of its pages in memory, multiples of 4 KiB."""

    def close(self):
        """Free the chip."""


def place_model(chip, compiled):
    """Write the image of a :class:`~poblano_host.compiler.CompiledModel` to the memory of a backend, and give
    each sequence the pages of its whole context."""
    write_pieces(chip, compiled.image)
    if compiled.pages is not None:
        chip.use_pages(compiled.pages.first, compiled.pages.bytes)
        for slot, addresses in enumerate(compiled.whole_tables):
            chip.set_pages(slot, addresses)


def write_pieces(chip, pieces):
    """Write ``pieces``, (address, bytes), to the memory of a backend."""
    for address, data in pieces:
        chip.write(address, data)


def check_range(address, size, memory_bytes):
    """ValueError for bytes that are not all in a memory."""
    if address < 0 or address + size > memory_bytes:
        raise ValueError(f"bytes {address} to {address + size - 1} pass the memory of {memory_bytes} bytes")


class GoldenBackend:
    """The golden model behind :class:`Backend`."""

    def __init__(self, config, memory_bytes, ring, *, report=None):
        self.config = config
        self.memory = np.zeros(memory_bytes, np.uint8)
        self.chip = GoldenChip(config, self.memory)

    def write(self, address, data):
        data = np.frombuffer(data, np.uint8)
        check_range(address, len(data), len(self.memory))
        self.memory[address : address + len(data)] = data

    def read(self, address, size):
        check_range(address, size, len(self.memory))
        return self.memory[address : address + size].tobytes()

    def run(self, commands, *, progress=None):
        start, rows, rerouted = time.monotonic(), command_rows(commands), self.chip.rerouted
        self.chip.reset_queue()
        report = None if progress is None else lambda done, total: progress(done, total, 0)
        try:
            self.chip.run(rows.tobytes(), progress=report)
        except CommandError as error:
            command = rows[error.index].tobytes()
            raise ChipError(error.code, error.index, command[1], command) from None
        seconds, rerouted = time.monotonic() - start, self.chip.rerouted - rerouted
        return RunResult(commands=len(rows), seconds=seconds, rerouted=rerouted)

    def clear_local(self):
        self.run(clear_commands(self.config))

    def clear(self, first, end):
        self.run(clear_memory(self.config, first, end))

    def use_pages(self, first, page_bytes):
        self.chip.tables.use(first, page_bytes)

    def set_pages(self, slot, addresses):
        self.chip.tables.set(slot, addresses)

    def close(self):
        pass


class DeviceBackend:
    """A :class:`Device` with all of a program's memory behind :class:`Backend`; DeviceError if it has less.

    Memory that is not zero at first is cleared, by the chip, as are its KV buffers.
    """

    def __init__(self, config, memory_bytes, ring, device, *, report=None):
        if device.memory_bytes < memory_bytes:
            raise DeviceError(
                f"the device has {device.memory_bytes} bytes of memory; {memory_bytes} are needed"
            )
        self.config, self.device, self._size = config, device, memory_bytes
        self._place, self._pages, self._tables = ring, None, {}
        self.open_ring()
        parts = [*([] if device.zeroed else [(0, ring[0])]), *config.memory.kv_buffers]
        for first, end in parts:
            self.clear(first, end)
        if not device.zeroed:
            self.clear_local()

    @property
    def memory(self):
        return np.frombuffer(self.read(0, self._size), np.uint8)

    def write(self, address, data):
        data = np.frombuffer(data, np.uint8)
        check_range(address, len(data), self._size)
        self.device.write_memory(address, data)

    def read(self, address, size):
        check_range(address, size, self._size)
        return self.device.read_memory(address, size)

    def run(self, commands, *, progress=None):
        return self.ring.run(commands, progress=progress)

    def clear_local(self):
        self.ring.clear_local()

    def clear(self, first, end):
        self.ring.run(clear_memory(self.config, first, end))

    def open_ring(self):
        """Open the chip's ring, at first and after a reset of the chip, which forgets its page tables too."""
        self.ring = Ring(self.config, self.device, *self._place)
        if self._pages is not None:
            self.ring.use_pages(*self._pages)
        for slot, addresses in self._tables.items():
            self.ring.set_pages(slot, addresses)

    def use_pages(self, first, page_bytes):
        self._pages = first, page_bytes
        self.ring.use_pages(first, page_bytes)

    def set_pages(self, slot, addresses):
        self._tables[slot] = list(addresses)
        self.ring.set_pages(slot, addresses)

    def close(self):
        self.device.close()


def clear_memory(config, start, end):
    """Commands that write zeros to the bytes ``start`` to ``end`` - 1 of memory, multiples of a word."""
    unit, words = config.topology.unit(UnitKind.DMA), (end - start) // WORD
    form = dict(mem_stride=WORD, value=0)
    return b"".join(
        Command(
            Opcode.STORE_WORD,
            unit,
            form | dict(mem_addr=start + WORD * first, rows=min(MOST_ROWS, words - first)),
        ).encode()
        for first in range(0, words, MOST_ROWS)
    )


class SimulationBackend(DeviceBackend):
    """The RTL in simulation behind :class:`Backend`.

    ``report`` is called with a line for each slow step of building the model; ``simulation`` makes the
    :class:`Simulation`.
    """

    def __init__(self, config, memory_bytes, ring, *, report=lambda text: None, simulation=Simulation):
        device = SimulatedDevice(config, memory_bytes, report=report, simulation=simulation)
        self.simulation = device.simulation
        super().__init__(config, memory_bytes, ring, device)

    @property
    def memory(self):
        return self.simulation.memory

    def sample(self, cycles):
        """From now on keep the counters of runs about every so many cycles."""
        self.device.SLICE = cycles
        self.ring.sampling = True


BACKENDS = {"sim": SimulationBackend, "golden": GoldenBackend}


def open_sampled(config, memory_bytes, ring, *, report=lambda text: None):
    """A :class:`SimulationBackend` whose runs keep their counters over time: for reports."""
    backend = open_backend("sim", config, memory_bytes, ring, report=report)
    if isinstance(backend, SimulationBackend):
        backend.sample(SAMPLING * config.units)
    return backend


def open_backend(name, config, memory_bytes, ring, *, report=lambda text: None):
    """The backend called ``name``, with a memory of ``memory_bytes`` zero bytes; ConfigError for another
    name.

    ``name`` can also be a function that makes one of the other arguments.
    """
    if callable(name):
        return name(config, memory_bytes, ring, report=report)
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend {name!r}; there are {', '.join(BACKENDS)}")
    return BACKENDS[name](config, memory_bytes, ring, report=report)


def run_job(job, backend, *, progress=None):
    """Run a compiled :class:`MatmulJob`: its product, and the :class:`RunResult`."""
    write_pieces(backend, job.image + job.program.inputs)
    result = backend.run(job.program.encode(), progress=progress)
    return job.product(backend.read), result
