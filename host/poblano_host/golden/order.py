"""The order in which the golden chip executes commands: one that the hardware could choose."""

from collections import deque
import random

from poblano.isa.errors import CommandError
from poblano.isa.topology import UnitKind

__all__ = ["GoldenError", "Order"]


class GoldenError(RuntimeError):
    """A ring that hangs the chip: a wait that never holds, or a matmul whose weights never come."""


class Order:
    """Executes commands on a :class:`GoldenChip` and yields (index, command) as they complete."""

    STREAMS = 15
    """STREAM commands that a stream unit has under way at most."""

    def __init__(self, chip, program, seed):
        self.chip, self.program, self.topology = chip, program, chip.topology
        self.random = None if seed is None else random.Random(seed)
        config = chip.config
        self.capacity = config.tile.fifo_bytes if self.random is None or self.random.random() < 0.5 else 0
        self.queues = [deque() for _ in range(config.units)]  # dispatched and not completed
        self.failed = {}  # the errors of units, which do nothing more
        self.started = [0] * config.units  # of these, how many STREAMs have been fetched
        self.streamed = [deque() for _ in range(config.tiles)]  # bytes of each of those

    def __iter__(self):
        while True:
            self._dispatch()
            ready = [
                (queue[self.started[unit]].number, unit)
                for unit, queue in enumerate(self.queues)
                if self._can_start(unit)
            ]
            arrived = [
                (queue[0].number, unit) for unit, queue in enumerate(self.queues) if self._arrived(unit)
            ]
            if not ready and not arrived:
                if self._next_fits():
                    continue
                if self.failed or self.program.refused or self.program.ended and not any(self.queues):
                    return
                raise GoldenError(self._hang())
            if self.random is None:
                unit = min(arrived or ready)[1]
                arriving = bool(arrived)
            else:
                n = self.random.randrange(len(ready) + len(arrived))
                arriving = n >= len(ready)
                unit = (ready + arrived)[n][1]
            if arriving:
                self.started[unit] -= 1
                self.streamed[self.topology.tile_of(unit)].popleft()
            elif not self._execute(unit):
                continue
            queued = self.queues[unit].popleft()
            self.chip.completed[unit] += queued.counts
            yield queued.number, queued.command

    def _execute(self, unit):
        """Executes a unit's first command that has not started; whether that completes it."""
        queue = self.queues[unit]
        index, command, _ = queue[self.started[unit]]
        try:
            self.chip.execute(index, command)
        except CommandError as error:
            error.index = index
            self.failed[unit] = error
            queue.clear()
            return False
        if command.opcode != "STREAM":
            return True
        self.started[unit] += 1
        o = command.operands
        self.streamed[self.topology.tile_of(unit)].append(o["rows"] * o["row_bytes"])
        return False

    def _dispatch(self):
        """Puts commands into their units' queues, in the ring's order, as long as there is room."""
        while self._next_fits():
            if self.random is not None and self.random.random() < 0.3:
                break
            for unit, queued in self.program.take():
                if unit not in self.failed:
                    self.queues[unit].append(queued)

    def _next_fits(self):
        """Whether there is a next command, and room for it."""
        depth = self.chip.config.queue_depth
        return self.program.ready and all(
            unit in self.failed or len(self.queues[unit]) < depth for unit in self.program.units
        )

    def _held(self, tile):
        """Bytes that the tile's matmuls have not taken."""
        return sum(len(data) for _, data in self.chip.tiles[tile].fifo)

    def _matmuls(self, tile):
        """The queue of the tile's matmul unit."""
        return self.queues[self.topology.unit(UnitKind.MATMUL, tile)]

    def _can_start(self, unit):
        queue, started = self.queues[unit], self.started[unit]
        if unit in self.failed or len(queue) == started or not self.chip.ready(queue[started].command):
            return False
        command, tile = queue[started].command, self.topology.tile_of(unit)
        if command.opcode == "MATMUL":
            return self._held(tile) >= self.chip.stream_size(command.operands)
        if command.opcode == "STREAM" and started:
            # The one before has been fetched when all that the FIFO has no room for has been taken.
            following = self._matmuls(tile)
            lacking = (
                bool(following)
                and following[0].command.opcode == "MATMUL"
                and self._held(tile) < self.chip.stream_size(following[0].command.operands)
            )
            return started < self.STREAMS and (lacking or self._held(tile) <= self.capacity)
        return started == 0

    def _arrived(self, unit):
        """Whether the first STREAM under way has all its bytes in the FIFO or beyond."""
        tile = self.topology.tile_of(unit)
        if not self.started[unit]:
            return False
        # A MATMUL whose waits hold takes weights as they come.
        following = self._matmuls(tile)
        takes = (
            following and following[0].command.opcode == "MATMUL" and self.chip.ready(following[0].command)
        )
        room = self.capacity + (self.chip.stream_size(following[0].command.operands) if takes else 0)
        return self._held(tile) - sum(list(self.streamed[tile])[1:]) <= room

    def _hang(self):
        heads = []
        for unit, queue in enumerate(self.queues):
            if queue:
                index, command, _ = queue[0]
                waits = ", ".join(
                    f"{self.topology.name(u)} >= {count}"
                    for u, count in command.waits
                    if not self.chip.reached(u, count)
                )
                if not waits and command.opcode == "MATMUL":
                    lacking = self.chip.stream_size(command.operands) - self._held(
                        self.topology.tile_of(unit)
                    )
                    waits = f"{lacking} bytes of weights"
                heads.append(
                    f"{self.topology.name(unit)}: command {index} ({command.opcode})"
                    + (f" waits for {waits}" if waits else "")
                )
        if not self.program.ended and not self.program.ready:
            heads.append(f"command {self.program.index} (EXPERT) waits for other commands")
        return "no command can go on; " + "; ".join(heads)
