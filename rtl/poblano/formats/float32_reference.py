"""What the units of :mod:`poblano.formats.float32` compute, on numpy arrays, bit for bit."""

import numpy as np

__all__ = ["NAN", "canonicalise", "float16_to_float32", "float_add", "float_multiply", "float_to_int8", "int_to_float"]

NAN = np.array(0x7FC00000, np.uint32).view(np.float32)[()]
"""The only NaN that the hardware produces."""


def canonicalise(x):
    """``x`` as float32 with every NaN replaced by :data:`NAN`."""
    x = np.asarray(x, np.float32)
    nan = np.isnan(x)
    return np.where(nan, NAN, x) if nan.any() else x


def float_add(a, b):
    """:class:`~poblano.formats.float32.FloatAdd`."""
    with np.errstate(all="ignore"):
        return canonicalise(np.add(a, b, dtype=np.float32))


def float_multiply(a, b):
    """:class:`~poblano.formats.float32.FloatMultiply`."""
    with np.errstate(all="ignore"):
        return canonicalise(np.multiply(a, b, dtype=np.float32))


def int_to_float(i):
    """:class:`~poblano.formats.float32.IntToFloat`; exact for integers of up to 24 bits."""
    return np.asarray(i).astype(np.float32)


def float_to_int8(x):
    """:class:`~poblano.formats.float32.FloatToInt8`."""
    x = np.asarray(x, np.float32)
    with np.errstate(invalid="ignore"):
        x = np.where(np.isnan(x), np.float32(0), np.clip(x, -127, 127))
        return np.rint(x).astype(np.int8)


def float16_to_float32(bits):
    """:func:`~poblano.formats.float32.float16_to_float32` of 16-bit patterns (or float16)."""
    bits = np.asarray(bits)
    half = bits if bits.dtype == np.float16 else bits.astype(np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        return canonicalise(half.astype(np.float32))
