"""Compiles one matrix product."""

from itertools import zip_longest

import numpy as np

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import Sink

from ..models.model import MX_FORMATS
from ..models.quantise import QUANTISERS
from .assemble import assemble
from .builder import Builder
from .errors import CompileError
from .image import Image, align
from .operands import check_shapes, float_operand
from .program import LayerWork, Program
from .weights import TiledMatrix, check_weights, choose_activation, split_columns

__all__ = ["MatmulJob"]

LEAST, LEAST_MX = 2.0**-49, 2.0**-126
"""The least magnitudes of blocks that are not zero on the chip: with FP scales, and in MX formats."""


class MatmulJob:
    """``a`` (M, K) times ``b`` (K, N), float32: b in ``format``, a quantised by the chip in blocks of 32 of
    ``activation``.

    ``format`` is a name of ``QUANTISERS``, ``activation`` of an activation format (INT8 by default, else
    the array's first). ``quantiser``, if given, makes the BlockTensor of b's transpose instead.

    Members: ``image`` (list of (address, bytes)), ``memory_bytes``, ``ring`` (address, commands) and
    ``program``, whose ``result`` is the address and the shape (M, padded N) of the float32 product. Raises
    :class:`CompileError` for shapes that don't fit, elements that are not finite, and magnitudes that the
    formats would lose.

    The tiles share the quantising by rows and the product by columns. Rows that don't fit in activation
    memory at once read the weights again.
    """

    RING = 1 << 16

    def __init__(self, a, b, config, *, format="q8_0", activation=None, quantiser=None):
        check_shapes(np.asarray(a), np.asarray(b))
        if format not in QUANTISERS:
            raise CompileError(f"unknown format {format!r}; known are {', '.join(QUANTISERS)}")
        check_weights(format, config)
        self.activation = choose_activation(activation, config)
        a = float_operand("A", a, True, LEAST_MX if self.activation.mx else LEAST)
        b = float_operand("B", b, False, LEAST_MX if format in MX_FORMATS else LEAST)
        self.config = config
        self.shape = (a.shape[0], b.shape[1])
        tile = config.tile
        granule = max(BLOCK, tile.array.cols)
        k, n = align(a.shape[1], max(BLOCK, tile.array.rows)), align(b.shape[1], granule)
        self.k_blocks = k // BLOCK
        rows = min(tile.tokens, tile.amem_blocks // self.k_blocks, a.shape[0])
        if rows < 1:
            raise CompileError(
                f"K of {k} needs {self.k_blocks} blocks of activation memory; there are {tile.amem_blocks}"
            )
        # Vector memory: two places for parts of a, then two for results.
        self.stage_lines = tile.vmem_lines // 4
        room = tile.vmem_lines // 4 * LINE_WORDS // granule * granule
        rows = min(rows, room // granule)
        if rows < 1 or self.stage_lines < granule // LINE_WORDS:
            raise CompileError(
                f"a granule of {granule} columns needs {4 * granule // LINE_WORDS} lines of vector memory; "
                "there "
                f"are {tile.vmem_lines}"
            )
        self.width = min(n, room // rows // granule * granule)

        image = Image("the product", config)
        pad = lambda array, height, width: np.pad(
            array, ((0, height - array.shape[0]), (0, width - array.shape[1]))
        )
        try:
            weights = (quantiser or QUANTISERS[format])(pad(b, k, n).T)
        except ValueError as error:
            raise CompileError(f"B in {format}: {error}") from None
        (ranges,) = split_columns([n], config)
        self.matrix = TiledMatrix.place(image, weights, ranges, config)
        self.source = image.array(pad(a, a.shape[0], k))
        self.result = image.reserve(4 * a.shape[0] * n)
        self.builder = Builder(config)
        self.parts = 0
        for first in range(0, a.shape[0], rows):
            count = min(rows, a.shape[0] - first)
            self._quantise(first, count)
            self._multiply(first, count, n)
        template = assemble(self.builder)
        macs, values = self.shape[0] * self.shape[1] * a.shape[1], a.shape[0] * (k + n)
        work = LayerWork("matmul", macs, self.matrix.size, 4 * values)
        self.program = Program(template.bind({}), result=(self.result, (a.shape[0], n)), work=[work])
        if len(self.program) > self.RING:
            raise CompileError(f"the product has {len(self.program)} commands; the ring holds {self.RING}")
        self.ring = (image.reserve(64 * self.RING), self.RING)
        self.image = image.pieces
        self.memory_bytes = image.size

    def _quantise(self, first, count):
        """Rows ``first`` on of a to every tile's activation memory, a part that fits the stage at a time."""
        tiles = self.config.tiles
        per_line = BLOCK // LINE_WORDS
        blocks = min(self.k_blocks, self.stage_lines // per_line)
        rows = max(1, min(self.stage_lines // (blocks * per_line), -(-count // tiles)))
        for i, row in enumerate(range(0, count, rows)):
            some = min(rows, count - row)
            for block in range(0, self.k_blocks, blocks):
                width = min(blocks, self.k_blocks - block)
                tile, stage = i % tiles, self.parts % 2 * self.stage_lines
                self.parts += 1
                self.builder.load(
                    [tile],
                    self.source + 4 * BLOCK * (self.k_blocks * (first + row) + block),
                    4 * BLOCK * self.k_blocks,
                    stage,
                    width * per_line,
                    some,
                    width * per_line,
                    label="a",
                )
                self.builder.vector(
                    tile,
                    range(tiles),
                    rows=some,
                    blocks=width,
                    a=stage,
                    a_stride=width * per_line,
                    sink=Sink.QUANTISE,
                    activation=self.activation,
                    dst=row * self.k_blocks + block,
                    dst_stride=self.k_blocks,
                    label="quantise",
                )

    def _multiply(self, first, count, n):
        """The product of the rows in activation memory with every column, to memory."""
        matrix, lines = self.matrix, self.width // LINE_WORDS
        chunks = [
            [(at, min(at + self.width, end)) for at in range(start, end, self.width)]
            for start, end in matrix.ranges
        ]
        for i, several in enumerate(zip_longest(*chunks)):
            target = 2 * self.stage_lines + i % 2 * self.stage_lines
            for tile, span in enumerate(several):
                if span is None:
                    continue
                start, end = span
                address, size, groups = matrix.stream(tile, start, end)
                self.builder.matmul(
                    tile,
                    [tile],
                    dict(mem_addr=address, row_bytes=size),
                    a=0,
                    a_stride=self.k_blocks,
                    rows=count,
                    k_blocks=self.k_blocks,
                    groups=groups,
                    dst=target,
                    dst_stride=lines,
                    activation=self.activation,
                    label="matmul",
                    **matrix.form,
                )
                self.builder.store(
                    tile,
                    target,
                    lines,
                    count,
                    (end - start) // LINE_WORDS,
                    self.result + 4 * (n * first + start),
                    4 * n,
                    label="result",
                )
