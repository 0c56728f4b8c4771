"""Float matrices to blocks of 32: GGUF's formats with llama.cpp's rounding (``ggml-quants.c``), and the MX
formats. ValueError for infinities and NaN, and for magnitudes that no scale holds."""

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial

import numpy as np

from poblano.config import BLOCK

from .block_scales import held_minima, held_scales
from .config import ModelError
from .model import MX_FORMATS, BlockTensor

__all__ = [
    "QUANTISERS",
    "quantise_in_parts",
    "quantise_model",
    "quantise_mx",
    "quantise_q4_0",
    "quantise_q4_1",
    "quantise_q8_0",
    "quantise_weights",
]


def _blocks(array):
    n, k = array.shape
    if k % BLOCK:
        raise ValueError(f"rows of {k} elements do not divide into blocks of {BLOCK}")
    blocks = np.asarray(array, dtype=np.float32).reshape(n, k // BLOCK, BLOCK)
    if not np.isfinite(blocks).all():
        raise ValueError("infinities and NaN have no block format")
    return blocks


def _inverse(scale):
    least = np.finfo(np.float32).tiny  # the inverse of less may be infinite
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(np.abs(scale) < least, np.float32(0), np.float32(1) / scale).astype(np.float32)


def _round(x):
    """Round half away from zero, as C's roundf."""
    return np.trunc(x + np.copysign(np.float32(0.5), x))


def quantise_q8_0(array):
    """(N, K) to q8_0: scale = amax / 127."""
    blocks = _blocks(array)
    scale = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    q = _round(blocks * _inverse(scale)).astype(np.int8)
    return BlockTensor("q8_0", q.reshape(array.shape), held_scales(scale[..., 0], blocks))


def quantise_q4_0(array):
    """(N, K) to q4_0: scale = (the element of largest magnitude) / -8."""
    blocks = _blocks(array)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    scale = largest / np.float32(-8)
    q = np.clip(np.trunc(blocks * _inverse(scale) + np.float32(8.5)), 0, 15).astype(np.int8) - 8
    return BlockTensor("q4_0", q.reshape(array.shape), held_scales(scale[..., 0], blocks))


def quantise_q4_1(array):
    """(N, K) to q4_1: minimum and scale = (max - min) / 15."""
    blocks = _blocks(array)
    low, high = blocks.min(-1, keepdims=True), blocks.max(-1, keepdims=True)
    with np.errstate(over="ignore"):
        scale = (high - low) / np.float32(15)
    minimum = held_minima(low[..., 0], blocks)
    q = np.clip(np.trunc((blocks - low) * _inverse(scale) + np.float32(0.5)), 0, 15).astype(np.uint8)
    return BlockTensor("q4_1", q.reshape(array.shape), held_scales(scale[..., 0], blocks, low), minimum)


def quantise_mx(array, format):
    """(N, K) to one of the MX formats, as the MX specification (v1.0, 6.3) and the chip: scale =
    2**(floor(log2(amax)) - emax).

    Elements are rounded to nearest even and clamped; a block of zeros has the least scale.
    """
    form = MX_FORMATS[format]
    blocks = _blocks(array).astype(np.float64)
    amax = np.abs(blocks).max(-1, keepdims=True, initial=0)
    largest_exponent = form.largest.bit_length() - 1 + form.quantum
    exponent = np.maximum(np.where(amax > 0, np.frexp(amax)[1] - 1 - largest_exponent, -127), -127)
    element = form.element.format
    q = element.encode(np.ldexp(blocks, element.quantum - form.quantum - exponent))
    if not element.exponent_bits:
        q = q.view(np.int8)
    return BlockTensor(
        format, q.reshape(array.shape), np.ldexp(np.float32(1), exponent[..., 0]).astype(np.float32)
    )


QUANTISERS = {"q8_0": quantise_q8_0, "q4_0": quantise_q4_0, "q4_1": quantise_q4_1}
QUANTISERS |= {name: partial(quantise_mx, format=name) for name in MX_FORMATS}


DEAD = 2.0**-40
AT_ONCE = 1 << 22
"""Elements that are quantised at once: what is needed on the way is several times as large."""


def quantise_in_parts(part, shape, format):
    """A matrix of ``shape`` in a format of :data:`QUANTISERS`; ``part(first, end)`` are rows, float32."""
    rows, columns = shape
    step, quantise = max(1, AT_ONCE // columns), QUANTISERS[format]
    parts = [quantise(part(at, min(at + step, rows))) for at in range(0, rows, step)]
    if len({tensor.scale.dtype for tensor in parts}) > 1:  # some rows need F32 scales
        return quantise(part(0, rows))
    return BlockTensor.joined(parts)


def quantise_weights(array, format):
    """A model's matrix in a format of :data:`QUANTISERS`. Rows below ``DEAD`` of the matrix, as of tokens
    that no training has seen, count as zeros."""
    amax = np.maximum(array.max(1, keepdims=True), -array.min(1, keepdims=True))
    dead = amax < DEAD * amax.max()
    if (dead & (amax > 0)).any():
        array = np.where(dead, np.float32(0), array)
    return quantise_in_parts(lambda first, end: array[first:end], array.shape, format)


def quantise_model(model, format="q8_0", *, again=False):
    """``model`` with every float matrix in ``format``; matrices that are in blocks already stay as they are.

    ``format`` may be a dict from patterns of tensor names (``blk.*.attn_?.weight``) to formats: the first
    that matches counts, other tensors stay. With ``again``, matrices in other blocks are dequantised first.
    """
    formats = format if isinstance(format, dict) else {"*": format}
    for name in formats.values():
        if name not in QUANTISERS:
            raise ModelError(f"unknown format {name!r}; known are {', '.join(QUANTISERS)}")

    def convert(name, tensor):
        chosen = next((form for pattern, form in formats.items() if fnmatchcase(name, pattern)), None)
        if isinstance(tensor, BlockTensor):
            if not again or chosen in (None, tensor.format):
                return tensor
            tensor = tensor.dequantise()
        try:
            return tensor if chosen is None or tensor.ndim != 2 else quantise_weights(tensor, chosen)
        except ValueError as error:
            raise ModelError(f"{model.config.name}: tensor {name}: {error}") from None

    return replace(model, tensors={name: convert(name, tensor) for name, tensor in model.tensors.items()})
