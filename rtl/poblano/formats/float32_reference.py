"""What the units of :mod:`poblano.formats.float32` compute, on numpy arrays, bit for bit."""

import numpy as np

__all__ = [
    "NAN",
    "canonicalise",
    "fixed_to_float",
    "float16_to_float32",
    "float_add",
    "float_multiply",
    "float_to_int8",
    "without_subnormals",
]

NAN = np.array(0x7FC00000, np.uint32).view(np.float32)[()]
"""The only NaN that the hardware produces."""


def canonicalise(x):
    """``x`` as float32 with every NaN replaced by :data:`NAN`."""
    x = np.asarray(x, np.float32)
    nan = np.isnan(x)
    return np.where(nan, NAN, x) if nan.any() else x


def without_subnormals(x):
    """``x``, floats, with 0 for magnitudes below the least normal float32."""
    return np.where(np.abs(x) < 2.0**-126, 0, x)


def float_add(a, b):
    """:class:`~poblano.formats.float32.FloatAdd`."""
    with np.errstate(all="ignore"):
        return canonicalise(np.add(a, b, dtype=np.float32))


def float_multiply(a, b):
    """:class:`~poblano.formats.float32.FloatMultiply`."""
    with np.errstate(all="ignore"):
        return canonicalise(np.multiply(a, b, dtype=np.float32))


def fixed_to_float(i, exponent=0):
    """:class:`~poblano.formats.float32.FixedToFloat`: float32 of the integers ``i`` times 2**exponent,
    rounded once; zero below the least normal number."""

    def odd(value):
        # 53 bits, the last of which says that there were more below: the second rounding is right.
        excess = max(abs(value).bit_length() - 53, 0)
        kept = abs(value) >> excess
        return float(kept | (kept << excess != abs(value))) * (-1 if value < 0 else 1), excess

    numbers, excess = zip(*(odd(int(value)) for value in np.asarray(i).ravel()))
    with np.errstate(over="ignore"):
        value = np.ldexp(np.array(numbers), np.array(excess) + np.asarray(exponent))
        return without_subnormals(value).astype(np.float32)


def float_to_int8(x):
    """:class:`~poblano.formats.float32.FloatToInt8`."""
    x = np.asarray(x, np.float32)
    with np.errstate(invalid="ignore"):
        x = np.where(np.isnan(x), np.float32(0), np.clip(x, -127, 127))
        return np.rint(x).astype(np.int8)


def float16_to_float32(bits):
    """float32 of 16-bit patterns (or float16), exact."""
    bits = np.asarray(bits)
    half = bits if bits.dtype == np.float16 else bits.astype(np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        return canonicalise(half.astype(np.float32))
