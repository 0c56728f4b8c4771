"""What :class:`poblano.vector.sfu.SpecialFunction` computes, on numpy arrays, bit for bit, and its
coefficient table."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from poblano.formats.float32_reference import NAN, float_multiply, without_subnormals
from poblano.isa.vector_ops import SfuOp

__all__ = ["ADDRESS_BITS", "C0_BITS", "C1_BITS", "C2_BITS", "FRACTION_BITS", "T_BITS", "coefficients", "sfu"]

ADDRESS_BITS = 9
"""Bits of a segment's number in the table."""
T_BITS = 18
"""Bits of the position in a segment, a signed number t of which 2**T_BITS is the segment's width."""
FRACTION_BITS = 26
"""Bits behind the binary point in coefficients and polynomial."""
C0_BITS, C1_BITS, C2_BITS = 27, 22, 15
"""Bits of the coefficients; c0 is unsigned, c1 and c2 are signed."""

# First segment of each table: (function, start, segment width, segments). Tables are aligned to their size.
RECIPROCAL_BASE, RSQRT_BASE, SIGMOID_BASE, SIGMOID_4_BASE, SIGMOID_8_BASE, EXP2_BASE = (
    0,
    128,
    256,
    384,
    416,
    448,
)
_TABLES: dict[int, tuple[Callable, int, float, int]] = {
    RECIPROCAL_BASE: (lambda x: 2 / x, 1, 1 / 128, 128),
    RSQRT_BASE: (lambda x: 2 / np.sqrt(x), 1, 1 / 64, 64),
    RSQRT_BASE + 64: (lambda x: 2 / np.sqrt(x), 2, 1 / 32, 64),
    SIGMOID_BASE: (lambda x: 1 / (1 + np.exp(-x)), 0, 1 / 32, 128),
    SIGMOID_4_BASE: (lambda x: 1 / (1 + np.exp(-x)), 4, 1 / 8, 32),
    SIGMOID_8_BASE: (lambda x: 1 / (1 + np.exp(-x)), 8, 1 / 4, 32),
    EXP2_BASE: (np.exp2, 0, 1 / 64, 64),
}


@lru_cache(maxsize=1)
def coefficients():
    """The table: integers (c0, c1, c2), three arrays of 2**ADDRESS_BITS.

    With t in -1/2 .. 1/2 over a segment, f = (c0 + t*(c1 + t*c2)) * 2**-FRACTION_BITS. The quadratics go
    through f at the ends and the middle of each segment: continuous, and right at the powers of two.
    """
    result = np.zeros((3, 1 << ADDRESS_BITS))
    for base, (function, start, width, count) in _TABLES.items():
        middle = start + width * (np.arange(count) + 0.5)
        low, centre, high = (function(middle + width * t) for t in (-0.5, 0, 0.5))
        result[:, base : base + count] = centre, high - low, 2 * (high - 2 * centre + low)
    table = np.rint(result * 2.0**FRACTION_BITS).astype(np.int64)
    for values, low, high in zip(
        table, (0, -1 << C1_BITS - 1, -1 << C2_BITS - 1), (1 << C0_BITS, 1 << C1_BITS - 1, 1 << C2_BITS - 1)
    ):
        assert low <= values.min() and values.max() < high, (low, values.min(), values.max(), high)
    table.setflags(write=False)
    return table


def _polynomial(address, t):
    """The polynomial's value, an integer; ``t`` counts 2**-T_BITS of a segment from its start."""
    c0, c1, c2 = coefficients()
    half = 1 << T_BITS - 1
    t = t - half
    inner = c2[address]
    inner *= t
    inner += half
    inner >>= T_BITS
    inner += c1[address]
    inner *= t
    inner += half
    inner >>= T_BITS
    inner += c0[address]
    return inner


def _scale(value, exponent):
    """``value * 2**(exponent - FRACTION_BITS)``, rounded to nearest even; subnormal results become 0."""
    rounded = value.astype(np.float32).astype(np.float64)
    rounded *= (np.asarray(exponent, np.int64) + (1023 - FRACTION_BITS) << 52).view(np.float64)
    return without_subnormals(rounded).astype(np.float32)


def _fixed(x, limit):
    """|x| below ``limit``, in units of 2**-24, rounded down; larger and NaN give 0."""
    magnitude = np.abs(x)
    return (np.where(magnitude < limit, magnitude, 0) * np.float32(1 << 24)).astype(np.int64)


def _exp2(x):
    fixed = _fixed(x, 128)
    fixed = np.where(x < 0, -fixed, fixed)
    result = _scale(_polynomial(EXP2_BASE + (fixed >> T_BITS & 63), fixed & (1 << T_BITS) - 1), fixed >> 24)
    result = np.where(x >= 128, np.float32(np.inf), result)
    return np.where(x <= -128, np.float32(0), result)


def _reciprocal(x):
    bits = x.view(np.uint32).astype(np.int64)
    exponent = bits >> 23 & 0xFF
    result = _scale(_polynomial(RECIPROCAL_BASE + (bits >> 16 & 127), (bits & 0xFFFF) << 2), 126 - exponent)
    result = np.where(exponent == 0, np.float32(np.inf), np.where(exponent == 255, np.float32(0), result))
    return np.copysign(result, x)


def _rsqrt(x):
    bits = x.view(np.uint32).astype(np.int64)
    exponent = bits >> 23 & 0xFF
    address = RSQRT_BASE + ((bits >> 17 & 63) | (~exponent & 1) << 6)
    result = _scale(_polynomial(address, (bits & 0x1FFFF) << 1), 62 - (exponent - 1 >> 1))
    result = np.where(exponent == 255, np.float32(0), np.where(x < 0, NAN, result))
    return np.where(exponent == 0, np.float32(np.inf), np.where(x == -np.inf, NAN, result))


def _sigmoid(x):
    fixed = _fixed(x, 16)
    octave = np.where(fixed < 4 << 24, 0, np.where(fixed < 8 << 24, 1, 2))
    shift = np.array([1, 3, 4])[octave]
    t = fixed >> shift
    first = np.array([SIGMOID_BASE, SIGMOID_4_BASE - 32, SIGMOID_8_BASE - 32])[octave]
    value = _polynomial(first + (t >> T_BITS), t & (1 << T_BITS) - 1)
    value = np.where(np.abs(x) >= 16, 1 << FRACTION_BITS, value)
    return _scale(np.where(np.signbit(x), (1 << FRACTION_BITS) - value, value), 0)


def sfu(op, x):
    """``op`` (an :class:`~poblano.isa.vector_ops.SfuOp`) of a float32 array, as float32."""
    op = SfuOp(op)
    x = np.ascontiguousarray(x, np.float32)
    if op is SfuOp.PASS:
        return x.copy()
    with np.errstate(all="ignore"):
        if op is SfuOp.SILU:
            result = float_multiply(_sigmoid(x), np.where(x == -np.inf, np.float32(-0.0), x))
        else:
            result = {
                SfuOp.EXP2: _exp2,
                SfuOp.RECIPROCAL: _reciprocal,
                SfuOp.RSQRT: _rsqrt,
                SfuOp.SIGMOID: _sigmoid,
            }[op](x)
    return np.where(np.isnan(x), NAN, result)
