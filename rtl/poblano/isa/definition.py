"""What defines an opcode, and what follows from it for all who encode, check or execute commands."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

from .errors import ErrorCode
from .expressions import off, some
from .header import COMMAND_BYTES, HEADER_BITS
from .regions import Access, MemoryRegion, Place
from .topology import UnitKind

__all__ = ["Definition", "Pair", "Rule"]


@dataclass(frozen=True)
class Rule:
    """What a command must obey: ``code`` is what it is refused with where the expression ``broken`` holds.

    ``message(o, c)`` says of such a command what is wrong; ``text`` says what must hold, for documents.
    """

    code: ErrorCode
    broken: Callable
    message: Callable
    text: str = ""


@dataclass(frozen=True)
class Pair:
    """Two local regions of an opcode, numbers ``first`` and ``second``, that must have no address in common
    if the command has both, unless they are ``in_place`` and have the same rows.

    ``own``: only if the unit's own tile is among the tiles that are written; the other region is there.
    """

    first: int
    second: int
    in_place: bool
    own: bool


@dataclass(frozen=True)
class Definition:
    """An opcode, ``number``: everything about its commands but what they compute.

    ``kind`` is the :class:`UnitKind` that executes it, None if every unit does. ``local`` are its regions
    of local memories in the order in which they are checked, ``memory`` the one of memory, ``rules`` what
    its fields must obey beyond their kinds. ``quotients`` name more operands for expressions, each one
    field divided by another and rounded up: divisions that gates take some cycles for, so that only the
    fifth region and those after it can use them. ``terms`` name still more, each an expression of the
    operands before it, of so many bits, that gates take a cycle for: they are for these regions too.
    ``clears`` are memories of the unit's own tile that are written as a whole. ``part`` names the part of the
    configuration without which a chip does not know the opcode; by default all chips do.
    """

    number: int
    kind: UnitKind | None
    purpose: str
    fields: tuple = ()
    local: tuple = ()
    memory: MemoryRegion | None = None
    rules: tuple = ()
    quotients: tuple = ()
    """(name, dividend, divisor)"""
    terms: tuple = ()
    """(name, bits, function of the operands)"""
    clears: tuple = ()
    part: str = ""

    def known(self, c):
        """Whether the chip of configuration ``c`` knows the opcode."""
        return not self.part or getattr(c, self.part) is not None

    def operands(self, values, divide, keep=lambda name, width, value: value):
        """The operands that expressions want, of ``values`` by name, as attributes; ``divide(a, b)`` is the
        quotient, rounded up, of the fields called so, ``keep(name, width, value)`` is a term's ``value``."""
        o = SimpleNamespace(**values, **{name: divide(a, b) for name, a, b in self.quotients})
        for name, width, term in self.terms:
            setattr(o, name, keep(name, width, term(o)))
        return o

    @cached_property
    def field(self):
        """The fields by name."""
        return {field.name: field for field in self.fields}

    @cached_property
    def defaults(self):
        """The values of the fields that are not 0 where they are not given."""
        return {field.name: field.default for field in self.fields if field.default}

    @cached_property
    def reserved(self):
        """The bits of a command that must be zero, as an integer."""
        named = (1 << HEADER_BITS) - 1 | sum(f.mask for f in self.fields)
        return ~named & (1 << 8 * COMMAND_BYTES) - 1

    @cached_property
    def checks(self):
        """Every :class:`Rule` of fields, then of alignment; the ranges come after these."""
        fields = (
            Rule(
                ErrorCode.FIELD,
                lambda o, c, f=f: f.kind.bad(getattr(o, f.name), c),
                lambda o, c, f=f: f.kind.problem(f.name, getattr(o, f.name), c),
            )
            for f in self.fields
        )
        return (*fields, *self.rules, *self._alignment())

    @cached_property
    def pairs(self):
        """Every :class:`Pair` of regions of one memory of which at least one is written."""
        return tuple(
            Pair(
                first,
                second,
                one.name in two.in_place or two.name in one.in_place,
                {one.place, two.place} == {Place.OWN, Place.TILES},
            )
            for second, two in enumerate(self.local)
            for first, one in enumerate(self.local[:second])
            if one.memory is two.memory and Access.WRITE in (one.access, two.access)
        )

    def home_span(self, o, c):
        """The :class:`~.regions.Span` that must end within a home's bytes, or None: the command may use every
        home, or there is only one."""
        if not (self.memory and self.memory.at_home) or c.memory.homes == 1:
            return None
        return self.memory.span_at_home(o, c, c.topology.units_of(self.kind))

    def writes_own(self, o, c):
        """An expression: whether the unit's own tile is in the command's ``tiles``."""
        return some(
            (o.unit == unit) & ((o.tiles >> c.topology.tile_of(unit) & 1) == 1)
            for unit in c.topology.units_of(self.kind)
        )

    def _alignment(self):
        for region in self.local:
            for part in ("base", "stride", "extent"):
                name = {"base": region.name, "stride": f"{region.name}_stride"}.get(part)
                name = name or f"the extent of {region.name},"
                if part != "stride" or region.strided:
                    yield _aligned(
                        name,
                        lambda o, c, region=region, part=part: getattr(region.span(o, c), part),
                        region.unit,
                        region.used,
                    )
        if self.memory:
            several = lambda o, c: o.rows > 1
            yield _aligned("mem_addr", lambda o, c: o.mem_addr, self.memory.unit)
            yield _aligned("mem_stride", lambda o, c: o.mem_stride, self.memory.unit, several)
            if self.memory.count:
                row = lambda o, c: self.memory.span(o).extent
                yield _aligned(f"{self.memory.count}", row, self.memory.unit)


def _aligned(name, value, unit, applies=lambda o, c: True):
    return Rule(
        ErrorCode.ALIGNMENT,
        lambda o, c: applies(o, c) & off(value(o, c), unit(o, c)),
        lambda o, c: f"{name} {value(o, c)} is not a multiple of {unit(o, c)}",
    )
