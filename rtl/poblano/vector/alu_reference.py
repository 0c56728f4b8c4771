"""What :class:`poblano.vector.alu.LaneALU` computes, on numpy arrays, bit for bit."""

import numpy as np

from poblano.formats.float32_reference import canonicalise, float_add, float_multiply
from poblano.isa.vector_ops import AluOp

__all__ = ["alu"]


def _extreme(a, b, greater):
    a, b = map(
        np.ascontiguousarray, np.broadcast_arrays(np.asarray(a, np.float32), np.asarray(b, np.float32))
    )
    with np.errstate(invalid="ignore"):
        result = (np.maximum if greater else np.minimum)(a, b)
        equal = a == b
        if equal.any():  # equal numbers have equal bits but for the zeros' signs: -0 < +0
            a, b = a.view(np.uint32), b.view(np.uint32)
            result = np.where(equal, (a & b if greater else a | b).view(np.float32), result)
    return result


def alu(op, a, b):
    """``op`` (an :class:`~poblano.isa.vector_ops.AluOp`) on float32 arrays; they broadcast."""
    op = AluOp(op)
    if op is AluOp.PASS:
        return np.broadcast_arrays(np.asarray(a, np.float32), np.asarray(b, np.float32))[0].copy()
    if op is AluOp.ADD:
        return float_add(a, b)
    if op is AluOp.SUB:
        return float_add(a, np.negative(b, dtype=np.float32))
    if op is AluOp.RSUB:
        return float_add(np.negative(a, dtype=np.float32), b)
    if op is AluOp.MUL:
        return float_multiply(a, b)
    return canonicalise(_extreme(a, b, op is AluOp.MAX))
