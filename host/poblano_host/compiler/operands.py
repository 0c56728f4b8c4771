"""The operands of one matrix product, checked: what the chip would lose without a word is refused."""

import numpy as np

from poblano.config import BLOCK

from .errors import CompileError

__all__ = ["check_shapes", "float_operand"]

TOLERANCE = 2.0**-9
"""What may be lost of a row."""


def check_shapes(a, b):
    """:class:`CompileError` unless ``a`` (M, K) and ``b`` (K, N) can be multiplied."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise CompileError(f"can't multiply shapes {a.shape} and {b.shape}")
    if 0 in a.shape or 0 in b.shape:
        raise CompileError(f"shapes {a.shape} and {b.shape} are empty")


def float_operand(name, array, rows, least):
    """``array`` as float32; :class:`CompileError` if it has elements that are not finite, or ``rows`` (its
    own, or the columns of B) most of which are in blocks of 32 below ``least``, which count as zero."""
    array = np.asarray(array)
    if not np.isfinite(array).all():
        what = "NaN" if np.isnan(array).any() else "infinities"
        raise CompileError(f"{name} has {what}; a matrix product needs finite numbers")
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise CompileError(f"{name} has elements of {np.abs(array).max():.3g}, which FP32 does not hold")
    lines = array if rows else array.T
    padded = np.pad(lines, ((0, 0), (0, -lines.shape[1] % BLOCK)))
    blocks = np.abs(padded.astype(np.float64)).reshape(len(lines), -1, BLOCK)
    small = blocks.max(-1) < least
    if small.any():
        # Of the largest magnitude of a row: squares of the smallest would be zero.
        largest = blocks.max((1, 2))
        with np.errstate(under="ignore"):
            energy = np.square(blocks / np.where(largest == 0, 1, largest)[:, None, None]).sum(-1)
        lost = np.where(small, energy, 0).sum(1) > TOLERANCE**2 * energy.sum(1)
        if lost.any():
            raise CompileError(
                f"{name} has a {'row' if rows else 'column'} whose largest magnitude is "
                f"{largest[lost].min():.3g}; blocks below {least:.3g} count as zero"
            )
    return single
