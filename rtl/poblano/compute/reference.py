"""What the matmul unit computes, on numpy arrays, bit for bit; and the weight streams that it reads."""

import numpy as np

from ..config import BLOCK
from ..formats.float32_reference import canonicalise, float16_to_float32
from .weight_format import Element, ScaleFormat, step_bytes

__all__ = ["matmul", "pack_weights", "unpack_weights"]

_CACHED = 1 << 17
"""Elements of an intermediate array that still fit in the processor's cache."""


def matmul(a_q, a_scale, a_sum, w_q, w_scale=None, w_min=None):
    """The product of quantised activations and weights, float32 (M, N), as ``docs/architecture.md`` defines it.

    Parameters
    ----------
    a_q : int8 (M, K)
    a_scale : float32 (M, K/32)
    a_sum : integers (M, K/32), sums of a_q's blocks; None computes them. Only used with ``w_min``.
    w_q : integers of at most 8 bits (K, N); of type float32 they need no conversion
    w_scale, w_min : float32 or float16 (K/32, N), or None
    """
    a_q, w_q = np.asarray(a_q), np.asarray(w_q)
    rows, k = a_q.shape
    cols = w_q.shape[1]
    if k % BLOCK or w_q.shape[0] != k:
        raise ValueError(f"shapes {a_q.shape} and {w_q.shape} must share a K that is a multiple of {BLOCK}")
    blocks = k // BLOCK
    a_blocks = np.ascontiguousarray(a_q.reshape(rows, blocks, BLOCK).transpose(1, 0, 2), np.float32)  # (block, M, 32)
    a_scale = np.asarray(a_scale, np.float32)
    if w_min is not None:
        sums = (a_q.reshape(rows, blocks, BLOCK).sum(2, dtype=np.int32) if a_sum is None else np.asarray(a_sum)).astype(np.float32)
        w_min = float16_to_float32(w_min) if w_min.dtype == np.float16 else np.asarray(w_min, np.float32)
    if w_scale is not None:
        w_scale = float16_to_float32(w_scale) if w_scale.dtype == np.float16 else np.asarray(w_scale, np.float32)
    acc = np.zeros((rows, cols), np.float32)
    width = max(BLOCK, min(cols, _CACHED // max(1, rows)))
    with np.errstate(all="ignore"):
        for low in range(0, cols, width):
            part = slice(low, low + width)
            out = acc[:, part]
            for kb in range(blocks):
                # Sums of 32 products are below 2**24: float32 arithmetic is exact in any order.
                u = a_blocks[kb] @ w_q[kb * BLOCK:(kb + 1) * BLOCK, part].astype(np.float32, copy=False)
                if w_scale is not None:
                    u *= w_scale[kb, part]
                if w_min is not None:
                    u += sums[:, kb, None] * w_min[kb, part]
                u *= a_scale[:, kb, None]
                out += u
    return canonicalise(acc)


def _padded(array, cols):
    """``array`` (.., N) with zeros appended to a multiple of ``cols`` columns."""
    return np.pad(array, [(0, 0), (0, -array.shape[1] % cols)])


def _halves(array, name):
    halves = np.asarray(array).astype(np.float16)
    if not np.array_equal(halves.astype(np.float32), np.asarray(array, np.float32), equal_nan=True):
        raise ValueError(f"{name} holds values that F16 can't represent")
    return halves


def _blocks_bytes(values, array):
    """Block scales or minima (K/32, N) as bytes (group, step, ..)."""
    values = _padded(values, array.cols)
    groups, steps = values.shape[1] // array.cols, values.shape[0] // array.segments
    values = values.reshape(steps, array.segments, groups, array.cols).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(values).view(np.uint8).reshape(groups, steps, -1)


def pack_weights(w_q, w_scale, w_min, config, element=Element.S8, scale_format=ScaleFormat.NONE, transpose=False):
    """The weight stream (bytes) of a matrix, for an array of ``config`` (:class:`ChipConfig` or :class:`ArrayConfig`).

    ``w_q`` (K, N) integers in the range of ``element``, ``w_scale`` and ``w_min`` (K/32, N) or None. N is padded with
    zeros to whole groups of columns; K must be whole steps of ``32 * segments``. Values that the format can't hold raise
    ValueError. A group of columns is ``1/groups`` of the bytes: the stream of some groups is a slice.
    """
    array = getattr(config, "tile", None)
    array = array.array if array is not None else config
    element, scale_format, w_q = Element(element), ScaleFormat(scale_format), np.asarray(w_q)
    if w_q.shape[0] % (BLOCK * array.segments):
        raise ValueError(f"K is {w_q.shape[0]}; it must be a multiple of {BLOCK * array.segments}")
    if transpose and element is not Element.S8:
        raise ValueError(f"a transposed stream holds 8-bit elements, not {element.name}")
    if (w_scale is None) != (scale_format is ScaleFormat.NONE):
        raise ValueError(f"scale format {scale_format.name} {'without' if w_scale is None else 'with'} scales")
    low, high = {Element.S8: (-128, 127), Element.S4: (-8, 7), Element.U4: (0, 15)}[element]
    if w_q.size and (w_q.min() < low or w_q.max() > high):
        raise ValueError(f"weights {w_q.min()} to {w_q.max()} don't fit in {element.name}")
    w_q = _padded(w_q.astype(np.uint8), array.cols)
    steps, groups = w_q.shape[0] // (BLOCK * array.segments), w_q.shape[1] // array.cols
    sections = []
    if scale_format is ScaleFormat.F16:
        sections.append(_blocks_bytes(_halves(w_scale, "w_scale"), array))
    elif scale_format is ScaleFormat.F32:
        sections.append(_blocks_bytes(np.asarray(w_scale, np.float32), array))
    if w_min is not None:
        sections.append(_blocks_bytes(_halves(w_min, "w_min"), array))
    if transpose:
        elements = w_q.reshape(steps, array.passes, array.rows, groups, array.cols).transpose(3, 0, 1, 4, 2)
    else:
        elements = w_q.reshape(steps, BLOCK * array.segments, groups, array.cols).transpose(2, 0, 1, 3)
        if element is not Element.S8:
            elements = elements[..., 0::2] & 15 | elements[..., 1::2] << 4
    sections.append(elements.reshape(groups, steps, -1))
    return np.concatenate(sections, 2).tobytes()


def unpack_weights(stream, config, *, k_blocks, element=Element.S8, scale_format=ScaleFormat.NONE, minimum=False, transpose=False):
    """The inverse of :func:`pack_weights`: w_q int8 (K, N), w_scale and w_min float32 (K/32, N) or None; N is whole groups."""
    array = getattr(config, "tile", None)
    array = array.array if array is not None else config
    element, scale_format = Element(element), ScaleFormat(scale_format)
    steps = k_blocks // array.segments
    size = step_bytes(array, element=element, scale=scale_format, minimum=minimum)
    data = np.frombuffer(stream, np.uint8)
    if k_blocks % array.segments or not steps or data.size % (steps * size):
        raise ValueError(f"a stream of {data.size} bytes is not groups of {k_blocks} blocks of K")
    data = data.reshape(-1, steps, size)  # (group, step, byte)
    groups, at = data.shape[0], 0

    def take(dtype):
        nonlocal at
        count = array.segments * array.cols * np.dtype(dtype).itemsize
        values = np.ascontiguousarray(data[:, :, at:at + count]).view(dtype).astype(np.float32)
        at += count
        return values.reshape(groups, steps, array.segments, array.cols).transpose(1, 2, 0, 3).reshape(k_blocks, groups * array.cols)

    w_scale = None if scale_format is ScaleFormat.NONE else take(np.float16 if scale_format is ScaleFormat.F16 else np.float32)
    w_min = take(np.float16) if minimum else None
    elements = data[:, :, at:]
    if element is not Element.S8:
        elements = np.stack([elements & 15, elements >> 4], -1).reshape(groups, steps, -1)
        if element is Element.S4:
            elements = (elements ^ 8) - np.uint8(8)
    elements = elements.view(np.int8) if elements.flags.c_contiguous else np.ascontiguousarray(elements).view(np.int8)
    if transpose:
        elements = elements.reshape(groups, steps, array.passes, array.cols, array.rows).transpose(1, 2, 4, 0, 3)
    else:
        elements = elements.reshape(groups, steps, BLOCK * array.segments, array.cols).transpose(1, 2, 0, 3)
    return elements.reshape(k_blocks * BLOCK, groups * array.cols), w_scale, w_min
