"""Numbers with their range: the least, the most likely, the most."""

from dataclasses import dataclass

__all__ = ["CORNERS", "Range"]

CORNERS = ("low", "mid", "high")


@dataclass(frozen=True)
class Range:
    """An interval with a most likely value in it; arithmetic gives the interval of all results."""

    low: float
    mid: float
    high: float

    def __post_init__(self):
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"a range goes upward, not {self.low:g}, {self.mid:g}, {self.high:g}")

    @classmethod
    def of(cls, value):
        """A number as a range of itself; a range as it is."""
        return value if isinstance(value, Range) else cls(value, value, value)

    @classmethod
    def around(cls, values):
        """The range of some results, the most likely first."""
        values = list(values)
        return cls(min(values), values[0], max(values))

    def _with(self, other, operation):
        other = Range.of(other)
        ends = [operation(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(ends), operation(self.mid, other.mid), max(ends))

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other):
        other = Range.of(other)
        if other.low <= 0 <= other.high:
            raise ZeroDivisionError(f"{other.low:g} to {other.high:g} has zero in it")
        return self._with(other, lambda a, b: a / b)

    def __rsub__(self, other):
        return Range.of(other) - self

    def __rtruediv__(self, other):
        return Range.of(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def at(self, corner):
        """The number at one of :data:`CORNERS`."""
        return getattr(self, corner)

    def as_json(self):
        return {"low": self.low, "mid": self.mid, "high": self.high}

    def text(self, digits=2):
        """In words: ``3.4 (2.9 to 4.1)``, or one number if there is no range."""
        middle = significant(self.mid, digits)
        ends = significant(self.low, digits), significant(self.high, digits)
        return middle if ends == (middle, middle) else f"{middle} ({ends[0]} to {ends[1]})"


def significant(value, digits):
    """With so many significant digits and commas, never in powers of ten."""
    if value == 0:
        return "0"
    shown = float(f"{value:.{digits}g}")
    places = 0
    while places < 9 and round(shown, places) != shown:
        places += 1
    return f"{shown:,.{places}f}"
