"""Scales of blocks in the formats that the chip has: F16 where it holds them, else F32."""

import numpy as np

from poblano.formats.scale_reference import read_scale, round_scale

__all__ = ["TOLERANCE", "held_minima", "held_scales"]

TOLERANCE = 2.0**-9
"""Of the error of a row that the rounding of its scales may cost, relative to the row: half of INT8's own."""
_NORMAL = np.float32(2.0**-14)
"""The least F16 number with all 11 significant bits."""


def _singles(values):
    """float32 as the chip reads scales: of 11 significant bits, below the least zero."""
    with np.errstate(over="ignore"):
        return read_scale(round_scale(values))


def _lost(scale, held, scaled, row):
    """Whether scales that ``held`` has with fewer than 11 significant bits cost a row more than the
    tolerance; ``scaled`` and ``row`` are sums of squares of the blocks of what the scales
    multiply and of the rows."""
    scale, held = scale.astype(np.float64), held.astype(np.float64)
    with np.errstate(all="ignore"):
        relative = np.where(scale == 0, 1, held / scale - 1)
        error = np.where((scaled == 0) | (np.abs(relative) <= 2.0**-11), 0, relative**2 * scaled)
    return not (error.sum(1) <= TOLERANCE**2 * row).all()


def _halves(values):
    """float16, and whether each is zero as it should be or has all significant bits."""
    with np.errstate(over="ignore", under="ignore"):
        halves = values.astype(np.float16)
    size = np.abs(halves)
    return halves, bool((((size >= _NORMAL) & np.isfinite(size)) | (values == 0)).all())


def _energy(blocks):
    return np.square(blocks, dtype=np.float64).sum(-1)


def held_scales(scale, blocks, low=None):
    """``scale`` float32 (N, K/32) of ``blocks`` (N, K/32, 32), or of what they are above ``low``, as float16,
    as GGUF has them; where these lose more than :data:`TOLERANCE` of a row, as float32 of 11 significant
    bits. ValueError where these do too."""
    halves, whole = _halves(scale)
    if whole and scale.all():
        return halves
    row = _energy(blocks)
    scaled = row if low is None else _energy(blocks.astype(np.float64) - low)
    row = row.sum(1)
    if not _lost(scale, halves, scaled, row):
        return halves
    singles = _singles(scale)
    if not np.isfinite(singles).all() or _lost(scale, singles, scaled, row):
        amax = np.abs(blocks).max((1, 2))
        raise ValueError(
            f"no scale holds rows whose largest magnitude is {amax[amax > 0].min():.3g}; the least scale of "
            "a block is 2**-56"
        )
    return singles


def held_minima(minimum, blocks):
    """``minimum`` float32 (N, K/32) as float16, the only format of minima; ValueError where these lose more
    than :data:`TOLERANCE` of a row."""
    halves, whole = _halves(minimum)
    if not whole:
        energy = _energy(blocks)
        error = np.square(halves.astype(np.float64) - minimum) * blocks.shape[-1]
        if not (error.sum(1) <= TOLERANCE**2 * energy.sum(1)).all():
            raise ValueError("minima are F16, which can't hold these elements; q8_0 and q4_0 can")
    return halves
