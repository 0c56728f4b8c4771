"""What the vector unit computes, on numpy arrays, bit for bit: the semantics of a VECTOR command."""

import numpy as np

from ..config import BLOCK, LINE_WORDS
from ..formats.element import Activation
from ..formats.float32_reference import NAN, float_add, float_multiply, float_to_int8
from ..formats.scale_reference import round_scale
from ..isa.vector_ops import NO_LIMIT, AluOp, Reduce, Select, SfuOp
from .alu_reference import alu
from .sfu_reference import sfu

__all__ = [
    "ARGMAX_START",
    "NO_LIMIT",
    "argmax",
    "operands",
    "quantise",
    "reduce_max",
    "reduce_rows",
    "reduce_squares",
    "reduce_sum",
]

INVERSE_127 = np.float32(1) / np.float32(127)
SMALLEST = np.float32(2.0**-49)
"""INT8 blocks whose largest magnitude is below this are zero: the scale of another is not below
:data:`~poblano.formats.scale_reference.LEAST`."""
ARGMAX_START = (NAN, 0)
"""Value and index of an argmax before its first element."""


def quantise(x, activation=Activation.INT8):
    """float32 (.., 32*n) in blocks of 32 of the format ``activation``.

    Returns the elements' codes int8 (.., 32*n), scales float32 (.., n) and sums int64 (.., n), in quanta of
    the format.
    """
    activation = Activation(activation)
    x = np.ascontiguousarray(x, np.float32)
    blocks = x.reshape(*x.shape[:-1], -1, BLOCK)
    largest = np.abs(blocks).max(-1)  # NaN if any is
    codes, scale = (_quantise_mx if activation.mx else _quantise_int8)(blocks, largest, activation)
    total = activation.integers(codes.view(np.uint8)).sum(-1).astype(np.int64)
    return codes.reshape(x.shape), scale.astype(np.float32), total


def _quantise_int8(blocks, largest, activation):
    finite = np.isfinite(largest)
    regular = finite & (largest >= SMALLEST)
    amax = np.where(regular, largest, np.float32(1))
    scale = round_scale(amax.astype(np.float64) * INVERSE_127)
    inverse = sfu(SfuOp.RECIPROCAL, scale)
    return float_to_int8(
        float_multiply(np.where(regular[..., None], blocks, np.float32(0)), inverse[..., None])
    ), np.where(regular, scale, np.where(finite, np.float32(0), NAN))


def _quantise_mx(blocks, largest, activation):
    form = activation.element.format
    finite = np.isfinite(largest)
    amax = np.where(finite, largest, np.float32(0)).astype(np.float64)
    largest_exponent = form.max_exponent if form.exponent_bits else 0
    exponent = np.where(amax == 0, -127, np.maximum(np.frexp(amax)[1] - 1 - largest_exponent, -127))
    x = np.where(finite[..., None], blocks, np.float32(0)).astype(np.float64)
    # An integer element counts quanta; a floating-point element's format knows its quantum.
    quantum = 0 if form.exponent_bits else activation.quantum
    codes = form.encode(np.ldexp(x, -exponent[..., None] - quantum)).view(np.int8)
    return codes, np.where(finite, np.ldexp(np.float32(1), exponent), NAN)


def _reduce(x, start, operation):
    partial = np.full((*x.shape[:-1], BLOCK), start, np.float32)
    for block in np.moveaxis(x.reshape(*x.shape[:-1], -1, BLOCK), -2, 0):
        partial = operation(partial, block)
    while partial.shape[-1] > 1:
        partial = operation(partial[..., 0::2], partial[..., 1::2])
    return partial[..., 0]


def reduce_sum(x):
    """Sums of the rows of float32 (.., 32*n), in the canonical order."""
    return _reduce(x, 0.0, float_add)


def reduce_max(x):
    """Maxima of the rows of float32 (.., 32*n)."""
    return _reduce(x, -np.inf, lambda a, b: alu(AluOp.MAX, a, b))


def reduce_squares(x):
    """Sums of the rounded squares of the rows of float32 (.., 32*n), in the canonical order."""
    return reduce_sum(float_multiply(x, x))


def reduce_rows(reduction, x):
    """SUM, MAXIMUM or SUM_SQUARES of the rows of float32 (.., 32*n)."""
    return {Reduce.SUM: reduce_sum, Reduce.MAXIMUM: reduce_max, Reduce.SUM_SQUARES: reduce_squares}[
        reduction
    ](x)


def argmax(x, index, best=ARGMAX_START):
    """The largest element of float32 ``x``, in order, and its index counted from ``index``, or ``best`` if
    none is larger."""
    x = np.ascontiguousarray(x, np.float32).ravel()
    bits = x.view(np.uint32).astype(np.int64)
    key = lambda value: np.where(value >> 31, 0xFFFFFFFF - value, value + 0x80000000)
    keys = np.where(np.isnan(x), np.int64(-1), key(bits))
    at = int(keys.argmax())
    best_bits = int(np.float32(best[0]).view(np.uint32))
    best_key = -1 if np.isnan(best[0]) else int(key(np.int64(best_bits)))
    return (x[at], index + at & 0xFFFFFFFF) if keys[at] > best_key else best


def _rows(vmem, line, stride, rows, words):
    """float32 (rows, words) of vector memory, row r from ``line + r*stride``."""
    if stride == 0:
        return np.broadcast_to(vmem[LINE_WORDS * line : LINE_WORDS * line + words], (rows, words))
    first = LINE_WORDS * line
    base = vmem[first : first + LINE_WORDS * stride * (rows - 1) + words]
    return np.lib.stride_tricks.as_strided(base, (rows, words), (4 * LINE_WORDS * stride, 4), writeable=False)


def operands(command, vmem):
    """The results x, float32 (rows, 32*blocks), of a VECTOR command's operands (a dict) on ``vmem``
    (float32 words)."""
    rows, words = command["rows"], BLOCK * command["blocks"]
    shared = np.arange(rows) // command["share"]  # the row's row of b, and which limit it has
    a = _rows(vmem, command["a"], command["a_stride"], rows, words).copy()
    if command["swap"]:
        a = a.reshape(rows, -1, 2)[..., ::-1].reshape(rows, words)
    if command["limit"] != NO_LIMIT:
        limits = command["limit"] + command["limit_step"] * shared
        fill = np.float32(-np.inf) if command["fill"] else np.float32(0)
        a[np.arange(words) >= limits[:, None]] = fill

    def second(select, immediate):
        if select == Select.B:
            b = _rows(vmem, command["b"], command["b_stride"], int(shared[-1]) + 1, words)
            return b if len(b) == rows else b[shared]
        if select == Select.ROW:
            first = LINE_WORDS * command["c"]
            return vmem[first : first + rows, None]
        return np.float32(immediate)

    x = a
    if command["op1"]:
        x = alu(command["op1"], x, second(command["sel1"], command["imm1"]))
    x = sfu(command["sfu"], x) if command["sfu"] else x
    if command["op2"]:
        x = alu(command["op2"], x, second(command["sel2"], command["imm2"]))
    return x
