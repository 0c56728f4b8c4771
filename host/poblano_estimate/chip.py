"""A chip that walks through a program's commands in time."""

from typing import Any

from poblano.control.processor import CommandProcessor
from poblano.isa.topology import UnitKind

from .clock import Clock
from .dma import DMAUnit
from .experts import resolve
from .matmul import MatmulTimes, MatmulUnit
from .processor import Processor
from .queue import Queue
from .stage import StagedProcessor
from .stream import StreamUnit
from .transfers import Memories
from .vector import VectorTimes, VectorUnit

__all__ = ["Chip"]

NEVER = -1
"""The cycle of what has not come yet."""


class Bus:
    """The broadcast bus: a write a cycle."""

    def __init__(self):
        self._free = 0

    def carry(self, end, writes):
        """When so many writes, of which the last could be in ``end``, have passed."""
        self._free = max(self._free, end - writes) + writes
        return self._free


class Chip:
    """A chip, to which ``commands`` (:func:`.commands.decode`) are given at once, in a ring at ``ring``.

    ``translate`` gives the address of memory for one of the window of page tables; ``together``: bursts of a
    stream that are seen as one; ``routes``: for each ROUTE command the experts that have rows,
    :func:`.experts.resolve`; ``times``: the (MatmulTimes, VectorTimes), where they are there already.

    Members
    -------
    starts, ends : for each command the cycles, from the doorbell, in which it starts and completes
    cycles : from the doorbell to the interrupt
    passed : the numbers of commands that were passed over
    memories : the :class:`.transfers.Memories`
    """

    def __init__(
        self,
        config,
        commands,
        *,
        ring=0,
        translate=lambda address: address,
        together=1,
        routes=(),
        times=None,
    ):
        self.passed = resolve(commands, config.topology, routes)
        self._config, self._clock = config, Clock()
        self.starts, self.ends = [NEVER] * len(commands), [NEVER] * len(commands)
        self.memories = Memories(self._clock, config.memory, translate)
        self._queues, self._bus = [], Bus()
        for unit in range(config.units):
            started = lambda index, cycle, unit=unit: self._started(unit, index, cycle)
            queue = Queue(self._clock, self._queues, config.queue_depth, started=started, ended=self._ended)
            self._queues.append(queue)
        self._make_units(together, times)
        kind = Processor if config.experts is None else StagedProcessor
        self._processor = kind(self._clock, self.memories, config, commands, self._queues, ring)
        self._clock.run()
        for index in sorted(self.passed):  # as what passed over them
            self.starts[index], self.ends[index] = self.starts[index - 1], self.ends[index - 1]
        if NEVER in self.ends:
            raise RuntimeError(f"command {self.ends.index(NEVER)} of {len(commands)} never ends")
        self.cycles = max(self.ends, default=0) + CommandProcessor.INTERRUPT

    def _make_units(self, together, times):
        config, clock = self._config, self._clock
        products, vectors = times or (MatmulTimes(config), VectorTimes(config.tile))
        stream: Any = None
        matmuls: dict = {}
        for (kind, tile), queue in zip(config.topology.units, self._queues):
            calls = dict(finish=queue.finish, idle=queue.look)
            if kind is UnitKind.DMA:
                queue.unit = DMAUnit(clock, self.memories, config, matmuls, **calls)
            elif kind is UnitKind.STREAM:
                queue.unit = stream = StreamUnit(
                    clock, self.memories, config, tile, together=together, **calls
                )
            elif kind is UnitKind.MATMUL:
                queue.unit = MatmulUnit(clock, products, self._bus, tile, taken=stream.taken, **calls)
                stream.matmul = queue.unit
                matmuls[tile] = queue.unit
            else:
                queue.unit = VectorUnit(clock, vectors, **calls)

    def _started(self, unit, index, cycle):
        self.starts[index] = cycle
        self._processor.room(unit)

    def _ended(self, index, cycle):
        self.ends[index] = cycle
