"""A tile's matmul unit, from the words in its weight FIFO to its results in vector memory."""

from collections import deque

from poblano.compute.accumulator import Accumulator
from poblano.compute.array import SystolicArray
from poblano.compute.block_sums import BlockSums
from poblano.compute.matmul import MatmulUnit as Hardware
from poblano.compute.reader import ActivationReader
from poblano.compute.weights import WeightLoader
from poblano.compute.writer import ResultWriter
from poblano.isa.weight_stream import Element, ScaleFormat, step_bytes
from poblano.memory.local import LocalMemories

from .parts import asked

__all__ = ["MatmulTimes", "MatmulUnit"]

READ = Hardware.FORK + ActivationReader.LATENCY + LocalMemories.LATENCY - 1
"""Cycles from a command's transfer to its first activations."""
WRITTEN = ResultWriter.LATENCY + ResultWriter.DONE
"""Cycles from a result to the completion."""
MOST_HELD = 3
"""Commands in the unit: one whose results are written, one in the parts before, and one that waits."""
NEAR = 1e-6
"""Of a word, what is none."""


class MatmulTimes:
    """What commands of any tile have in common."""

    def __init__(self, config):
        self._config, tile = config, config.tile
        array = self._array = tile.array
        accumulator = asked(Accumulator, tile)
        self._recurrence = accumulator.recurrence
        self._fill = asked(SystolicArray, array).latency + BlockSums.LATENCY + accumulator.latency
        self.ahead = asked(WeightLoader, tile, stream_bytes=config.stream_bytes).lines
        self._parts, self._writes = array.cols // tile.scalers, array.cols // tile.lanes
        self._known = {}

    def of(self, o):
        """The :class:`Course` of a command."""
        key = o.element, o.scale, o.minimum, o.transpose, o.rows, o.k_blocks, o.groups
        if key not in self._known:
            self._known[key] = self._course(o)
        return self._known[key]

    def _course(self, o):
        array, element, rows = self._array, Element(o.element), o.rows
        passes = array.passes_4bit if element.bits == 4 else array.passes
        items = (array.cols if o.transpose else array.rows) // array.load_rows
        steps = o.k_blocks // array.segments
        drain, writes = rows * self._parts, rows * self._writes
        step = max(passes * max(rows, items), drain)
        if drain < self._recurrence:
            step = max(step, self._recurrence)
        scale = ScaleFormat(o.scale)
        size = step_bytes(self._config, element=element, scale=scale, minimum=o.minimum)
        return Course(
            passes=o.groups * steps * passes,
            words=o.groups * steps * size / self._config.stream_bytes,
            pace=max(steps * step, writes) / (steps * passes),
            items=items,
            tail=rows - 1 + self._fill + max(drain, writes),
            rows=rows,
            writes=writes * o.groups,
        )


class Course:
    """What a command does: ``passes`` weight tiles of ``words`` in all enter the array, each in ``items``
    cycles and ``pace`` cycles after the one before at the earliest; each meets ``rows`` rows of activations.
    ``tail`` cycles after the last is used its results have come, which take ``writes``."""

    __slots__ = ("items", "pace", "passes", "rows", "tail", "width", "words", "writes")

    def __init__(self, *, passes, words, pace, items, rows, tail, writes):
        self.passes, self.words, self.pace, self.items = passes, words, pace, items
        self.rows, self.tail, self.writes = rows, tail, writes
        self.width = words / passes


class MatmulUnit:
    """Takes MATMUL commands, and words of weights by :meth:`arrive`.

    ``taken(beats, cycle)`` is called when words have left the FIFO.
    """

    def __init__(self, clock, times, bus, own, *, finish, taken, idle):
        self.clock, self.times, self._bus, self._own = clock, times, bus, own
        self._finish, self._taken, self._idle = finish, taken, idle
        self._fifo = deque()  # (words, beats, first cycle, last cycle)
        self._courses = deque()  # (course, when it was transferred, whether it needs the bus)
        self._left = 0.0  # words of the first course that have not come
        self._loaded = 0  # when the loader has taken all words so far
        self._swap = self._pace = 0.0  # the last weight tile's first use, the least from it to the next
        self._rate = 0.0  # activations that are read in a cycle
        self._written = 0  # when the results of all commands so far are written
        self._held = self._free = 0

    def ready(self, o):
        """From which cycle on a command is taken; None if something must happen before."""
        return self._free if self._held < MOST_HELD else None

    def start(self, o, now):
        """A command is taken."""
        course = self.times.of(o)
        if not self._courses:
            self._left = course.words
        self._courses.append((course, now, o.tiles != 1 << self._own))
        self._held += 1
        self._free = now + Hardware.FORK
        self._pump()

    def reads(self, now):
        """In how many of the cycles around now it reads activations."""
        return self._rate if self._swap + self._pace > now else 0.0

    def arrive(self, words, beats, first, last):
        """Words are at the FIFO's output, the first and the last in these cycles."""
        self._fifo.append((words, beats, first, last))
        self._pump()

    def _pump(self):
        while self._fifo and self._courses:
            course, begun, bus = self._courses[0]
            self._take(course, begun, *self._fifo.popleft())
            if self._left < NEAR:
                self._courses.popleft()
                self._left = self._courses[0][0].words if self._courses else 0.0
                self._complete(course, bus)

    def _take(self, course, begun, words, beats, first, last):
        """Words of a command go through the loader and the array."""
        before = course.words - self._left
        self._left -= words
        at = before + words
        first = max(first, begun + Hardware.FORK, self._loaded + 1)
        last = max(last, first + words - 1)
        # Weight tiles that are complete with these words.
        had, done = int(before / course.width + NEAR), int(at / course.width + NEAR)
        if done > had:
            share = (done * course.width - before) / words
            arrived = (
                first + share * (last - first) + WeightLoader.LATENCY + max(1, course.items / course.width)
            )
            if had:
                least = self._swap + (done - had) * course.pace
            else:
                earliest = max(begun + READ, first + course.width + WeightLoader.LATENCY)
                least = max(self._swap + max(self._pace, course.items), earliest) + (done - 1) * course.pace
            self._swap, self._pace = max(least, arrived), course.pace
            self._rate = course.rows / course.pace
        # Words leave the FIFO when those before them have entered the array.
        behind = (at - self.times.ahead) / course.width
        entered = self._swap - (done - behind) * course.pace if done else self._swap
        self._loaded = max(last, entered)
        self._taken(beats, int(self._loaded + 1 - NEAR))

    def _complete(self, course, bus):
        """All weights of a command are there."""
        end = max(self._swap + course.tail + WRITTEN, self._written + 1)
        if bus:
            end = max(end, self._bus.carry(end, course.writes))
        self._written = end
        self.clock.at(int(end + 0.5), self._done)

    def _done(self):
        self._held -= 1
        self._finish(self.clock.now)
        self._idle()
