"""Float matrices to the block formats of GGUF, with llama.cpp's rounding (``ggml-quants.c``, the reference quantisers)."""

import numpy as np

from .model import BLOCK, BlockTensor, Model

__all__ = ["QUANTISERS", "quantise_model", "quantise_q4_0", "quantise_q4_1", "quantise_q8_0"]


def _blocks(array):
    n, k = array.shape
    if k % BLOCK:
        raise ValueError(f"rows of {k} elements do not divide into blocks of {BLOCK}")
    return np.asarray(array, dtype=np.float32).reshape(n, k // BLOCK, BLOCK)


def _inverse(scale):
    with np.errstate(divide="ignore"):
        return np.where(scale == 0, np.float32(0), np.float32(1) / scale).astype(np.float32)


def _round(x):
    """Round half away from zero, as C's roundf."""
    return np.trunc(x + np.copysign(np.float32(0.5), x))


def quantise_q8_0(array):
    """(N, K) to q8_0: scale = amax / 127."""
    blocks = _blocks(array)
    scale = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    q = _round(blocks * _inverse(scale)).astype(np.int8)
    return BlockTensor("q8_0", q.reshape(array.shape), scale[..., 0].astype(np.float16))


def quantise_q4_0(array):
    """(N, K) to q4_0: scale = (the element of largest magnitude) / -8."""
    blocks = _blocks(array)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    scale = largest / np.float32(-8)
    q = np.clip(np.trunc(blocks * _inverse(scale) + np.float32(8.5)), 0, 15).astype(np.int8) - 8
    return BlockTensor("q4_0", q.reshape(array.shape), scale[..., 0].astype(np.float16))


def quantise_q4_1(array):
    """(N, K) to q4_1: minimum and scale = (max - min) / 15."""
    blocks = _blocks(array)
    low, high = blocks.min(-1, keepdims=True), blocks.max(-1, keepdims=True)
    scale = (high - low) / np.float32(15)
    q = np.clip(np.trunc((blocks - low) * _inverse(scale) + np.float32(0.5)), 0, 15).astype(np.uint8)
    return BlockTensor("q4_1", q.reshape(array.shape), scale[..., 0].astype(np.float16),
                       low[..., 0].astype(np.float16))


QUANTISERS = {"q8_0": quantise_q8_0, "q4_0": quantise_q4_0, "q4_1": quantise_q4_1}


def quantise_model(model, format="q8_0"):
    """``model`` with every float matrix in ``format``; matrices that are in blocks already stay as they are."""
    if format not in QUANTISERS:
        raise ValueError(f"unknown format {format!r}; known are {', '.join(QUANTISERS)}")
    quantiser = QUANTISERS[format]
    tensors = {name: quantiser(t) if isinstance(t, np.ndarray) and t.ndim == 2 else t
               for name, t in model.tensors.items()}
    return Model(model.config, tensors, model.tokenizer)
