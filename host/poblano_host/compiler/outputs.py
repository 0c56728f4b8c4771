"""How attention's outputs are computed from V, and where they lie in vector memory."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from poblano.config import BLOCK, LINE_WORDS, ChipConfig
from poblano.isa.commands import Opcode

from .timing import Timing

__all__ = ["Outputs", "Part", "Product", "out_words"]


@dataclass(frozen=True)
class Product:
    """A product of ``rows`` rows of probabilities, from those of ``block`` on, and ``groups`` groups of V's
    columns, ``interleaved`` or one behind the other; results lie from ``line`` on, ``stride`` lines apart."""

    block: int
    rows: int
    groups: int
    interleaved: bool
    line: int
    stride: int


@dataclass(frozen=True)
class Part:
    """Where ``blocks`` blocks of the head, from ``block`` on, of the first row lie, and the lines to the next
    row's."""

    block: int
    blocks: int
    line: int
    stride: int


@dataclass(frozen=True)
class Outputs:
    """Of ``rows`` rows of heads of ``head_blocks`` blocks: the products of probabilities and V.

    V has a scale for each position and block of the head, which the probabilities are multiplied by: each
    block has its own. As further rows of one product they let V be read once where columns of several blocks
    lie side by side: in an array of more than 32 columns, or in a page. But ``short`` products, of a block's
    groups of columns, let others go between them.
    """

    config: ChipConfig
    head_blocks: int
    rows: int
    short: bool = False

    @cached_property
    def together(self):
        """The most blocks in a product that takes the array no longer than one for each, and in which the
        groups of columns are interleaved; 0 if not even those of a block can be."""
        counts = range(self.head_blocks, 0, -1)
        return next((n for n in counts if not self.head_blocks % n and self._fit(n)), 0)

    @property
    def words(self):
        """Words of a row."""
        return self.head_blocks * self._groups(max(1, self.together)) * self._cols

    @property
    def products(self):
        """The :class:`Product` s, lines counted from 0."""
        blocks = max(1, self.together)
        groups = self._groups(blocks)
        for number, block in enumerate(range(0, self.head_blocks, blocks)):
            if blocks == 1:  # side by side
                line, stride = block * groups * self._cols // LINE_WORDS, self.words // LINE_WORDS
            else:
                stride = groups * self._cols // LINE_WORDS
                line = number * self.rows * blocks * stride
            yield Product(block, self.rows * blocks, groups, self.together > 0 and groups > 1, line, stride)

    @property
    def parts(self):
        """The :class:`Part` s of a row, lines counted from 0: all blocks if they follow each other."""
        if self.together <= 1 and self._cols <= BLOCK:
            return [Part(0, self.head_blocks, 0, self.words // LINE_WORDS)]
        found = []
        for product in self.products:
            first = product.block * BLOCK // self._cols * self._cols
            for n in range(product.rows // self.rows):
                column = (product.block + n) * BLOCK - first
                line = product.line + n * self.rows * product.stride + column // LINE_WORDS
                found.append(Part(product.block + n, 1, line, product.stride))
        return found

    @property
    def _cols(self):
        return self.config.tile.array.cols

    def _groups(self, blocks):
        return -(-blocks * BLOCK // self._cols)

    def _fit(self, blocks):
        columns, groups = blocks * BLOCK, self._groups(blocks)
        whole = blocks == self.head_blocks or not columns % self._cols or not self._cols % columns
        in_page = groups == 1 or self.config.memory.paging is not None
        short = groups == self._groups(1) or not self.short
        few = self.rows * blocks << (groups - 1).bit_length() <= self.config.tile.tokens
        return whole and in_page and short and few and self._step(blocks) <= blocks * self._step(1)

    def _step(self, blocks):
        """Cycles that the array takes for a step along K of a product of so many blocks."""
        segments = self.config.tile.array.segments
        product = dict(rows=blocks * self.rows, k_blocks=segments, groups=self._groups(blocks))
        return Timing(self.config).of(Opcode.MATMUL, product)[0]


def out_words(config, head_blocks):
    """By the number of rows, up to the accumulator's, the most words of so many or fewer."""
    each = (rows * Outputs(config, head_blocks, rows).words for rows in range(1, config.tile.tokens + 1))
    return tuple(accumulate(each, max, initial=0))
