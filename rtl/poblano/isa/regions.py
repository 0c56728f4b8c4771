"""The regions of local memories and of memory that a command reads and writes."""

from collections.abc import Callable
from dataclasses import dataclass
import enum
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from .expressions import choose, least

__all__ = [
    "Access",
    "LocalRegion",
    "Memory",
    "MemoryRegion",
    "PageLimits",
    "Place",
    "Range",
    "Span",
    "usable",
]


class Access(enum.Enum):
    """What a command does with a region."""

    READ = "read"
    WRITE = "written"


class Memory(enum.Enum):
    """A tile's local memory; its value is what it is called, its addresses count lines or blocks."""

    VECTOR = "vector memory"
    ACTIVATION = "activation memory"

    def size(self, c):
        """Lines or blocks of a tile's memory."""
        return c.tile.vmem_lines if self is Memory.VECTOR else c.tile.amem_blocks


class Place(enum.Enum):
    """Whose memory it is."""

    OWN = "own"
    """of the unit's own tile"""
    TILE = "tile"
    """of the tile that the field names"""
    TILES = "tiles"
    """of every tile of the field's mask"""


class Span(NamedTuple):
    """``rows`` rows of ``extent`` units: the first at ``base``, each ``stride`` after the one before."""

    base: Any
    stride: Any
    rows: Any
    extent: Any

    @property
    def end(self):
        """The end of the last row: no row passes it."""
        return self.base + self.stride * (self.rows - 1) + self.extent

    @property
    def crowded(self):
        """Whether rows overlap each other."""
        return (self.rows > 1) & (self.stride < self.extent)

    @property
    def range(self):
        return Range(self.base, self.end, self.stride, self.rows)


class Range(NamedTuple):
    """The addresses from ``base`` to before ``end``, which the rows of a :class:`Span` are in."""

    base: Any
    end: Any
    stride: Any
    rows: Any

    def meets(self, other):
        """Whether they have an address in common."""
        return (self.base < other.end) & (other.base < self.end)

    def same(self, other):
        """Whether every row is at the other's address."""
        strides = (self.stride == other.stride) | (self.rows == 1)
        return (self.base == other.base) & (self.rows == other.rows) & strides


class PageLimits(NamedTuple):
    """What page tables allow a command: the bytes of a page, in each home, and the pages of the slot that it
    names; with several homes, the bytes of each home that are not of pages."""

    bytes: Any
    count: Any
    home: Any = None


def usable(memory_bytes, c):
    """Bytes of memory that commands and the ring may use, of ``memory_bytes`` (a number or a Value): those
    that the ports can address."""
    return least(memory_bytes, c.memory.most_bytes)


ALWAYS = lambda o, c: True
ONE = lambda o, c: 1
ROWS = lambda o, c: o.rows


@dataclass(frozen=True)
class LocalRegion:
    """Rows of a local memory, from the line or block that the field ``name`` holds.

    ``extent``, ``rows``, ``unit`` (what base, stride and extent are multiples of, a power of two) and
    ``used`` (whether the command has the region) are expressions, see :mod:`.expressions`, as is ``stride``,
    by default the field ``name`` and ``_stride``; where ``strided`` is False there is one row and no such
    field.
    ``apart``: rows must not overlap each other. ``in_place`` names regions whose rows may be the same as
    this one's: what is read of them is read before it is written.
    """

    name: str
    memory: Memory
    place: Place
    access: Access
    extent: Callable
    rows: Callable = ROWS
    strided: bool = True
    stride: Callable | None = None
    unit: Callable = ONE
    used: Callable = ALWAYS
    apart: bool = False
    in_place: tuple = ()

    def span(self, o, c):
        """The :class:`Span` that operands give it, used or not."""
        base, extent = getattr(o, self.name), self.extent(o, c)
        if not self.strided:
            return Span(base, 0, 1, extent)
        stride = self.stride(o, c) if self.stride else getattr(o, f"{self.name}_stride")
        return Span(base, stride, self.rows(o, c), extent)


@dataclass(frozen=True)
class MemoryRegion:
    """Rows of memory from ``mem_addr`` on, ``mem_stride`` apart.

    The bytes of a row are ``scale`` times the field ``count``, or ``scale`` where there is none. ``unit`` is
    an expression: the power of two that address, row bytes and, of more than one row, stride are multiples
    of. ``at_home``: all rows are in the home of the unit's tile.
    """

    access: Access
    unit: Callable
    scale: int = 1
    count: str | None = None
    at_home: bool = False

    def span(self, o):
        """The :class:`Span` that operands give it, in bytes."""
        row = getattr(o, self.count) * self.scale if self.count else self.scale
        return Span(o.mem_addr, o.mem_stride, o.rows, row)

    def within(self, o, c, memory_bytes, limits):
        """(span, size) of all that must end within so much: of memory of ``memory_bytes``, with page tables
        all in one home of several, or of the window, where either every row is in the page behind the one
        before, or all are in one page, within :class:`PageLimits`."""
        span, size, paging = self.span(o), usable(memory_bytes, c), c.memory.paging
        if paging is None:
            return [(span, size)]
        inside, by_page = paging.inside(span.base), span.stride == paging.stride
        in_home, room = Span(0, 0, span.rows, 0), 0
        if paging.homes > 1:
            in_home, room = span._replace(base=span.base & (c.memory.home_bytes - 1)), limits.home
        return [
            (
                span._replace(
                    base=choose(inside, paging.offset(span.base), span.base),
                    stride=choose(inside & by_page, 0, span.stride),
                ),
                choose(inside, limits.bytes, size),
            ),
            (
                Span(
                    choose(inside, paging.page(span.base), in_home.base),
                    choose(inside, choose(by_page, 1, 0), in_home.stride),
                    span.rows,
                    choose(inside, 1, in_home.extent),
                ),
                choose(inside, choose(paging.slot(span.base) < paging.slots, limits.count, 0), room),
            ),
        ]

    def span_at_home(self, o, c, units):
        """The :meth:`span` with addresses that count from the start of the home of the unit's tile, as seen
        from one of ``units``: it ends within ``home_bytes`` if and only if it lies in that home."""
        topology, size = c.topology, c.memory.home_bytes
        start = reduce(
            or_,
            (choose(o.unit == unit, size * topology.home_of(topology.tile_of(unit)), 0) for unit in units),
        )
        span, paging = self.span(o), c.memory.paging
        # Only an address whose higher bits are those of the start is less than a home's size after this.
        if paging is None:
            return span._replace(base=o.mem_addr ^ start)
        inside = paging.inside(o.mem_addr)
        return span._replace(
            base=choose(inside, paging.home(o.mem_addr) * size, o.mem_addr) ^ start,
            stride=choose(inside, 0, span.stride),
            extent=choose(inside, 1, span.extent),
        )
