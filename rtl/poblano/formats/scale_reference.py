"""How scales of blocks are read, and what the units of :mod:`poblano.formats.scale` compute, on numpy
arrays, bit for bit."""

import numpy as np

from .float32_reference import canonicalise, without_subnormals

__all__ = ["LEAST", "SCALE_BITS", "read_scale", "round_scale", "scale_multiply"]

SCALE_BITS = 11
"""Bits of a scale's significand."""
LEAST = np.float32(2.0**-56)
"""Scales whose magnitude is below this are read as zero."""


def read_scale(x):
    """float32 ``x`` as the matmul unit reads it as a scale: of 11 significant bits, the lower ones left out,
    and zero below :data:`LEAST`."""
    x = (np.asarray(x, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.abs(x) < LEAST, np.float32(0), x)


def round_scale(x):
    """float32 of float64 ``x``, finite, rounded to nearest even to 11 significant bits."""
    fraction, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, SCALE_BITS)), exponent - SCALE_BITS).astype(np.float32)


def scale_multiply(x, scale):
    """float32 ``x`` times a scale, rounded to nearest even; products below the least normal number, and of
    subnormal ``x``, are zero."""
    with np.errstate(all="ignore"):
        product = without_subnormals(np.asarray(x, np.float64)) * scale
        return canonicalise(without_subnormals(product).astype(np.float32))
