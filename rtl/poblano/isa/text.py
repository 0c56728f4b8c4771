"""Expressions as text, for documents."""

import enum

__all__ = ["Text", "call"]

OR, AND, COMPARE, SUM, PRODUCT, ATOM = range(6)
"""What binds a text's outermost operation, the loosest first."""


class Text:
    """An expression that its operations write down; its attributes are the names of what it is made of.

    ``Text("").rows - 1`` is the text ``rows - 1``; a name's owner is not written.
    """

    def __init__(self, text, level=ATOM):
        self.text, self.level = text, level

    def __str__(self):
        return self.text

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Text(name)

    def _with(self, operator, other, level, *, swapped=False):
        left, right = (other, self) if swapped else (self, other)
        return Text(f"{_inside(left, level)} {operator} {_inside(right, level + 1)}", level)

    def __add__(self, other):
        return self._with("+", other, SUM)

    def __radd__(self, other):
        return self._with("+", other, SUM, swapped=True)

    def __sub__(self, other):
        return self._with("-", other, SUM)

    def __mul__(self, other):
        return self if type(other) is int and other == 1 else self._with("*", other, PRODUCT)

    def __rmul__(self, other):
        return self._with("*", other, PRODUCT, swapped=True)

    def __floordiv__(self, other):
        return self._with("//", other, PRODUCT)

    def __and__(self, other):
        return self if other is True else self._with("and", other, AND)

    def __or__(self, other):
        return self if other is False else self._with("or", other, OR)

    __rand__, __ror__ = __and__, __or__

    def __eq__(self, other):
        return self._with("is", other, COMPARE)

    def __ne__(self, other):
        return self._with("is not", other, COMPARE)

    def __lt__(self, other):
        return self._with("<", other, COMPARE)

    def __gt__(self, other):
        return self._with(">", other, COMPARE)

    def __ge__(self, other):
        return self._with(">=", other, COMPARE)

    __hash__ = None  # type: ignore[assignment]


def _inside(value, level):
    """The text of an operand of an operation that binds as ``level`` says."""
    if isinstance(value, Text):
        return value.text if value.level >= level else f"({value.text})"
    return value.name if isinstance(value, enum.Enum) else str(value)


def call(form, *values):
    """The text of a function of values: ``form`` with places for them."""
    return Text(form.format(*(_inside(value, OR) for value in values)), OR if " if " in form else ATOM)
