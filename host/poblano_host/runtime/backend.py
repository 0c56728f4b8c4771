"""Programs on a chip and its memory: one interface, behind it the simulated RTL or the golden model."""

import time
from typing import Any, Protocol

import numpy as np

from poblano.config import ConfigError
from poblano.isa.commands import CommandError

from ..golden.chip import GoldenChip
from ..sim.simulation import Simulation
from .device import SimulatedDevice
from .errors import ChipError
from .result import RunResult
from .ring import Ring, command_rows

__all__ = [
    "BACKENDS",
    "Backend",
    "GoldenBackend",
    "SimulationBackend",
    "check_range",
    "open_backend",
    "run_job",
]


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

        ``progress(dispatched, total, cycles)`` is called from time to time. Raises :class:`ChipError`.
        """

    def close(self):
        """Free the chip."""


def check_range(address, size, memory_bytes):
    """ValueError for bytes that are not all in a memory."""
    if address < 0 or address + size > memory_bytes:
        raise ValueError(f"bytes {address} to {address + size - 1} pass the memory of {memory_bytes} bytes")


class _Memory:
    """Reads and writes of ``self.memory``, for backends that have it in the host's."""

    memory: Any

    def write(self, address, data):
        data = np.frombuffer(data, np.uint8)
        check_range(address, len(data), len(self.memory))
        self.memory[address : address + len(data)] = data

    def read(self, address, size):
        check_range(address, size, len(self.memory))
        return self.memory[address : address + size].tobytes()


class GoldenBackend(_Memory):
    """The golden model behind :class:`Backend`."""

    def __init__(self, config, memory_bytes, ring, *, report=None):
        self.config = config
        self.memory = np.zeros(memory_bytes, np.uint8)
        self.chip = GoldenChip(config, self.memory)

    def run(self, commands, *, progress=None):
        start, rows = time.monotonic(), command_rows(commands)
        self.chip.reset_queue()
        report = None if progress is None else lambda done, total: progress(done, total, 0)
        try:
            self.chip.run(rows.tobytes(), progress=report)
        except CommandError as error:
            command = rows[error.index].tobytes()
            raise ChipError(error.code, error.index, command[1], command) from None
        return RunResult(commands=len(rows), seconds=time.monotonic() - start)

    def close(self):
        pass


class SimulationBackend(_Memory):
    """The RTL in simulation behind :class:`Backend`.

    ``report`` is called with a line for each slow step of building the model; ``simulation`` makes the
    :class:`Simulation`.
    """

    def __init__(self, config, memory_bytes, ring, *, report=lambda text: None, simulation=Simulation):
        self.config = config
        self.device = SimulatedDevice(config, memory_bytes, report=report, simulation=simulation)
        self.simulation = self.device.simulation
        self.memory = self.simulation.memory
        self.ring = Ring(config, self.device, *ring)

    def run(self, commands, *, progress=None):
        return self.ring.run(commands, progress=progress)

    def close(self):
        self.memory = None
        self.device.close()


BACKENDS = {"sim": SimulationBackend, "golden": GoldenBackend}


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
    for address_, data in job.image + job.program.inputs:
        backend.write(address_, data)
    result = backend.run(job.program.encode(), progress=progress)
    address_, (rows, columns) = job.program.result
    product = np.frombuffer(backend.read(address_, 4 * rows * columns), np.float32).reshape(rows, columns)
    return product[:, : job.shape[1]].copy(), result
