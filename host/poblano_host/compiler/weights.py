"""Weight matrices as streams for each tile."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import lcm

import numpy as np

from poblano.compute.reference import pack_weights
from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.weight_stream import Activation, Element, ScaleFormat, step_bytes

from ..models.model import MX_FORMATS, BlockTensor
from ..models.outline import OutlineTensor
from ..models.quantise import quantise_weights
from .errors import CompileError
from .image import align

__all__ = [
    "FORMATS",
    "TiledMatrix",
    "block_tensor",
    "check_weights",
    "choose_activation",
    "matrix_bytes",
    "matrix_steps",
    "matrix_stream",
    "split_beside",
    "split_columns",
    "weight_form",
    "weight_format",
]

FORMATS = {
    "q8_0": dict(element=Element.S8, scale=ScaleFormat.F16, minimum=0),
    "q4_0": dict(element=Element.S4, scale=ScaleFormat.F16, minimum=0),
    "q4_1": dict(element=Element.U4, scale=ScaleFormat.F16, minimum=1),
} | {name: dict(element=form.element, scale=ScaleFormat.E8M0, minimum=0) for name, form in MX_FORMATS.items()}
"""The operands of a MATMUL command for a stored grid, with scales as GGUF has them."""


def weight_form(tensor):
    """The operands of a MATMUL command for a BlockTensor."""
    form = FORMATS[tensor.format]
    wide = form["scale"] is ScaleFormat.F16 and tensor.scale.dtype == np.float32
    return form | {"scale": ScaleFormat.F32} if wide else form


def weight_format(tensor, config):
    """The format in which the array multiplies a model's matrix: float matrices are quantised to q8_0, or to
    an MX format if the array has no INT8 weights; MXFP4 is q8_0 if it has these and no MXFP4."""
    arithmetic = config.tile.array.arithmetic
    integers = Element.S8 in arithmetic.weights
    if not isinstance(tensor, BlockTensor):
        return "q8_0" if integers else arithmetic.activations[0].name.lower()
    if tensor.format == "mxfp4_e2m1" and integers and Element.E2M1 not in arithmetic.mx_weights:
        return "q8_0"
    return tensor.format


def block_tensor(tensor, config):
    """``tensor`` in its :func:`weight_format`; :class:`CompileError` for what no scale holds."""
    held = weight_format(tensor, config)
    try:
        if not isinstance(tensor, BlockTensor):
            return quantise_weights(tensor, held)
        return tensor if tensor.format == held else tensor.as_q8_0()
    except ValueError as error:
        raise CompileError(f"a matrix of shape {tensor.shape}: {error}") from None


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


def matrix_bytes(tensor, config):
    """Bytes of the streams of a BlockTensor."""
    return matrix_steps(tensor, config)[1] * -(-tensor.shape[0] // config.tile.array.cols)


def matrix_steps(tensor, config):
    """(K in blocks, whole steps of the array, bytes of a group of array columns) of the streams of a
    BlockTensor (N out, K in)."""
    form, array = weight_form(tensor), config.tile.array
    k_blocks = align(tensor.shape[1] // BLOCK, array.segments)
    step = step_bytes(config, element=form["element"], scale=form["scale"], minimum=form["minimum"])
    return k_blocks, step * k_blocks // array.segments


def matrix_stream(tensor, config):
    """The bytes of the stream of a BlockTensor (N out, K in), which may have no rows."""
    form, blocks = weight_form(tensor), tensor.shape[1] // BLOCK
    k_blocks, _ = matrix_steps(tensor, config)
    pad = lambda part, unit, value=0: np.pad(
        part.T, ((0, (k_blocks - blocks) * unit), (0, 0)), constant_values=value
    )
    if not tensor.shape[0]:
        return b""
    data = pack_weights(
        pad(tensor.q, BLOCK),
        pad(tensor.scale, 1, int(form["scale"] is ScaleFormat.E8M0)),
        None if tensor.minimum is None else pad(tensor.minimum, 1),
        config,
        element=form["element"],
        scale_format=form["scale"],
    )
    return bytes(data)


def split_columns(widths, config, *, blocks=True, unit=1):
    """For each matrix of ``widths`` (columns), for each tile, its range of columns (first, end).

    Ranges are whole array columns, lines and rows of vector memory and ``unit`` s and, with ``blocks``, whole
    blocks of 32: where tiles quantise their own results. Every matrix is split alone, as evenly as can be,
    or, if that loads the busiest tile less, all together as if they stood side by side.
    """
    granule, tiles = _granule(config, blocks, unit), config.tiles
    counts = [-(-width // granule) for width in widths]
    total = sum(counts)
    alone = [[count * t // tiles for t in range(tiles + 1)] for count in counts]
    if sum(-(-count // tiles) for count in counts) <= -(-total // tiles):
        bounds = alone
    else:
        starts = [sum(counts[:n]) for n in range(len(counts))]
        cuts = [total * t // tiles for t in range(tiles + 1)]
        bounds = [[min(max(cut - s, 0), count) for cut in cuts] for s, count in zip(starts, counts)]
    return [_ranges(cuts, granule, width) for cuts, width in zip(bounds, widths)]


def split_beside(width, columns, config):
    """For each tile its range of columns (first, end) of a matrix of ``width`` columns, in whole blocks. The
    tiles have so many ``columns`` of others already: the busiest tile has as few together as can be, but no
    tile more of this matrix than if it were split alone."""
    granule = _granule(config)
    count, given = -(-width // granule), [0] * config.tiles
    share = -(-count // config.tiles)
    for _ in range(count):
        free = [tile for tile in range(config.tiles) if given[tile] < share]
        given[min(free, key=lambda tile: columns[tile] + granule * given[tile])] += 1
    return _ranges([0, *accumulate(given)], granule, width)


def _granule(config, blocks=True, unit=1):
    """The columns of which a tile has whole ones, see :func:`split_columns`."""
    rows = max(config.tile.lanes, LINE_WORDS)
    return lcm(max(BLOCK if blocks else rows, config.tile.array.cols), unit)


def _ranges(cuts, granule, width):
    """For each tile (first, end) of the columns between two ``cuts``, in granules."""
    return [(min(granule * a, width), min(granule * b, width)) for a, b in pairwise(cuts)]


@dataclass(frozen=True)
class TiledMatrix:
    """A matrix in memory, a stream for each tile in its home.

    Parameters
    ----------
    form : its operands of a MATMUL command
    k_blocks : K in blocks, padded with zeros to whole steps of the array
    ranges : for each tile the output columns (first, end) that it has
    address : for each tile that of its stream
    group_bytes : bytes of a group of array columns in the stream
    """

    form: dict
    k_blocks: int
    ranges: tuple
    address: tuple
    group_bytes: int
    cols: int

    @classmethod
    def place(cls, image, tensor, ranges, config):
        """Append to ``image`` the streams of ``tensor``, a BlockTensor (N out, K in), each in its tile's
        home."""
        check_weights(tensor.format, config)
        k_blocks, group_bytes = matrix_steps(tensor, config)
        addresses = []
        for tile, (first, end) in enumerate(ranges):
            rows, home = tensor.rows(slice(first, end)), config.topology.home_of(tile)
            if isinstance(tensor, OutlineTensor):
                addresses.append(image.reserve(matrix_bytes(rows, config), home))
            else:
                addresses.append(image.append(matrix_stream(rows, config), home))
        return cls(
            {name: int(value) for name, value in weight_form(tensor).items()},
            k_blocks,
            tuple(ranges),
            tuple(addresses),
            group_bytes,
            config.tile.array.cols,
        )

    def stream(self, tile, first, end):
        """(address, bytes, groups) of the columns ``first`` to ``end`` of the tile's range."""
        before, groups = (first - self.ranges[tile][0]) // self.cols, -(-(end - first) // self.cols)
        return self.address[tile] + before * self.group_bytes, groups * self.group_bytes, groups

    @property
    def size(self):
        """Bytes of all streams."""
        return sum(-(-(end - first) // self.cols) * self.group_bytes for first, end in self.ranges)
