"""Numbers that a program leaves open until it runs, and integers that are linear in them.

A program is compiled once for a shape and patched for each step: ``field += coefficient * symbol`` is the
one kind of patch. What a symbol stands for is computed from the step's position alone, so that a command
processor with a few registers can apply the patches as well as the host does.
"""

from dataclasses import dataclass, replace
import enum

__all__ = [
    "Affine",
    "Kind",
    "Symbol",
    "affine",
    "before",
    "column",
    "granules",
    "group",
    "position",
    "skipped",
    "slot",
    "span",
]


class Kind(enum.IntEnum):
    """What a symbol stands for, of a step's first position ``p``."""

    POSITION = 0
    """p."""
    GROUP = 1
    """p divided by the columns of the array: the group in the K cache."""
    COLUMN = 2
    """The remainder of that: the column in the group."""
    GRANULES = 3
    """The granules of positions (whole blocks, steps and array columns) that hold the first p + ``argument``
    positions, but for whole granules of those before p + ``lower``."""
    SKIPPED = 4
    """The whole granules before position p + ``lower``."""
    BEFORE = 5
    """The positions before p + ``lower``."""
    SLOT = 6
    """The number of the part's sequence in the caches."""
    SPAN = 7
    """Of the granules that hold the first p + ``argument`` positions those from granule ``lower`` on, but at
    least one and at most ``limit``."""


FIRST = -(1 << 32)
"""A ``lower`` before which there are no positions."""


@dataclass(frozen=True, order=True)
class Symbol:
    """A symbol of the step's part ``part``; ``argument``, ``lower`` and ``limit`` belong to its
    :class:`Kind`."""

    kind: Kind
    argument: int = 0
    lower: int = FIRST
    limit: int = 0
    part: int = 0

    def value(self, position, cols, granule):
        """What it stands for where its part begins at ``position``, of arrays of ``cols`` columns; of SLOT it
        is ``position``."""
        before = max(position + self.lower, 0)
        if self.kind in (Kind.POSITION, Kind.SLOT):
            return position
        if self.kind is Kind.GROUP:
            return position // cols
        if self.kind is Kind.COLUMN:
            return position % cols
        if self.kind is Kind.GRANULES:
            return -(-(position + self.argument) // granule) - before // granule
        if self.kind is Kind.SPAN:
            return min(max(-(-(position + self.argument) // granule) - self.lower, 1), self.limit)
        return before // granule if self.kind is Kind.SKIPPED else before

    def most(self, last, cols, granule):
        """The largest value for positions up to ``last``."""
        if self.kind is Kind.GRANULES and self.lower != FIRST:
            first = max(0, last - 2 * granule)  # from then on it repeats
            return max(self.value(position, cols, granule) for position in range(first, last + 1))
        return self.value(last, cols, granule)


@dataclass(frozen=True)
class Affine:
    """``constant`` plus the sum of coefficient times symbol over ``terms``."""

    constant: int
    terms: tuple[tuple[Symbol, int], ...] = ()

    def __add__(self, other):
        other = affine(other)
        terms = dict(self.terms)
        for symbol, coefficient in other.terms:
            terms[symbol] = terms.get(symbol, 0) + coefficient
        return Affine(self.constant + other.constant, tuple(terms.items()))

    def __mul__(self, factor):
        return Affine(self.constant * factor, tuple((symbol, c * factor) for symbol, c in self.terms))

    __radd__, __rmul__ = __add__, __mul__

    def of(self, part):
        """The same of a step's part ``part``."""
        return Affine(self.constant, tuple((replace(symbol, part=part), c) for symbol, c in self.terms))

    def behind(self, parts):
        """The same where the step has so many parts before."""
        return Affine(
            self.constant, tuple((replace(symbol, part=symbol.part + parts), c) for symbol, c in self.terms)
        )

    def at(self, values):
        """The integer for the symbols' ``values``, a mapping."""
        return self.constant + sum(coefficient * values[symbol] for symbol, coefficient in self.terms)


def affine(value):
    """``value``, an int or an :class:`Affine`, as an Affine."""
    return value if isinstance(value, Affine) else Affine(value)


def _symbol(kind, argument=0, lower=FIRST, limit=0):
    return Affine(0, ((Symbol(kind, argument, lower, limit), 1),))


position, group, column, slot = (
    _symbol(kind) for kind in (Kind.POSITION, Kind.GROUP, Kind.COLUMN, Kind.SLOT)
)


def granules(positions, lower=FIRST):
    """The granules that hold the step's position plus ``positions``, but for those :func:`skipped`."""
    return _symbol(Kind.GRANULES, positions, lower)


def span(positions, first, limit):
    """Of the granules that hold the step's position plus ``positions`` those from granule ``first`` on, but
    at least one and at most ``limit``."""
    return _symbol(Kind.SPAN, positions, first, limit)


def skipped(lower):
    """The whole granules of positions before the step's position plus ``lower``."""
    return _symbol(Kind.SKIPPED, lower=lower)


def before(lower):
    """The positions before the step's position plus ``lower``."""
    return _symbol(Kind.BEFORE, lower=lower)
