"""Compiles one matrix product."""

import numpy as np

from poblano.config import BLOCK, LINE_WORDS

from ..models.quantise import QUANTISERS
from .errors import CompileError
from .image import align
from .program import LayerWork, ProgramBuilder
from .weights import Image, TiledMatrix, split_columns

__all__ = ["MatmulJob"]


class MatmulJob:
    """``a`` (M, K) times ``b`` (K, N), float32: b in ``format``, a quantised by the chip in blocks of 32.

    Members: ``image`` (list of (address, bytes)), ``memory_bytes``, ``ring`` and ``program``, whose ``result`` is the
    address and the shape (M, padded N) of the float32 product. Raises :class:`CompileError` for shapes that don't fit.
    """

    RING = 1 << 12

    def __init__(self, a, b, config, *, format="q8_0"):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise CompileError(f"can't multiply shapes {a.shape} and {b.shape}")
        if 0 in a.shape or 0 in b.shape:
            raise CompileError(f"shapes {a.shape} and {b.shape} are empty")
        if format not in QUANTISERS:
            raise CompileError(f"unknown format {format!r}; known are {', '.join(QUANTISERS)}")
        self.shape = (a.shape[0], b.shape[1])
        array, tile = config.tile.array, config.tile
        granule = max(BLOCK, array.cols)
        k = align(a.shape[1], max(BLOCK, array.rows))
        n = align(b.shape[1], granule)
        a = np.pad(a, ((0, 0), (0, k - a.shape[1])))
        b = np.pad(b, ((0, k - b.shape[0]), (0, n - b.shape[1])))
        k_blocks, k_lines = k // BLOCK, k // LINE_WORDS
        half = tile.vmem_lines // 2
        rows = min(tile.tokens, tile.amem_blocks // k_blocks, half // k_lines, half // (granule // LINE_WORDS), a.shape[0])
        if rows < 1:
            raise CompileError(f"K of {k} needs {k_blocks} blocks of activation memory and {2 * k_lines} lines of vector "
                               f"memory; there are {tile.amem_blocks} and {tile.vmem_lines}")
        width = min(n, half // rows * LINE_WORDS // granule * granule)

        image = Image(max(4096, config.stream_bytes))
        weights = QUANTISERS[format](b.T)
        chunks = [[(0, at, min(at + width, end)) for at in range(first, end, width)]
                  for first, end in split_columns(n, config)]
        matrix = TiledMatrix.place(image, [weights], chunks, config)
        source = image.array(a)
        result = image.reserve(4 * a.shape[0] * n)
        build = ProgramBuilder(config)
        everyone = range(config.tiles)
        for first in range(0, a.shape[0], rows):
            count = min(rows, a.shape[0] - first)
            build.load(everyone, source + 4 * k * first, 4 * k, 0, k_lines, count, k_lines, reads=(), label="a")
            for t in everyone:
                build.vector(t, rows=count, blocks=k_blocks, a=0, a_stride=k_lines, sink=2, dst=0, dst_stride=k_blocks,
                             label="quantise")
            for t in everyone:
                if not matrix.size[t]:
                    continue
                build.stream(t, matrix.address[t], matrix.size[t], label="weights")
                for _, start, end in matrix.chunks[t]:
                    lines = (end - start) // LINE_WORDS
                    build.matmul(t, [t], a=0, a_stride=k_blocks, rows=count, k_blocks=k_blocks,
                                 groups=(end - start) // array.cols, dst=half, dst_stride=lines, label="matmul",
                                 **matrix.formats[0])
                    build.store(t, half, lines, count, lines, result + 4 * (n * first + start), 4 * n,
                                writes=[build.memory("result", t)], label="result")
        build.work.append(LayerWork("matmul", self.shape[0] * self.shape[1] * k, sum(matrix.size), 4 * (a.size + a.shape[0] * n)))
        self.ring = (image.reserve(64 * self.RING), self.RING)
        self.image = image.pieces
        self.memory_bytes = image.size
        self.program = build.build(result=(result, (a.shape[0], n)))
