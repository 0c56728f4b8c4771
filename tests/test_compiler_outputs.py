"""Where the products of probabilities and V put an item's outputs."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.config import BLOCK, LINE_WORDS, preset
from poblano_host.compiler.outputs import Outputs, out_words

SIZES = [(16, 16), (32, 8), (64, 32), (64, 64), (64, 128)]


def outputs(rows, cols, blocks, count, *, paged, short=False):
    config = preset("desk")
    memory = config.memory if paged else replace(config.memory, paging=None)
    array = replace(config.tile.array, rows=rows, cols=cols)
    tile = replace(config.tile, array=array, scalers=min(cols, 32), lanes=8)
    return Outputs(replace(config, tile=tile, memory=memory), blocks, count, short)


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("rows, cols", SIZES)
def test_every_output_is_where_its_part_says(rows, cols, blocks, short, paged):
    """Of the words that products write, those of a row and of a block's own probabilities are its part's."""
    for count in (1, 2, 3, 8, 16):
        of = outputs(rows, cols, blocks, count, paged=paged, short=short)
        words = np.full((count * of.words, 3), -1)  # row, block of the probabilities, column of the head
        for product in of.products:
            first = product.block * BLOCK // cols * cols
            for row in range(product.rows):
                block, head = divmod(row, count)
                at = (product.line + row * product.stride) * LINE_WORDS
                columns = first + np.arange(product.groups * cols)
                assert (words[at : at + len(columns)] == -1).all()
                words[at : at + len(columns)] = [(head, product.block + block, c) for c in columns]
        seen = []
        for part in of.parts:
            for row in range(count):
                at = (part.line + row * part.stride) * LINE_WORDS
                for n, (head, block, column) in enumerate(words[at : at + part.blocks * BLOCK]):
                    assert (head, column) == (row, part.block * BLOCK + n)
                    assert block == column // BLOCK
            seen += range(part.block, part.block + part.blocks)
        assert seen == list(range(blocks))


@pytest.mark.parametrize(
    "sizes, blocks, count, together",
    [
        ((64, 64), 2, 4, 2),  # V is read once, in columns that lie side by side
        ((64, 64), 4, 4, 2),  # without pages groups lie apart
        ((16, 16), 2, 3, 0),
    ],
)
def test_without_pages(sizes, blocks, count, together):
    assert outputs(*sizes, blocks, count, paged=False).together == together


@pytest.mark.parametrize(
    "sizes, blocks, count, short, together",
    [
        ((16, 16), 2, 3, False, 2),  # a whole head, page by page
        ((16, 16), 2, 3, True, 1),
        ((16, 16), 2, 16, False, 1),  # the array would take twice as long
        ((64, 64), 4, 4, False, 4),
        ((64, 64), 4, 4, True, 2),
        ((16, 16), 2, 100, False, 0),  # more than there are accumulators for two groups
    ],
)
def test_with_pages(sizes, blocks, count, short, together):
    assert outputs(*sizes, blocks, count, paged=True, short=short).together == together


def test_room():
    """There is room for the outputs of any fewer rows too."""
    config = preset("desk")
    words = out_words(config, 2)
    assert len(words) == config.tile.tokens + 1
    for rows in range(1, config.tile.tokens + 1):
        assert words[rows] >= max(n * Outputs(config, 2, n).words for n in range(1, rows + 1))
