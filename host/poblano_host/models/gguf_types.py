"""GGUF's types of tensors: each in blocks of the chip's own formats, exactly or as near as these are."""

from collections.abc import Callable
from dataclasses import dataclass

import gguf
import numpy as np

from poblano.config import BLOCK

from .config import ModelError
from .model import BlockTensor
from .mxfp4 import FORMAT, exponents
from .quantise import quantise_in_parts

__all__ = ["TYPES", "StoredType", "packed", "tensor_of"]

_TYPES = gguf.GGMLQuantizationType
_IQ4_NL = np.array(gguf.quants.IQ4_NL.kvalues, np.int8)


@dataclass(frozen=True)
class StoredType:
    """How a matrix of a type is held.

    Parameters
    ----------
    format : the :class:`.model.BlockTensor`'s, or None: floating-point numbers until they are compiled
    rule : "exact", "quantised", or what is rounded
    blocks : of bytes (rows, blocks, bytes of a block) the elements, scales and minima (or None); None if it
        is quantised anew
    """

    format: str | None
    rule: str
    blocks: Callable | None = None


def _halves(blocks, start, stop=None):
    """float16 at the bytes ``start`` on of each block."""
    return np.ascontiguousarray(blocks[..., start : start + 2 if stop is None else stop]).view(np.float16)


def _nibbles(raw):
    """Bytes (.., 16) to elements (.., 32): the low nibbles are the first half of a block."""
    return np.concatenate((raw & 15, raw >> 4), axis=-1)


def _q8_0(blocks):
    return blocks[..., 2:].view(np.int8), _halves(blocks, 0)[..., 0], None


def _q4_0(blocks):
    return _nibbles(blocks[..., 2:]).astype(np.int8) - np.int8(8), _halves(blocks, 0)[..., 0], None


def _q4_1(blocks):
    return _nibbles(blocks[..., 4:]), _halves(blocks, 0)[..., 0], _halves(blocks, 2)[..., 0]


def _q5_0(blocks):
    high = np.unpackbits(blocks[..., 2:6], axis=-1, bitorder="little") << 4
    return (_nibbles(blocks[..., 6:]) | high).astype(np.int8) - np.int8(16), _halves(blocks, 0)[..., 0], None


def _iq4_nl(blocks):
    return _IQ4_NL[_nibbles(blocks[..., 2:])], _halves(blocks, 0)[..., 0], None


def _mxfp4(blocks):
    """E2M1's codes are the chip's."""
    return _nibbles(blocks[..., 1:]), exponents(blocks[..., 0]), None


def _q4_k(blocks):
    """Eight blocks of a super-block: d * scale * q - dmin * minimum; both products are rounded to F16.

    They never fall below what F16 holds: they are whole multiples of its numbers. What is above becomes
    infinite, and the tensor is refused.
    """
    n, count = blocks.shape[:2]
    factors = _halves(blocks, 0, 4).astype(np.float32)  # (n, super-blocks, 2)
    parts = gguf.quants.Q4_K.get_scale_min(np.ascontiguousarray(blocks[..., 4:16]).reshape(-1, 12))
    with np.errstate(over="ignore", invalid="ignore"):
        scale, minimum = (
            (factors[..., i, None] * part.reshape(n, count, 8)).reshape(n, -1).astype(np.float16)
            for i, part in enumerate(parts)
        )
    pairs = blocks[..., 16:].reshape(n, count, 4, 1, BLOCK) >> np.array([[0], [4]], np.uint8)
    return pairs & 15, scale, -minimum


TYPES = {
    _TYPES.F32: StoredType(None, "quantised"),
    _TYPES.F16: StoredType(None, "quantised"),
    _TYPES.BF16: StoredType(None, "quantised"),
    _TYPES.Q8_0: StoredType("q8_0", "exact", _q8_0),
    _TYPES.Q4_0: StoredType("q4_0", "exact", _q4_0),
    _TYPES.Q4_1: StoredType("q4_1", "exact", _q4_1),
    _TYPES.Q5_0: StoredType("q8_0", "exact", _q5_0),
    _TYPES.Q5_1: StoredType("q8_0", "quantised"),
    _TYPES.Q4_K: StoredType("q4_1", "scales and minima to F16", _q4_k),
    _TYPES.Q5_K: StoredType("q8_0", "quantised"),
    _TYPES.Q6_K: StoredType("q8_0", "quantised"),
    _TYPES.IQ4_NL: StoredType("q8_0", "exact", _iq4_nl),
    _TYPES.MXFP4: StoredType(FORMAT, "exact", _mxfp4),
}
"""What is read."""


def packed(tensor):
    """(the type, bytes (N, bytes of a row)) of a BlockTensor as GGUF has it; None if GGUF has no such."""
    kind = {"q8_0": _TYPES.Q8_0, "q4_0": _TYPES.Q4_0, "q4_1": _TYPES.Q4_1, FORMAT: _TYPES.MXFP4}
    q = tensor.q.reshape(*tensor.scale.shape, BLOCK)
    if tensor.format == FORMAT:
        scale = (np.frexp(tensor.scale)[1] + 126).astype(np.uint8)[..., None]
    elif tensor.format in kind and tensor.scale.dtype == np.float16:
        scale = np.ascontiguousarray(tensor.scale)[..., None].view(np.uint8)
    else:
        return None
    if tensor.format == "q8_0":
        elements = q.view(np.uint8)
    else:
        codes = (q + 8).astype(np.uint8) if tensor.format == "q4_0" else q
        elements = codes[..., :16] | codes[..., 16:] << 4
    parts = [scale, elements]
    if tensor.minimum is not None:
        parts.insert(1, np.ascontiguousarray(tensor.minimum)[..., None].view(np.uint8))
    return kind[tensor.format], np.concatenate(parts, -1).reshape(len(q), -1)


def _floats(kind, data):
    """float32 of rows of bytes."""
    if kind is _TYPES.BF16:
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return gguf.dequantize(data, kind).astype(np.float32, copy=False)


def tensor_of(stored, where):
    """A :class:`.gguf_file.StoredTensor` as a BlockTensor, or as a float32 array if it is none in blocks or
    no matrix; ModelError begins with ``where``."""
    known = TYPES.get(stored.kind)
    if known is None:
        raise ModelError(
            f"{where} has unsupported type {stored.kind.name}; {', '.join(kind.name for kind in TYPES)} are "
            "read"
        )
    data, shape = np.ascontiguousarray(stored.data), stored.shape
    if known.format is None or len(shape) != 2:
        return _floats(stored.kind, data).reshape(shape).copy()
    if shape[1] % BLOCK:
        raise ModelError(f"{where} has rows of {shape[1]} elements, not a multiple of {BLOCK}")
    if known.blocks is None:
        try:
            rows = lambda first, end: _floats(stored.kind, data[first:end])
            return quantise_in_parts(rows, shape, known.format)
        except ValueError as error:
            raise ModelError(f"{where}: {error}") from None
    size = gguf.GGML_QUANT_SIZES[stored.kind][1]
    q, scale, minimum = known.blocks(data.reshape(shape[0], -1, size))
    return BlockTensor(known.format, np.ascontiguousarray(q).reshape(shape), scale, minimum)
