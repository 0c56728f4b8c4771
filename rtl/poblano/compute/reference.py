"""What the matmul unit computes, on numpy arrays, bit for bit; and the weight streams that it reads."""

from typing import Any

import numpy as np

from ..config import BLOCK
from ..formats.element import Activation, Element, scale_exponent
from ..formats.float32_reference import canonicalise, float16_to_float32, without_subnormals
from ..formats.scale_reference import read_scale, scale_multiply
from ..isa.weight_stream import ScaleFormat, step_bytes, weight_quantum

__all__ = ["matmul", "pack_weights", "unpack_weights"]

_CACHED = 1 << 17
"""Elements of an intermediate array that still fit in the processor's cache."""


def matmul(
    a_q,
    a_scale,
    a_sum,
    w_q,
    w_scale=None,
    w_min=None,
    *,
    activation=Activation.INT8,
    element=Element.S8,
    scale_format=None,
    block_sums=None,
):
    """The product of quantised activations and weights, float32 (M, N), as ``docs/specification.md`` defines
    it.

    Parameters
    ----------
    a_q : codes of the activation format's element (M, K)
    a_scale : float32 (M, K/32)
    a_sum : integers (M, K/32), sums of a_q's blocks in quanta; None computes them. Only used with ``w_min``.
    w_q : codes of ``element`` (K, N); integers of type float32 need no conversion
    w_scale, w_min : float32 or float16 (K/32, N), or None; read as scales of 11 bits, which every float16 is
    scale_format : ScaleFormat.E8M0 if ``w_scale`` are powers of two or NaN that MX formats mean; others
        make no difference
    block_sums : None, or what computes the exact sums of the blocks of INT8 and INT4 products: a function
        of two int8 arrays, (M, K) and (K, N), that returns integers (K/32, M, N)
    """
    operands = _Operands(a_q, a_scale, a_sum, w_q, w_scale, w_min, activation, element, scale_format)
    if block_sums is not None:
        operands.take_sums(block_sums)
    rows, blocks, cols = operands.rows, operands.blocks, operands.cols
    acc = np.zeros((rows, cols), np.float32)
    width = max(BLOCK, min(cols, _CACHED // max(1, rows)))
    with np.errstate(all="ignore"):
        for low in range(0, cols, width):
            part = slice(low, low + width)
            out = acc[:, part]
            for kb in range(blocks):
                out += operands.block(kb, part)
    return canonicalise(acc)


class _Operands:
    """The operands of :func:`matmul`, prepared for blocks of K.

    ``simple``: INT8 and INT4, whose sums of 32 products are below 2**24: float32 arithmetic is exact in any
    order, and no product with a scale is subnormal.
    """

    def __init__(self, a_q, a_scale, a_sum, w_q, w_scale, w_min, activation, element, scale_format):
        a_q, self.w_q, a_scale = np.asarray(a_q), np.asarray(w_q), np.asarray(a_scale, np.float32)
        activation, self.element = Activation(activation), Element(element)
        (self.rows, k), self.cols = a_q.shape, self.w_q.shape[1]
        if k % BLOCK or self.w_q.shape[0] != k:
            raise ValueError(
                f"shapes {a_q.shape} and {self.w_q.shape} must share a K that is a multiple of {BLOCK}"
            )
        self.blocks = k // BLOCK
        self.e8m0 = scale_format == ScaleFormat.E8M0
        self.quantum = activation.quantum + weight_quantum(self.element, scale_format)
        self.simple = not activation.mx and not self.e8m0 and self.element.format.fixed
        self.a = (
            np.maximum(a_q.astype(np.int8, copy=False), -127).astype(np.float32)
            if self.simple
            else activation.integers(a_q)
        )
        shape = self.rows, self.blocks, BLOCK
        self.a_blocks = np.ascontiguousarray(self.a.reshape(shape).transpose(1, 0, 2))  # (block, M, 32)
        self.exponent = scale_exponent(a_scale) if activation.mx else np.zeros(a_scale.shape, np.int32)
        self.factor = (
            np.where(np.isnan(a_scale), a_scale, np.float32(1)) if activation.mx else read_scale(a_scale)
        )
        self.w_min: Any = None if w_min is None else _single(w_min)
        self.w_scale: Any = None if w_scale is None else _single(w_scale)
        if self.w_scale is not None and not self.e8m0:
            self.w_scale = read_scale(self.w_scale)
        if w_min is not None:
            sums = self.a.reshape(shape).sum(2) if a_sum is None else np.asarray(a_sum)
            self.sums = _round32(sums.astype(np.float64), activation.quantum + self.exponent)
        self.given = None

    def take_sums(self, block_sums):
        """Let ``block_sums`` compute the sums, if they are of INT8 and INT4 products."""
        if self.simple and not self.quantum:
            w = self.w_q if self.element in _INTEGERS else _integers(self.element, self.w_q)
            self.given = block_sums(self.a.astype(np.int8), np.asarray(w).astype(np.int8))

    def block(self, kb, part):
        """What block ``kb`` adds to the columns ``part``, float32 (M, N)."""
        u = self._sums(kb, part)
        if self.w_scale is not None:
            scale = self.w_scale[kb, part]
            u = self._scaled(u, np.where(np.isnan(scale), scale, np.float32(1)) if self.e8m0 else scale)
        if self.w_min is not None:
            u += self._scaled(np.repeat(self.sums[:, kb, None], u.shape[1], 1), self.w_min[kb, part])
        return self._scaled(u, self.factor[:, kb, None])

    def _scaled(self, u, scale):
        """``u``, which is overwritten, times a scale."""
        return np.multiply(u, scale, out=u) if self.simple else scale_multiply(u, scale)

    def _sums(self, kb, part):
        """The sums of the block's products in their quanta."""
        if self.given is not None:
            return self.given[kb][:, part].astype(np.float32)
        w = self.w_q[kb * BLOCK : (kb + 1) * BLOCK, part]
        if self.simple:
            if self.element not in _INTEGERS:
                w = _integers(self.element, w)
            u = self.a_blocks[kb] @ w.astype(np.float32, copy=False)
            if self.quantum:
                u *= np.float32(2.0**self.quantum)
            return u
        e = self.exponent[:, kb, None] + self.quantum
        if self.e8m0:
            e = e + scale_exponent(self.w_scale[kb, part])
        return _block_sums(self.a_blocks[kb], _integers(self.element, w), e)


def _single(array):
    """float32 of float16 or float32."""
    array = np.asarray(array)
    return float16_to_float32(array) if array.dtype == np.float16 else array.astype(np.float32, copy=False)


_INTEGERS = (Element.S8, Element.S4, Element.U4)
_HALF = 16
"""Bits of the lower half of an activation where float64 can't hold the sums."""


def _integers(element, codes):
    """float64 integers, in quanta, of codes; NaN and infinities stay."""
    return np.ldexp(element.values(codes), -element.format.quantum)


def _round32(value, exponent, error=0.0):
    """float32 of ``(value + error) * 2**exponent``, rounded once to nearest even, zero below the least normal
    number; ``error`` is what float64 lost of the sum."""
    bits = np.ascontiguousarray(value, np.float64).view(np.int64)
    # Rounded to odd in float64, the second rounding is right (Boldo and Melquiond, 2008).
    odd = bits + np.where((np.asarray(error) > 0) == (value > 0), 1, -1)
    value = np.where((np.asarray(error) != 0) & (bits & 1 == 0), odd, bits).view(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        return without_subnormals(np.ldexp(value, exponent)).astype(np.float32)


def _block_sums(a, w, exponent):
    """float32 (M, N) of ``a @ w * 2**exponent``, rounded once; a (M, 32) and w (32, N) float64 integers,
    NaN and infinities."""
    finite_a, finite_w = np.isfinite(a), np.isfinite(w)
    a0, w0 = np.where(finite_a, a, 0), np.where(finite_w, w, 0)
    if np.abs(a0).max(initial=0) * np.abs(w0).max(initial=0) * BLOCK < 2.0**53:
        result = _round32(a0 @ w0, exponent)
    else:
        high = np.floor(np.ldexp(a0, -_HALF))
        x, y = np.ldexp(high @ w0, _HALF), (a0 - np.ldexp(high, _HALF)) @ w0
        total = x + y
        back = total - x
        result = _round32(total, exponent, (x - (total - back)) + (y - back))
    if not (finite_a.all() and finite_w.all()):
        special = a @ w
        result = np.where(np.isfinite(special), result, special.astype(np.float32))
    return result


def _padded(array, cols):
    """``array`` (.., N) with zeros appended to a multiple of ``cols`` columns."""
    return np.pad(array, [(0, 0), (0, -array.shape[1] % cols)])


def _halves(array, name):
    halves = np.asarray(array).astype(np.float16)
    if not np.array_equal(halves.astype(np.float32), np.asarray(array, np.float32), equal_nan=True):
        raise ValueError(f"{name} holds values that F16 can't represent")
    return halves


def _e8m0(array):
    """E8M0 codes of float32 powers of two; NaN is 255."""
    array = np.asarray(array, np.float32)
    code = scale_exponent(array) + 127
    if not np.array_equal(
        np.where(np.isnan(array), 0, np.ldexp(1.0, code - 127)), np.where(np.isnan(array), 0, array)
    ):
        raise ValueError("w_scale holds values that E8M0 can't represent")
    return np.where(np.isnan(array), 255, code).astype(np.uint8)


def _blocks_bytes(values, config):
    """Block scales or minima (K/32, N) as bytes (group, step, ..), filled up to whole words of the stream."""
    array = config.tile.array
    values = _padded(values, array.cols)
    groups, steps = values.shape[1] // array.cols, values.shape[0] // array.segments
    values = values.reshape(steps, array.segments, groups, array.cols).transpose(2, 0, 1, 3)
    values = np.ascontiguousarray(values).view(np.uint8).reshape(groups, steps, -1)
    return np.pad(values, ((0, 0), (0, 0), (0, -values.shape[2] % config.stream_bytes)))


def pack_weights(
    w_q,
    w_scale,
    w_min,
    config,
    element=Element.S8,
    scale_format=ScaleFormat.NONE,
    transpose=False,
    interleaved=False,
):
    """The weight stream (bytes) of a matrix, for a chip.

    ``w_q`` (K, N) codes of ``element`` (integers in its range), ``w_scale`` and ``w_min`` (K/32, N) or
    None. N is padded with zeros to whole groups of columns; K must be whole steps of ``32 * segments``.
    Values that the format can't hold raise ValueError. A group of columns is ``1/groups`` of the bytes: the
    stream of some groups is a slice; but ``interleaved`` each step along K has those of all groups in turn.
    """
    array = config.tile.array
    element, scale_format, w_q = Element(element), ScaleFormat(scale_format), np.asarray(w_q)
    if w_q.shape[0] % (BLOCK * array.segments):
        raise ValueError(f"K is {w_q.shape[0]}; it must be a multiple of {BLOCK * array.segments}")
    if transpose and element.bits != 8:
        raise ValueError(f"a transposed stream holds elements of a byte, not {element.name}")
    if (w_scale is None) != (scale_format is ScaleFormat.NONE):
        raise ValueError(
            f"scale format {scale_format.name} {'without' if w_scale is None else 'with'} scales"
        )
    bits = element.format.bits
    low, high = (
        (-1 << bits - 1, (1 << bits - 1) - 1) if element in (Element.S8, Element.S4) else (0, (1 << bits) - 1)
    )
    if w_q.size and (w_q.min() < low or w_q.max() > high):
        raise ValueError(f"weights {w_q.min()} to {w_q.max()} don't fit in {element.name}")
    w_q = _padded(w_q.astype(np.uint8), array.cols)
    steps, groups = w_q.shape[0] // (BLOCK * array.segments), w_q.shape[1] // array.cols
    sections = []
    if scale_format is ScaleFormat.F16:
        sections.append(_blocks_bytes(_halves(w_scale, "w_scale"), config))
    elif scale_format is ScaleFormat.F32:
        sections.append(_blocks_bytes(np.asarray(w_scale, np.float32), config))
    elif scale_format is ScaleFormat.E8M0:
        sections.append(_blocks_bytes(_e8m0(w_scale), config))
    if w_min is not None:
        sections.append(_blocks_bytes(_halves(w_min, "w_min"), config))
    if transpose:
        elements = w_q.reshape(steps, array.passes, array.rows, groups, array.cols).transpose(3, 0, 1, 4, 2)
    else:
        elements = w_q.reshape(steps, BLOCK * array.segments, groups, array.cols).transpose(2, 0, 1, 3)
        if element.bits == 4 and array.fp4_rate == 2:
            elements = elements[:, :, 0::2] & 15 | elements[:, :, 1::2] << 4
        elif element.bits == 4:
            elements = elements[..., 0::2] & 15 | elements[..., 1::2] << 4
    sections.append(elements.reshape(groups, steps, -1))
    stream = np.concatenate(sections, 2)  # (group, step, byte)
    return (stream.swapaxes(0, 1) if interleaved else stream).tobytes()


def unpack_weights(
    stream,
    config,
    *,
    k_blocks,
    element=Element.S8,
    scale_format=ScaleFormat.NONE,
    minimum=False,
    transpose=False,
    interleaved=False,
):
    """The inverse of :func:`pack_weights`: w_q int8 (K, N), w_scale and w_min float32 (K/32, N) or None; N
    is whole groups.

    Codes of floating-point elements are uint8.
    """
    array = config.tile.array
    element, scale_format = Element(element), ScaleFormat(scale_format)
    steps = k_blocks // array.segments
    size = step_bytes(config, element=element, scale=scale_format, minimum=minimum)
    data = np.frombuffer(stream, np.uint8)
    if k_blocks % array.segments or not steps or data.size % (steps * size):
        raise ValueError(f"a stream of {data.size} bytes is not groups of {k_blocks} blocks of K")
    # (group, step, byte)
    data = data.reshape(steps, -1, size).swapaxes(0, 1) if interleaved else data.reshape(-1, steps, size)
    groups, at = data.shape[0], 0

    def take(dtype):
        nonlocal at
        count = array.segments * array.cols * np.dtype(dtype).itemsize
        values = np.ascontiguousarray(data[:, :, at : at + count]).view(dtype).astype(np.float32)
        at += -(-count // config.stream_bytes) * config.stream_bytes
        return (
            values.reshape(groups, steps, array.segments, array.cols)
            .transpose(1, 2, 0, 3)
            .reshape(k_blocks, groups * array.cols)
        )

    w_scale = None
    if scale_format is ScaleFormat.E8M0:
        code = take(np.uint8)
        w_scale = np.where(
            code == 255,
            np.float32(np.nan),
            np.ldexp(np.float32(1), np.minimum(code, 254).astype(np.int32) - 127),
        )
    elif scale_format is not ScaleFormat.NONE:
        w_scale = take(np.float16 if scale_format is ScaleFormat.F16 else np.float32)
    w_min = take(np.float16) if minimum else None
    elements: np.ndarray = data[:, :, at:]
    if element.bits == 4:
        elements = elements.reshape(groups, steps, -1, array.cols)
        axis = 3 if array.fp4_rate == 2 else 4
        elements = np.stack([elements & 15, elements >> 4], axis).reshape(groups, steps, -1)
        if element is Element.S4:
            elements = (elements ^ 8) - np.uint8(8)
    elements = np.ascontiguousarray(elements)
    if element in _INTEGERS:
        elements = elements.view(np.int8)
    if transpose:
        elements = elements.reshape(groups, steps, array.passes, array.cols, array.rows).transpose(
            1, 2, 4, 0, 3
        )
    else:
        elements = elements.reshape(groups, steps, BLOCK * array.segments, array.cols).transpose(1, 2, 0, 3)
    return elements.reshape(k_blocks * BLOCK, groups * array.cols), w_scale, w_min
