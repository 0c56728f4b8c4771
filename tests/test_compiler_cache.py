"""Where keys and values lie: every byte of a cache once, in the order in which a product streams it."""

import numpy as np
import pytest

from poblano.compute.reference import pack_weights
from poblano.config import BLOCK
from poblano.isa.weight_stream import Element, ScaleFormat
from poblano_host.compiler.cache import KVLayout
from tests.models_tiny import chip

SHAPES = [(4, 4, 2), (16, 16, 2), (8, 8, 1), (64, 64, 3), (128, 64, 1), (32, 16, 2), (4, 16, 1)]


def array(rows, cols):
    lanes = min(rows, cols, 8)
    return chip(rows=rows, cols=cols, lanes=lanes, tiles=1, data_width=32 * lanes)


def layout(rows, cols, heads, context=130):
    return KVLayout(array(rows, cols), heads, 64, context)


def address(piece, cols, position):
    group, column = divmod(position, cols)
    return piece.address + position * piece.position + group * piece.group + column * piece.column


@pytest.mark.parametrize("rows, cols, heads", SHAPES)
def test_every_byte_once(rows, cols, heads):
    """No two pieces of any token, head and block share a byte; all lie in the cache."""
    kv = layout(rows, cols, heads)
    written = np.zeros(kv.size, int)
    for head in range(heads):
        for block in range(kv.blocks):
            for piece in (*kv.key_pieces(head, block), *kv.value_pieces(head, block)):
                for position in range(kv.positions):
                    at = address(piece, cols, position)
                    written[at : at + (piece.length or 4)] += 1
    assert written.max() == 1
    assert written.sum() == kv.token_bytes(kv.positions, heads)


@pytest.mark.parametrize("rows, cols, heads", SHAPES)
def test_keys_are_a_transposed_stream_of_weights(rows, cols, heads):
    """The bytes that the pieces write are those that pack_weights gives for K transposed."""
    kv = layout(rows, cols, heads)
    config = array(rows, cols)
    generator = np.random.default_rng(0)
    q = generator.integers(-128, 128, (kv.steps * BLOCK, kv.positions))
    scale = generator.standard_normal((kv.steps, kv.positions)).astype(np.float32)
    q[kv.blocks * BLOCK :], scale[kv.blocks :] = 0, 0
    cache = np.zeros(kv.size, np.uint8)
    for block in range(kv.blocks):
        for piece in kv.key_pieces(heads - 1, block):
            for position in range(kv.positions):
                if piece.length:
                    first = block * BLOCK + piece.offset
                    data = q[first : first + piece.length, position].astype(np.int8).tobytes()
                else:
                    data = scale[block, position].tobytes()
                at = address(piece, cols, position)
                cache[at : at + len(data)] = np.frombuffer(data, np.uint8)
    offset, size, groups = kv.keys(heads - 1, kv.positions // kv.granule)
    stream = pack_weights(
        q, scale, None, config, element=Element.S8, scale_format=ScaleFormat.F32, transpose=True
    )
    assert groups == kv.positions // cols and cache[offset : offset + size].tobytes() == stream


@pytest.mark.parametrize("rows, cols, heads", SHAPES)
def test_values_are_streams_of_blocks(rows, cols, heads):
    """The rows that a product over a block streams: for each group of columns, those of each position."""
    kv = layout(rows, cols, heads)
    head, cache = heads - 1, np.zeros(kv.size, np.uint8)
    q = np.random.default_rng(1).integers(0, 256, (kv.positions, kv.blocks * BLOCK)).astype(np.uint8)
    for block in range(kv.blocks):
        for piece in kv.value_pieces(head, block):
            for position in range(kv.positions):
                at = address(piece, cols, position)
                first = block * BLOCK + piece.offset
                cache[at : at + piece.length] = q[position, first : first + piece.length]
    granules = kv.positions // kv.granule
    for block in range(kv.blocks):
        offset, size, groups, stride = kv.values(head, block, granules)
        for group in range(groups):
            row = cache[offset + group * stride :][:size].reshape(kv.positions, cols)
            first = block * BLOCK // cols * cols + group * cols
            np.testing.assert_array_equal(row, np.pad(q, ((0, 0), (0, cols)))[:, first : first + cols])


def test_whole_lines_from_32_rows_and_columns_on():
    """What a write of a token costs: whole lines of 32 bytes where the array has 32 rows and columns."""
    lengths = lambda kv: {p.length for p in (*kv.key_pieces(0, 0), *kv.value_pieces(0, 0)) if p.length}
    assert lengths(layout(64, 64, 1)) == {32} and lengths(layout(32, 32, 1)) == {32}
    assert lengths(layout(16, 16, 1)) == {16} and lengths(layout(4, 16, 1)) == {4, 16}


def test_positions_beyond_the_context_fill_a_granule():
    kv = layout(64, 64, 1, context=65)
    assert kv.granule == 64 and kv.positions == 128
