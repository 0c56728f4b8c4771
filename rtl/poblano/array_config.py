"""The configuration of a systolic array."""

from dataclasses import dataclass

from .config_error import ConfigError, require
from .formats.element import Arithmetic
from .formats.multiply import MULTIPLIERS
from .local_config import BLOCK

__all__ = ["DEFAULT_FORMATS", "ArrayConfig"]

DEFAULT_FORMATS = ("int8", "int4")


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """A weight-stationary systolic array of ``rows`` x ``cols`` processing elements.

    A block of 32 along K takes ``passes`` weight tiles when the array is lower than a block; an array of
    more rows, a multiple of 32, computes ``segments`` blocks at a time. ``formats`` are the number formats
    that it computes with (names of :data:`~poblano.formats.element.FORMATS`). ``load_rows`` rows of weights
    (columns, of a transposed stream) enter in a cycle. ``fp4_rate`` 2: a processing element multiplies two
    4-bit weights a cycle. ``multiplier`` "lut" builds its multipliers from carry chains, for FPGAs without
    free DSP blocks; ``multiplier_registers`` gives them registers at their inputs and outputs, for a faster
    clock.
    """

    rows: int = 16
    cols: int = 16
    formats: tuple = DEFAULT_FORMATS
    load_rows: int = 1
    fp4_rate: int = 1
    multiplier: str = "dsp"
    multiplier_registers: bool = False

    def __post_init__(self):
        require(
            self.multiplier in MULTIPLIERS,
            f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {self.multiplier!r}",
        )
        require(
            isinstance(self.rows, int) and self.rows >= 1 and (self.rows < BLOCK or self.rows % BLOCK == 0),
            f"array rows must be below {BLOCK} or a multiple of it, not {self.rows!r}",
        )
        require(
            isinstance(self.cols, int) and self.cols >= 1, f"array cols must be at least 1, not {self.cols!r}"
        )
        require(
            self.load_rows in (1, 2, 4)
            and min(self.rows, BLOCK) % self.load_rows == 0
            and self.cols % self.load_rows == 0,
            f"load_rows must be 1, 2 or 4 and divide the array's {self.rows} rows and {self.cols} cols, not "
            f"{self.load_rows!r}",
        )
        try:
            _ = self.arithmetic
        except ValueError as error:
            raise ConfigError(str(error)) from None
        require(
            self.fp4_rate == 1 or 2 * self.rows <= BLOCK,
            f"fp4_rate 2 needs an array of at most {BLOCK // 2} rows, not {self.rows}",
        )

    @property
    def arithmetic(self):
        """The :class:`~poblano.formats.element.Arithmetic` of a processing element."""
        return Arithmetic(tuple(self.formats), self.fp4_rate)

    @property
    def segments(self):
        """Blocks of 32 rows in the array (at least 1)."""
        return max(1, self.rows // BLOCK)

    @property
    def passes(self):
        """Weight tiles per block of 32 (at least 1)."""
        return -(-BLOCK // self.rows)

    @property
    def passes_4bit(self):
        """Weight tiles per block of 4-bit weights."""
        return -(-BLOCK // (self.rows * self.fp4_rate))

    @property
    def items(self):
        """Cycles in which a weight tile enters the array, by rows or columns, the fewer."""
        return min(self.rows, self.cols) // self.load_rows

    @property
    def sum_width(self):
        """Bits of a signed block sum."""
        return self.arithmetic.sum_width
