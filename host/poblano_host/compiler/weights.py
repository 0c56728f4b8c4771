"""Weight matrices as streams for each tile."""

from dataclasses import dataclass

import numpy as np

from poblano.compute.reference import pack_weights
from poblano.compute.weight_format import Element, ScaleFormat
from poblano.config import BLOCK

from ..models.model import BlockTensor
from ..models.quantise import quantise_q8_0
from .errors import CompileError

__all__ = ["FORMATS", "Image", "TiledMatrix", "block_tensor", "split_columns"]

FORMATS = {
    "q8_0": dict(element=Element.S8, scale=ScaleFormat.F16, minimum=0),
    "q4_0": dict(element=Element.S4, scale=ScaleFormat.F16, minimum=0),
    "q4_1": dict(element=Element.U4, scale=ScaleFormat.F16, minimum=1),
}
"""The operands of a MATMUL command for a stored grid."""


def block_tensor(tensor):
    """``tensor`` in blocks: float matrices are quantised to q8_0."""
    return tensor if isinstance(tensor, BlockTensor) else quantise_q8_0(tensor)


def split_columns(columns, config):
    """For each tile its range of ``columns`` (first, end), whole granules of 32 and of array columns, as even as can be."""
    granule = max(BLOCK, config.tile.array.cols)
    count = -(-columns // granule)
    bounds = [granule * (count * t // config.tiles) for t in range(config.tiles + 1)]
    return [(min(a, columns), min(b, columns)) for a, b in zip(bounds, bounds[1:])]


@dataclass(frozen=True)
class TiledMatrix:
    """A matrix in memory: for each tile its range of output columns and the address and bytes of its stream.

    ``chunks`` lists, for each tile, the (matrix, first, end) column ranges in the stream's order.
    """

    format: dict
    k_blocks: int
    address: tuple
    size: tuple
    chunks: tuple

    @classmethod
    def place(cls, image, tensors, chunks, config):
        """Append to ``image`` the streams of ``chunks`` of ``tensors`` (BlockTensors of one format, (N out, K in))."""
        formats = {tensor.format for tensor in tensors}
        if len(formats) != 1:
            raise CompileError(f"matrices that share a stream have formats {', '.join(sorted(formats))}")
        form = FORMATS[formats.pop()]
        k_blocks = tensors[0].shape[1] // BLOCK
        if k_blocks % config.tile.array.segments:
            raise CompileError(f"K of {k_blocks * BLOCK} is not a multiple of the array's {config.tile.array.rows} rows")
        addresses, sizes = [], []
        for ranges in chunks:
            parts = []
            for which, first, end in ranges:
                rows = tensors[which].rows(slice(first, end))
                parts.append(pack_weights(rows.q.T, rows.scale.T, None if rows.minimum is None else rows.minimum.T, config,
                                          element=form["element"], scale_format=form["scale"]))
            data = b"".join(parts)
            addresses.append(image.append(data))
            sizes.append(len(data))
        return cls({name: int(value) for name, value in form.items()}, k_blocks, tuple(addresses), tuple(sizes),
                   tuple(tuple(ranges) for ranges in chunks))


class Image:
    """The bytes of memory from address 0, grown by pieces."""

    def __init__(self, unit):
        self.unit = unit
        self.pieces = []
        self.size = 0

    def reserve(self, size):
        """Address of ``size`` zero bytes."""
        address = self.size
        self.size += -(-size // self.unit) * self.unit
        return address

    def append(self, data):
        address = self.reserve(len(data))
        self.pieces.append((address, bytes(data)))
        return address

    def array(self, array):
        return self.append(np.ascontiguousarray(array).tobytes())
