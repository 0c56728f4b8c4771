"""Numbers that a program leaves open until it runs, and integers that are linear in them.

A program is compiled once for a shape and patched for each step: ``field += coefficient * symbol`` is the
one kind of patch. What a symbol stands for is computed from the step's position alone, so that a command
processor with a few registers can apply the patches as well as the host does.
"""

from dataclasses import dataclass
import enum

__all__ = ["Affine", "Kind", "Symbol", "affine", "column", "granules", "group", "position"]


class Kind(enum.IntEnum):
    """What a symbol stands for, of a step's first position ``p``."""

    POSITION = 0
    """p."""
    GROUP = 1
    """p divided by the columns of the array: the group in the K cache."""
    COLUMN = 2
    """The remainder of that: the column in the group."""
    GRANULES = 3
    """The granules of positions (whole blocks, steps and array columns) that hold p + ``argument``
    positions."""


@dataclass(frozen=True, order=True)
class Symbol:
    """A symbol; ``argument`` belongs to its :class:`Kind`."""

    kind: Kind
    argument: int = 0


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

    def at(self, values):
        """The integer for the symbols' ``values``, a mapping."""
        return self.constant + sum(coefficient * values[symbol] for symbol, coefficient in self.terms)


def affine(value):
    """``value``, an int or an :class:`Affine`, as an Affine."""
    return value if isinstance(value, Affine) else Affine(value)


def _symbol(kind, argument=0):
    return Affine(0, ((Symbol(kind, argument), 1),))


position, group, column = (_symbol(kind) for kind in (Kind.POSITION, Kind.GROUP, Kind.COLUMN))


def granules(positions):
    """The granules that hold the step's position plus ``positions``."""
    return _symbol(Kind.GRANULES, positions)
