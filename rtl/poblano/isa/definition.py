"""What defines an opcode, and what follows from it for all who encode, check or execute commands."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from .errors import ErrorCode
from .expressions import off
from .header import COMMAND_BYTES, HEADER_BITS
from .regions import MemoryRegion

__all__ = ["Definition", "Rule"]


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
class Definition:
    """An opcode: everything about its commands but what they compute.

    ``kind`` is the :class:`UnitKind` that executes it, None if every unit does. ``local`` are its regions
    of local memories in the order in which they are checked, ``memory`` the one of memory, ``rules`` what
    its fields must obey beyond their kinds.
    """

    name: str
    number: int
    kind: object
    purpose: str
    fields: tuple = ()
    local: tuple = ()
    memory: MemoryRegion | None = None
    rules: tuple = ()

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
