"""Weight matrices as streams for each tile."""

from dataclasses import dataclass

import numpy as np

from poblano.compute.reference import pack_weights
from poblano.config import BLOCK
from poblano.isa.weight_stream import Activation, Element, ScaleFormat

from ..models.model import MX_FORMATS, BlockTensor
from ..models.quantise import QUANTISERS
from .errors import CompileError
from .image import align

__all__ = [
    "FORMATS",
    "Image",
    "TiledMatrix",
    "block_tensor",
    "check_weights",
    "choose_activation",
    "split_columns",
]

FORMATS = {
    "q8_0": dict(element=Element.S8, scale=ScaleFormat.F16, minimum=0),
    "q4_0": dict(element=Element.S4, scale=ScaleFormat.F16, minimum=0),
    "q4_1": dict(element=Element.U4, scale=ScaleFormat.F16, minimum=1),
} | {name: dict(element=form.element, scale=ScaleFormat.E8M0, minimum=0) for name, form in MX_FORMATS.items()}
"""The operands of a MATMUL command for a stored grid."""


def block_tensor(tensor, config):
    """``tensor`` in blocks: float matrices are quantised to q8_0, or to an MX format if the array has no
    INT8 weights."""
    if isinstance(tensor, BlockTensor):
        return tensor
    arithmetic = config.tile.array.arithmetic
    return QUANTISERS["q8_0" if Element.S8 in arithmetic.weights else arithmetic.activations[0].name.lower()](
        tensor
    )


def check_weights(format, config):
    """:class:`CompileError` if the chip's array can't multiply by weights of ``format``."""
    arithmetic, element = config.tile.array.arithmetic, FORMATS[format]["element"]
    names = lambda elements: ", ".join(e.format.name for e in elements) or "none"
    if element not in arithmetic.weights:
        raise CompileError(
            f"this array has no {element.format.name} weights; it has {names(arithmetic.weights)}"
        )
    if FORMATS[format]["scale"] is ScaleFormat.E8M0 and element not in arithmetic.mx_weights:
        raise CompileError(
            f"this array has no {element.format.name} weights with E8M0 scales; it has "
            f"{names(arithmetic.mx_weights)}"
        )


def choose_activation(name, config):
    """The Activation ``name`` (None: INT8, else the array's first); :class:`CompileError` if the chip's
    array lacks it."""
    known = config.tile.array.arithmetic.activations
    if name is None:
        return known[0]
    form = Activation.__members__.get(str(name).upper())
    if form is None:
        raise CompileError(
            f"unknown activation format {name!r}; known are {', '.join(a.name.lower() for a in Activation)}"
        )
    if form not in known:
        raise CompileError(
            f"this array has no {form.name} activations; it has {', '.join(a.name for a in known)}"
        )
    return form


def split_columns(columns, config):
    """For each tile its range of ``columns`` (first, end), whole granules of 32 and of array columns, as
    even as can be."""
    granule = max(BLOCK, config.tile.array.cols)
    count = -(-columns // granule)
    bounds = [granule * (count * t // config.tiles) for t in range(config.tiles + 1)]
    return [(min(a, columns), min(b, columns)) for a, b in zip(bounds, bounds[1:])]


@dataclass(frozen=True)
class TiledMatrix:
    """Matrices of one K in memory, a stream for each tile.

    ``formats`` are the matrices' operands of a MATMUL command; ``k_blocks`` is K in blocks, padded with
    zeros to whole steps of the array. For each tile, ``address`` and ``size`` (bytes) are its stream's, and
    ``chunks`` lists the (matrix, first, end) ranges of output columns in it, in order.
    """

    formats: tuple
    k_blocks: int
    address: tuple
    size: tuple
    chunks: tuple

    @classmethod
    def place(cls, image, tensors, chunks, config):
        """Append to ``image`` the streams of ``chunks`` of ``tensors`` (BlockTensors, (N out, K in))."""
        for tensor in tensors:
            check_weights(tensor.format, config)
        forms = [FORMATS[tensor.format] for tensor in tensors]
        blocks = tensors[0].shape[1] // BLOCK
        k_blocks = align(blocks, config.tile.array.segments)
        pad = lambda array, unit, value=0: np.pad(
            array.T, ((0, (k_blocks - blocks) * unit), (0, 0)), constant_values=value
        )
        addresses, sizes = [], []
        for ranges in chunks:
            parts = []
            for which, first, end in ranges:
                rows, form = tensors[which].rows(slice(first, end)), forms[which]
                parts.append(
                    pack_weights(
                        pad(rows.q, BLOCK),
                        pad(rows.scale, 1, int(form["scale"] is ScaleFormat.E8M0)),
                        None if rows.minimum is None else pad(rows.minimum, 1),
                        config,
                        element=form["element"],
                        scale_format=form["scale"],
                    )
                )
            data = b"".join(parts)
            addresses.append(image.append(data))
            sizes.append(len(data))
        return cls(
            tuple({name: int(value) for name, value in form.items()} for form in forms),
            k_blocks,
            tuple(addresses),
            tuple(sizes),
            tuple(tuple(ranges) for ranges in chunks),
        )

    @classmethod
    def split(cls, image, tensor, config):
        """One matrix, its columns split over the tiles."""
        chunks = [
            [(0, first, end)] if end > first else [] for first, end in split_columns(tensor.shape[0], config)
        ]
        return cls.place(image, [tensor], chunks, config)


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
