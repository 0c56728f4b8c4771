"""A chip and its memory as the host reaches them: in simulation, or on a board behind the UART bridge."""

from typing import Protocol

import numpy as np

from poblano.bridge.protocol import CHIP_DESIGN

from ..serial.bridge import BridgeError
from ..sim.simulation import Simulation
from .patches import apply_patches

__all__ = ["BridgeDevice", "Device", "SimulatedDevice"]


class Device(Protocol):
    """A chip and its memory of ``memory_bytes``, however they are reached.

    ``sees_cycles``: :meth:`clock` counts the chip's cycles, and :meth:`take_events` tells when commands start
    and end; else the clock counts accesses of the device, and there are no events. A chip that completes
    nothing while the clock goes on by ``patience`` is said to hang. ``zeroed``: memory is zero at first.
    """

    memory_bytes: int
    patience: int
    sees_cycles: bool
    zeroed: bool

    def read_memory(self, address, size):
        """``size`` bytes from ``address`` on, multiples of 4."""

    def write_memory(self, address, data):
        """Write a buffer; the address and its number of bytes are multiples of 4."""

    def patch(self, table, count, values):
        """For each of the ``count`` entries of a table in memory (``docs/bridge.md``), write its word plus
        the value (uint64) of its kind to its address."""

    def read_registers(self, address, count):
        """The values of ``count`` registers from ``address`` on."""

    def write_register(self, address, value):
        """Write a register."""

    def wait(self, brief=False):
        """Let the chip work until its interrupt is up, but not for long, or only for a ``brief`` time.

        Whether the interrupt is up; None if the device does not see it.
        """

    def clock(self):
        """How long the chip has worked."""

    def take_events(self):
        """Commands' starts and ends since the last call: an array of :data:`EVENT`, by the clock."""

    def completed(self):
        """Commands that have completed since the start; None if the device does not see them."""

    def close(self):
        """Free the device."""


class SimulatedDevice:
    """A chip's RTL in simulation behind :class:`Device`; ``simulation`` makes the :class:`Simulation`."""

    SLICE, BRIEF = 10_000, 500
    """Cycles of a call of :meth:`wait`."""

    sees_cycles = zeroed = True

    def __init__(self, config, memory_bytes, *, report=lambda text: None, simulation=Simulation):
        self.memory_bytes = memory_bytes
        self.patience = max(2**31 // config.macs_per_cycle, 2**20)
        self.simulation = simulation(config, memory_bytes, report=report)

    def read_memory(self, address, size):
        self._check(address, size)
        return self.simulation.memory[address : address + size].tobytes()

    def write_memory(self, address, data):
        data = np.frombuffer(data, np.uint8)
        self._check(address, len(data))
        self.simulation.memory[address : address + len(data)] = data

    def _check(self, address, size):
        """ValueError for bytes that are on the chip."""
        for first, end in self.simulation.config.memory.kv_buffers:
            if address < end and address + size > first:
                raise ValueError(
                    f"bytes {address} to {address + size - 1} are, from {first} to {end - 1}, in a KV buffer"
                )

    def patch(self, table, count, values):
        apply_patches(self.simulation.memory, table, count, values)

    def read_registers(self, address, count):
        return [self.simulation.read(address + 4 * n) for n in range(count)]

    def write_register(self, address, value):
        self.simulation.write(address, value)

    def wait(self, brief=False):
        self.simulation.run(self.BRIEF if brief else self.SLICE)
        return self.simulation.irq

    def clock(self):
        return self.simulation.cycle

    def take_events(self):
        return self.simulation.take_events()

    def completed(self):
        return self.simulation.completed

    def close(self):
        self.simulation.close()


class BridgeDevice:
    """A chip behind a :class:`~poblano_host.serial.bridge.BridgeClient` as a :class:`Device`; BridgeError if
    the board holds something else.

    Members
    -------
    requests : made so far; each takes a turn of the line
    bytes_up, bytes_down : bytes of memory that went to the board and came back
    """

    patience = 5000
    sees_cycles = zeroed = False
    WAIT = 1 << 19
    """Cycles of a call of :meth:`wait`: a little longer than a token of a small model takes."""
    WAITED = 128
    """Accesses that take as long."""

    def __init__(self, client):
        design = client.identity.design
        if design != CHIP_DESIGN:
            raise BridgeError(f"the board holds the design {design!r}, not the whole chip ({CHIP_DESIGN})")
        self.client = client
        self.memory_bytes = client.identity.memory_bytes
        self.bytes_up = self.bytes_down = self._waited = 0

    @property
    def requests(self):
        return self.client.requests

    def read_memory(self, address, size):
        self.bytes_down += size
        return self.client.read_memory(address, size)

    def write_memory(self, address, data):
        data = bytes(data)
        self.bytes_up += len(data)
        self.client.write_memory(address, data)

    def patch(self, table, count, values):
        self.client.patch(table, count, values)

    def read_registers(self, address, count):
        return self.client.read_registers(address, count)

    def write_register(self, address, value):
        self.client.write_register(address, value)

    def wait(self, brief=False):
        """On the board; if it is to be brief nothing: a request takes the line longer than the chip its
        commands."""
        if brief:
            return None
        interrupt = self.client.wait(self.WAIT)
        self._waited += self.WAITED * (not interrupt)
        return interrupt

    def clock(self):
        return self.requests + self._waited

    def completed(self):
        return None

    def close(self):
        self.client.close()
