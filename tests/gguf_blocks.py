"""Matrices in GGUF's types, also those that its package only reads, and the table of what each type costs."""

import gguf
import numpy as np

from poblano.compute.reference import matmul
from poblano.config import preset
from poblano.vector.reference import quantise
from poblano_host.compiler.weights import block_tensor, weight_form
from poblano_host.models.gguf_file import StoredTensor
from poblano_host.models.gguf_types import TYPES, tensor_of

__all__ = ["KINDS", "stored_bytes", "stored_tensor", "type_table"]

KINDS = tuple(TYPES)
K4, K5, K6 = (gguf.GGMLQuantizationType[f"Q{bits}_K"] for bits in (4, 5, 6))


def _halves(values):
    return values.astype(np.float16)[..., None].view(np.uint8)


def _with_minima(array, levels):
    """Of super-blocks (.., 8, 32): the bytes of d, dmin and the packed scales and minima, and the codes."""
    low = np.minimum(array.min(-1), 0)
    scale = (array.max(-1) - low) / (levels - 1)
    d, dmin = (
        np.maximum(part.max(-1, keepdims=True) / 63, 1e-6).astype(np.float16) for part in (scale, -low)
    )
    s = np.rint(scale / d).clip(1, 63).astype(np.uint8)
    m = np.rint(-low / dmin).clip(0, 63).astype(np.uint8)
    step, minimum = d.astype(np.float32) * s, dmin.astype(np.float32) * m
    q = np.rint((array + minimum[..., None]) / step[..., None]).clip(0, levels - 1).astype(np.uint8)
    first, second = (part[..., :4] | part[..., 4:] >> 4 << 6 for part in (s, m))
    third = s[..., 4:] & 15 | (m[..., 4:] & 15) << 4
    return np.concatenate((d.view(np.uint8), dmin.view(np.uint8), first, second, third), -1), q


def _pairs(q):
    """The low bits of the codes of super-blocks: two blocks to 32 bytes."""
    return (q[..., 0::2, :] & 15 | (q[..., 1::2, :] & 15) << 4).reshape(*q.shape[:-2], -1)


def _q5_k(array):
    head, q = _with_minima(array, 32)
    high = np.bitwise_or.reduce((q >> 4) << np.arange(8, dtype=np.uint8)[:, None], axis=-2)
    return np.concatenate((head, high, _pairs(q)), -1)


def _q6_k(array):
    blocks = array.reshape(*array.shape[:-2], 16, 16)
    scale = np.abs(blocks).max(-1) / 31
    d = np.maximum(scale.max(-1) / 127, 1e-6).astype(np.float16)
    s = np.rint(scale / d[..., None]).clip(1, 127)
    q = np.rint(blocks / (d[..., None] * s)[..., None]).clip(-32, 31).astype(np.int8) + np.int8(32)
    q = q.view(np.uint8).reshape(*array.shape[:-2], 2, 2, 2, 32)  # (half, nibble, 32 bytes, element)
    low = q[..., 0, :, :] & 15 | (q[..., 1, :, :] & 15) << 4
    rows = (q >> 4).reshape(*array.shape[:-2], 2, 4, 32) << np.array([[0], [2], [4], [6]], np.uint8)
    high = np.bitwise_or.reduce(rows, axis=-2)
    flat = lambda part: part.reshape(*array.shape[:-2], -1)
    return np.concatenate((flat(low), flat(high), s.astype(np.int8).view(np.uint8), _halves(d)), -1)


def _iq4_nl(array):
    table = np.array(gguf.quants.IQ4_NL.kvalues, np.float32)
    d = (np.abs(array).max(-1) / 127).astype(np.float16)
    scaled = array / np.maximum(d, np.float16(1e-6)).astype(np.float32)[..., None]
    q = np.abs(scaled[..., None] - table).argmin(-1).astype(np.uint8)
    return np.concatenate((_halves(d), q[..., :16] | q[..., 16:] << 4), -1)


def stored_bytes(kind, array):
    """The bytes (N, row) of float32 ``array`` (N, K) in a type, of whose blocks K is a multiple."""
    n = len(array)
    blocks = array.reshape(n, -1, 8, 32) if kind in (K4, K5, K6) else array.reshape(n, -1, 32)
    if kind is K4:
        head, q = _with_minima(blocks, 16)
        data = np.concatenate((head, _pairs(q)), -1)
    elif kind in (K5, K6):
        data = (_q5_k if kind is K5 else _q6_k)(blocks)
    elif kind is gguf.GGMLQuantizationType.IQ4_NL:
        data = _iq4_nl(blocks)
    else:
        return np.ascontiguousarray(gguf.quantize(array, kind)).view(np.uint8)
    return data.reshape(n, -1)


def stored_tensor(kind, array):
    return StoredTensor(kind, array.shape, stored_bytes(kind, array))


def _row(kind, array, activations):
    """The columns of a type: figures of a matrix (N, K) of weights and of its product with activations."""
    stored, config = stored_tensor(kind, array), preset("desk")
    exact = gguf.dequantize(stored.data, kind).reshape(array.shape).astype(np.float64)
    held = block_tensor(tensor_of(stored, "weights"), config)
    form = weight_form(held)
    codes, scales, totals = quantise(activations)
    minimum = None if held.minimum is None else held.minimum.T
    product = matmul(
        codes,
        scales,
        totals,
        held.q.T,
        held.scale.T,
        minimum,
        element=form["element"],
        scale_format=form["scale"],
    )
    error = lambda got, wanted: float(np.sqrt(np.square(got - wanted).mean() / np.square(wanted).mean()))
    weights, layer = error(held.dequantise(), exact), error(product, activations.astype(np.float64) @ exact.T)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    bits = form["element"].bits + (16 + 16 * form["minimum"]) / 32
    return (
        kind.name,
        f"{8 * size / elements:g}",
        held.format,
        f"{bits:g}",
        TYPES[kind].rule,
        f"{100 * weights:.2f} %" if weights else "0",
        f"{100 * layer:.2f} %",
    )


def type_table():
    """A table of Markdown: what `desk` makes of each type."""
    generator = np.random.default_rng(12)
    array = generator.normal(0, 0.05, (256, 512)).astype(np.float32)
    activations = generator.normal(size=(32, 512)).astype(np.float32)
    head = ("type", "bits", "held as", "bits", "weights", "error of weights", "error of a layer")
    rows = [head, ("---",) * len(head), *(_row(kind, array, activations) for kind in KINDS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
