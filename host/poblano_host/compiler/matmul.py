"""Compiles one matrix product."""

from itertools import zip_longest

import numpy as np

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import Sink

from ..models.model import MX_FORMATS
from ..models.quantise import QUANTISERS
from .assemble import assemble
from .builder import Builder
from .errors import CompileError
from .image import Image, align
from .operands import check_shapes, float_operand
from .plan import LINES
from .program import LayerWork, Program
from .weights import TiledMatrix, check_weights, choose_activation, split_columns

__all__ = ["MatmulJob"]

PART_BLOCKS, FEW_BLOCKS = 16, 8
"""Blocks of a that are loaded and quantised at once, and so few that one tile quantises them all."""
CHUNK_CYCLES = 256
"""About the cycles in which memory takes the results that are computed at once, meanwhile the next are."""
LATER = 1 << 20
"""The rank of results: behind what is still to be multiplied."""
RESULTS = 8
"""Places for results, where there is room."""
FIRST = "the first rows"
"""What the weights wait for in memory, lest they take its time before they are needed."""
SHARED = 0.9
"""Of its peak, what memory gives where loads and weights meet."""
LEAST, LEAST_MX = 2.0**-49, 2.0**-126
"""The least magnitudes of blocks that are not zero on the chip: with FP scales, and in MX formats."""


class MatmulJob:
    """``a`` (M, K) times ``b`` (K, N), float32: b in ``format``, a quantised by the chip in blocks of 32 of
    ``activation``.

    ``format`` is a name of ``QUANTISERS``, ``activation`` of an activation format (INT8 by default, else
    the array's first). ``quantiser``, if given, makes the BlockTensor of b's transpose instead.

    Members: ``image`` (list of (address, bytes)), ``memory_bytes``, ``ring`` (address, commands) and
    ``program``; :meth:`product` finds the float32 product in memory. Raises
    :class:`CompileError` for shapes that don't fit, elements that are not finite, and magnitudes that the
    formats would lose.

    The tiles share the quantising by rows and the product by columns. Rows go through the chip in groups:
    while one is multiplied, memory brings the next and takes the results of the one before. Each group reads
    the weights again.
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
        self.builder = Builder(config)
        self._sizes(a.shape[0], a.shape[1], b.shape[1])
        k, n = BLOCK * self.k_blocks, self.columns
        image = Image("the product", config)
        pad = lambda array, height, width: np.pad(
            array, ((0, height - array.shape[0]), (0, width - array.shape[1]))
        )
        try:
            weights = (quantiser or QUANTISERS[format])(pad(b, k, n).T)
        except ValueError as error:
            raise CompileError(f"B in {format}: {error}") from None
        self.matrix = TiledMatrix.place(image, weights, self.ranges, config)
        self.source = image.array(pad(a, a.shape[0], k))
        self.result = image.reserve(4 * a.shape[0] * n)
        self._parts = []  # of the result: address, rows, columns
        self._compile()
        template = assemble(self.builder)
        macs, values = self.shape[0] * self.shape[1] * a.shape[1], a.shape[0] * (k + n)
        work = LayerWork("matmul", macs, self.matrix.size, 4 * values)
        self.program = Program(template.bind({}), count_work=lambda: [work])
        if len(self.program) > self.RING:
            raise CompileError(f"the product has {len(self.program)} commands; the ring holds {self.RING}")
        self.ring = (image.reserve(64 * self.RING), self.RING)
        self.image = image.pieces
        self.memory_bytes = image.size

    def product(self, read):
        """The product, float32 (M, N), where ``read(address, bytes)`` gives what memory has after the
        program."""
        product = np.empty((self.shape[0], self.columns), np.float32)
        for address, rows, columns in self._parts:
            part = product[rows, columns]
            part[:] = np.frombuffer(read(address, part.nbytes), np.float32).reshape(part.shape)
        return product[:, : self.shape[1]].copy()

    def _sizes(self, rows, k, n):
        """What fits the local memories, and with it the groups of rows."""
        tile = self.config.tile
        granule = max(LINE_WORDS, tile.array.cols)
        self.k_blocks = align(k, max(BLOCK, tile.array.rows)) // BLOCK
        self.columns = align(n, granule)
        (self.ranges,) = split_columns([self.columns], self.config, blocks=False)
        most = min(tile.tokens, tile.amem_blocks // self.k_blocks, rows)
        if most < 1:
            raise CompileError(
                f"K of {BLOCK * self.k_blocks} needs {self.k_blocks} blocks of activation memory; there are "
                f"{tile.amem_blocks}"
            )
        # Vector memory: half for parts of a, then two places for results.
        self.place_lines = tile.vmem_lines // 4
        room = self.place_lines * LINE_WORDS
        most = min(most, room // granule)
        if most < 1 or self.place_lines < LINES:
            raise CompileError(
                f"a granule of {granule} columns needs {4 * max(granule // LINE_WORDS, LINES)} lines of "
                f"vector memory; there are {tile.vmem_lines}"
            )
        self.groups = self._groups(rows, most)
        largest = max(end - first for first, end in self.groups)
        chunk = CHUNK_CYCLES * self.config.memory.total_bandwidth // (4 * largest * self.config.tiles)
        self.width = max(granule, min(room // largest, int(chunk)) // granule * granule)
        chunk_lines = largest * self.width // LINE_WORDS
        self.places = min(RESULTS, 2 * self.place_lines // chunk_lines)
        # Where two groups fit, one is quantised while the other is multiplied.
        two = largest * self.k_blocks
        self.group_blocks = two if 2 * two <= tile.amem_blocks else 0

    def _cycles(self, rows, columns):
        """About those of a tile's product of ``rows`` by ``columns``."""
        groups = -(-columns // self.config.tile.array.cols)
        return self.builder.timing.of(Opcode.MATMUL, dict(rows=rows, groups=groups, k_blocks=self.k_blocks))[
            0
        ]

    def _groups(self, rows, most):
        """(first, end) of the rows of each group, at most ``most``.

        The first is of the size that takes the least time: it comes first, and then memory brings the others
        and the weights once more while it is multiplied.
        """
        columns = max(end - first for first, end in self.ranges)
        bandwidth = float(self.config.memory.total_bandwidth)
        # A block crosses the bus in lines, and once more, quantised, as one.
        load = lambda count: count * self.k_blocks * max(4 * BLOCK / bandwidth, LINES + 1)
        weights = 2 * BLOCK * self.k_blocks * self.columns / bandwidth

        def cycles(first):
            rest = rows - first
            time = load(first) + self._cycles(first, columns)
            if rest:
                memory = (4 * BLOCK * self.k_blocks * rows / bandwidth + weights) / SHARED
                time = max(time, memory, load(rows)) + self._cycles(rest, columns)
            return time

        step = self.config.tile.array.items
        first = min([most, *range(step, most, step)], key=cycles)
        others = -(-(rows - first) // most)
        cuts = [first + (rows - first) * n // max(others, 1) for n in range(others + 1)]
        return [(0, first), *zip(cuts, cuts[1:])]

    def _compile(self):
        self.parts = self.chunks = 0
        for number, (first, end) in enumerate(self.groups):
            place = number % 2 * self.group_blocks
            self.builder.head = number
            self._quantise(first, end - first, place)
            self.builder.group = LATER + number
            self.builder.awaited = (FIRST,)
            self._multiply(first, end - first, place)

    def _quantise(self, first, count, place):
        """Rows ``first`` on of a to every tile's activation memory, a part at a time."""
        tiles = self.config.tiles
        blocks = min(self.k_blocks, self.place_lines // LINES)
        few = max(count * self.k_blocks // tiles, FEW_BLOCKS)
        rows = max(1, min(self.place_lines // (blocks * LINES), min(few, PART_BLOCKS) // blocks, count))
        places = 2 * self.place_lines // (rows * blocks * LINES)
        for row in range(0, count, rows):
            some = min(rows, count - row)
            last = row > 0 and row + some == count and not first
            for block in range(0, self.k_blocks, blocks):
                width = min(blocks, self.k_blocks - block)
                self.builder.group = self.parts  # in this order
                tile, stage = self.parts % tiles, self.parts // tiles % places * rows * blocks * LINES
                self.parts += 1
                whole = some if width == self.k_blocks else 1  # rows that are one in memory and on the chip
                self.builder.load(
                    [tile],
                    self.source + 4 * BLOCK * (self.k_blocks * (first + row) + block),
                    4 * BLOCK * self.k_blocks,
                    stage,
                    width * LINES,
                    some // whole,
                    whole * width * LINES,
                    writes=(FIRST,) if last else (),
                    label="a",
                )
                self.builder.vector(
                    tile,
                    range(tiles),
                    rows=some,
                    blocks=width,
                    a=stage,
                    a_stride=width * LINES,
                    sink=Sink.QUANTISE,
                    activation=self.activation,
                    dst=place + row * self.k_blocks + block,
                    dst_stride=self.k_blocks,
                    label="quantise",
                )

    def _multiply(self, first, count, place):
        """The product of the rows in activation memory with every column, to memory."""
        matrix = self.matrix
        chunks = [
            [(at, min(at + self.width, end)) for at in range(start, end, self.width)]
            for start, end in matrix.ranges
        ]
        for several in zip_longest(*chunks):
            target = 2 * self.place_lines + self.chunks % self.places * (2 * self.place_lines // self.places)
            self.chunks += 1
            for tile, span in enumerate(several):
                if span is None:
                    continue
                start, end = span
                address, size, groups = matrix.stream(tile, start, end)
                self.builder.matmul(
                    tile,
                    [tile],
                    dict(mem_addr=address, row_bytes=size),
                    a=place,
                    a_stride=self.k_blocks,
                    rows=count,
                    k_blocks=self.k_blocks,
                    groups=groups,
                    dst=target,
                    dst_stride=(end - start) // LINE_WORDS,
                    activation=self.activation,
                    label="matmul",
                    **matrix.form,
                )
                size = count * (end - start)
                self.builder.store(tile, target, 0, 1, size // LINE_WORDS, self.result, 0, label="result")
                self._parts.append((self.result, slice(first, first + count), slice(start, end)))
                self.result += 4 * size
