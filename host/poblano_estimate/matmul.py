"""A tile's matmul unit, from the words in its weight FIFO to its results in vector memory."""

from collections import deque

from poblano.compute.accumulator import Accumulator
from poblano.compute.array import SystolicArray
from poblano.compute.weights import WeightLoader
from poblano.config import BLOCK
from poblano.isa.weight_stream import Element, ScaleFormat, step_bytes
from poblano.memory.local import LocalMemories

__all__ = ["MatmulTimes", "MatmulUnit"]

FORKED = 2
"""Cycles from a command's transfer to its parts' first."""
READ = 3
"""Of the reader of activations, beside the memory's."""
LOADED = 3
"""Cycles from an item's last word to the item."""
SUMMED = 2
"""Cycles from a step's last sums to their drain."""
WRITTEN = 4
"""Cycles from a result to the completion."""


class MatmulTimes:
    """What of a command's course depends on its operands alone."""

    def __init__(self, config):
        self.config, tile = config, config.tile
        self.array, self.tile = tile.array, tile
        accumulator = Accumulator(tile)
        self.recurrence = accumulator.recurrence
        self.fill = SystolicArray(tile.array).latency + SUMMED + accumulator.latency
        loader = WeightLoader(tile, stream_bytes=config.stream_bytes)
        self.ahead = loader.lines
        self.parts = tile.array.cols // tile.scalers
        self.writes = tile.array.cols // tile.lanes


class _Course:
    """A command in the unit."""

    __slots__ = ("bus", "end", "items", "left", "pace", "passes", "rows", "start", "tail", "width", "words")


class MatmulUnit:
    """Takes MATMUL commands and words, and completes commands.

    ``finish(cycle)`` is called with a command's last cycle, ``taken(beats, cycle)`` when words have left the
    FIFO, ``idle()`` when a command can be taken.
    """

    def __init__(self, clock, config, times, bus, own, *, finish, taken, idle):
        self.clock, self.config, self.times, self.bus, self.own = clock, config, times, bus, own
        self._finish, self._taken, self._idle = finish, taken, idle
        self._fifo, self._courses = deque(), deque()
        self._loaded = 0  # when the loader has taken all words of the commands before
        self._swap, self._pace = -1000.0, 0.0  # the last weight tile's first activation, the least to the next
        self._written = 0  # when the results of all commands before are written
        self._free = 0  # when the next command can be transferred
        self._held = 0
        self.busy = 0.0

    def ready(self, now):
        return self._free if self._held < 3 else None

    def start(self, o, now):
        """A command is transferred."""
        course = self._plan(o, now)
        self._courses.append(course)
        self._held += 1
        self._free = now + 2
        self._pump()

    def _plan(self, o, now):
        t, course = self.times, _Course()
        array, narrow = t.array, Element(o.element).bits == 4
        passes = array.passes_4bit if narrow else array.passes
        items = (array.cols if o.transpose else array.rows) // array.load_rows
        steps = o.k_blocks // array.segments
        drain = max(o.rows * t.parts, 0)
        step = max(passes * max(o.rows, items), drain)
        if o.rows * t.parts < t.recurrence:
            step = max(step, t.recurrence)
        writes = o.rows * t.writes
        group = max(steps * step, writes)
        course.pace = group / (steps * passes)
        course.items, course.rows = items, o.rows
        course.passes = o.groups * steps * passes
        course.start = now + FORKED
        per_step = step_bytes(
            self.config, element=Element(o.element), scale=ScaleFormat(o.scale), minimum=o.minimum
        )
        course.words = o.groups * steps * per_step / self.config.stream_bytes
        course.width = course.words / course.passes  # words of a pass
        course.left = course.words
        course.tail = o.rows + t.fill + max(o.rows * t.parts, writes) - 1
        course.bus = 0 if o.tiles == 1 << self.own and not o.spread else writes * o.groups
        return course

    def arrive(self, words, beats, first, last):
        """Words are at the FIFO's output, the first and the last in these cycles."""
        self._fifo.append((words, beats, first, last))
        self._pump()

    def _pump(self):
        while self._fifo and self._courses:
            course = self._courses[0]
            words, beats, first, last = self._fifo.popleft()
            self._take(course, words, beats, first, last)
            if course.left < 1e-6:
                self._courses.popleft()
                self._complete(course)

    def _take(self, course, words, beats, first, last):
        """Words of a command go through the loader and the array."""
        t, before = self.times, course.words - course.left
        course.left -= words
        at = before + words
        first = max(first, course.start, self._loaded + 1)
        last = max(last, first + words - 1)
        # Weight tiles that are complete with these words.
        done, had = int(at / course.width + 1e-6), int(before / course.width + 1e-6)
        old = self._swap
        if done > had:
            share = (done * course.width - before) / words
            arrived = first + share * (last - first) + LOADED + max(1, course.items / course.width)
            if not had:
                begin = course.start + READ + LocalMemories.LATENCY - 1
                least = max(old + self._pace, begin, first + course.width - 1 + LOADED + 1)
                least = max(least, old + course.items)
                self._swap = max(least + (done - 1) * course.pace, arrived)
            else:
                self._swap = max(old + (done - had) * course.pace, arrived)
            self._pace = max(course.pace if course.passes == done else course.pace, course.items)
        # Words leave the FIFO when those before them have entered the array.
        behind = (at - t.ahead) / course.width
        swapped = self._swap - (done - behind) * course.pace if done else self._swap
        self._loaded = max(last, swapped)
        self._taken(beats, int(self._loaded + 0.999))

    def _complete(self, course):
        swap = self._swap
        end = swap + course.tail + WRITTEN
        end = max(end, self._written + 1)
        if course.bus:
            end = max(end, self.bus.carry(end, course.bus))
        self._written = end
        self.clock.at(int(end + 0.5), self._done)

    def _done(self):
        self._held -= 1
        self._finish(self.clock.now)
        self._idle()
