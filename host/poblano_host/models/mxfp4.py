"""MXFP4 as Hugging Face's files have it: bytes of two elements beside each other, and bytes of scales."""

import numpy as np

from poblano.config import BLOCK

from .config import ModelError
from .model import BlockTensor

__all__ = ["FORMAT", "exponents", "unpacked"]

FORMAT = "mxfp4_e2m1"


def exponents(codes):
    """float32 scales of E8M0's uint8 ``codes``, of which 255 is NaN."""
    codes = codes.astype(np.int32)
    with np.errstate(over="ignore"):
        scale = np.where(codes == 255, np.float32(np.nan), np.ldexp(np.float32(1), codes - 127))
    return scale.astype(np.float32)


def unpacked(where, tensors, kinds):
    """Tensors and stored types by name with each pair of ``NAME.blocks`` (.., N, K/32, 16) and
    ``NAME.scales`` (.., N, K/32) as the :class:`.model.BlockTensor` ``NAME.weight`` of all rows, (.. * N, K).
    :class:`ModelError` for other bytes."""
    tensors, kinds = dict(tensors), dict(kinds)
    for name in [name for name in tensors if name.endswith(".blocks")]:
        stem = name.removesuffix(".blocks")
        pair = [tensors.pop(f"{stem}.{part}", None) for part in ("blocks", "scales")]
        for part, array in zip(("blocks", "scales"), pair):
            if array is None or array.dtype != np.uint8:
                raise ModelError(
                    f"{where}: tensor {stem}.{part} is {'missing' if array is None else 'no U8'}"
                )
        blocks, scales = pair
        if blocks.ndim < 3 or blocks.shape[-1] != BLOCK // 2 or scales.shape != blocks.shape[:-1]:
            raise ModelError(
                f"{where}: tensor {stem} has blocks of shape {blocks.shape} and scales of {scales.shape}"
            )
        k = BLOCK * scales.shape[-1]
        q = np.stack((blocks & 15, blocks >> 4), -1).reshape(-1, k)
        tensors[f"{stem}.weight"] = BlockTensor(FORMAT, q, exponents(scales.reshape(-1, scales.shape[-1])))
        kinds[f"{stem}.weight"] = "MXFP4"
    for name, tensor in tensors.items():
        if getattr(tensor, "dtype", None) == np.uint8:
            raise ModelError(f"{where}: tensor {name} has bytes that no blocks go with")
    return tensors, kinds
