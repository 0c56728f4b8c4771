"""Where keys and values lie: every byte of a cache once, in the order in which a product streams it."""

import numpy as np
import pytest

from poblano.compute.reference import pack_weights
from poblano.config import BLOCK, PagingConfig
from poblano.isa.weight_stream import Element, ScaleFormat
from poblano_host.compiler.cache import KVLayout
from poblano_host.compiler.outputs import Product
from tests.models_tiny import chip

SHAPES = [(4, 4, 2), (16, 16, 2), (8, 8, 1), (64, 64, 3), (128, 64, 1), (32, 16, 2), (4, 16, 1)]


def array(rows, cols):
    lanes = min(rows, cols, 8)
    return chip(rows=rows, cols=cols, lanes=lanes, tiles=1, data_width=32 * lanes)


def layout(rows, cols, heads, context=130, *, paged=False):
    config = array(rows, cols)
    return KVLayout(config.with_memory(paging=PAGING) if paged else config, heads, 64, context)


PAGING = PagingConfig(slots=1, pages=16)
PAGED = pytest.mark.parametrize("paged", [False, True])


class Cache:
    """All pages of a layout, with the addresses of the window, if there are any."""

    def __init__(self, kv):
        self.kv = kv
        self.pages = [np.zeros(kv.size, np.uint8) for _ in range(kv.positions // kv.page)]

    def place(self, piece, position):
        """(page, offset) of a piece."""
        page, position = divmod(position, self.kv.page)
        group, column = divmod(position, self.kv.array.cols)
        at = piece.address + position * piece.position + group * piece.group + column * piece.column
        return page, at

    def write(self, piece, position, data):
        page, at = self.place(piece, position)
        self.pages[page][at : at + len(data)] = np.frombuffer(data, np.uint8)

    def stream(self, operands):
        """The bytes that a STREAM reads."""
        o = {"rows": 1, "mem_stride": 0} | operands
        data = b""
        for row in range(o["rows"]):
            at = o["mem_addr"] + row * o["mem_stride"]
            page, at = divmod(at, self.kv.pitch) if self.kv.paged else (0, at)
            assert at + o["row_bytes"] <= self.kv.size
            data += self.pages[page][at : at + o["row_bytes"]].tobytes()
        return data


@PAGED
@pytest.mark.parametrize("rows, cols, heads", SHAPES)
def test_every_byte_once(rows, cols, heads, paged):
    """No two pieces of any token, head and block share a byte; all lie in the cache."""
    kv = layout(rows, cols, heads, paged=paged)
    cache = Cache(kv)
    written = np.zeros((len(cache.pages), kv.size), int)
    for head in range(heads):
        for block in range(kv.blocks):
            for piece in (*kv.key_pieces(head, block), *kv.value_pieces(head, block)):
                for position in range(kv.positions):
                    page, at = cache.place(piece, position)
                    written[page, at : at + (piece.length or 4)] += 1
    assert written.max() == 1
    assert written.sum() == kv.token_bytes(kv.positions, heads)


@PAGED
@pytest.mark.parametrize("rows, cols, heads", SHAPES)
def test_keys_are_a_transposed_stream_of_weights(rows, cols, heads, paged):
    """The bytes that the pieces write are those that pack_weights gives for K transposed."""
    kv = layout(rows, cols, heads, paged=paged)
    config = array(rows, cols)
    generator = np.random.default_rng(0)
    q = generator.integers(-128, 128, (kv.steps * BLOCK, kv.positions))
    scale = generator.standard_normal((kv.steps, kv.positions)).astype(np.float32)
    q[kv.blocks * BLOCK :], scale[kv.blocks :] = 0, 0
    cache = Cache(kv)
    for block in range(kv.blocks):
        for piece in kv.key_pieces(heads - 1, block):
            for position in range(kv.positions):
                if piece.length:
                    first = block * BLOCK + piece.offset
                    data = q[first : first + piece.length, position].astype(np.int8).tobytes()
                else:
                    data = scale[block, position].tobytes()
                cache.write(piece, position, data)
    groups, stream_of_keys = kv.keys(heads - 1, 0, kv.positions // kv.granule)
    stream = pack_weights(
        q, scale, None, config, element=Element.S8, scale_format=ScaleFormat.F32, transpose=True
    )
    assert groups == kv.positions // cols and cache.stream(stream_of_keys) == stream
    count = kv.positions // kv.granule
    groups, last = kv.keys(heads - 1, count - 1, 1)
    assert groups == kv.granule // cols
    assert cache.stream(last) == stream[(count - 1) * len(stream) // count :]


@PAGED
@pytest.mark.parametrize("rows, cols, heads", SHAPES)
def test_values_are_streams_of_blocks(rows, cols, heads, paged):
    """The rows that products over a block stream: for each group of columns, those of each position."""
    kv = layout(rows, cols, heads, paged=paged)
    head, cache = heads - 1, Cache(kv)
    q = np.random.default_rng(1).integers(0, 256, (kv.positions, kv.blocks * BLOCK)).astype(np.uint8)
    for block in range(kv.blocks):
        for piece in kv.value_pieces(head, block):
            for position in range(kv.positions):
                first = block * BLOCK + piece.offset
                cache.write(piece, position, q[position, first : first + piece.length].tobytes())
    count = kv.positions // kv.granule
    several = max(1, BLOCK // cols)
    products = [(block, several, False) for block in range(kv.blocks)]
    products += [(0, kv.blocks * BLOCK // cols, True)] if paged and kv.blocks * BLOCK > cols else []
    for first, granules in ((0, count), (1, count - 1)):
        seen = q[first * kv.granule :][: granules * kv.granule]
        for block, several, interleaved in products:
            product = Product(block, 1, several, interleaved, 0, 0)
            streams = kv.values(head, product, first, granules)
            assert sum(count for count, _ in streams) == several
            data = np.frombuffer(b"".join(cache.stream(operands) for _, operands in streams), np.uint8)
            if interleaved:
                groups = data.reshape(granules, several, kv.granule, cols).swapaxes(0, 1)
            else:
                groups = data.reshape(several, len(seen), cols)
            for number, group in enumerate(groups.reshape(several, len(seen), cols)):
                at = block * BLOCK // cols * cols + number * cols
                np.testing.assert_array_equal(group, np.pad(seen, ((0, 0), (0, cols)))[:, at : at + cols])


@PAGED
def test_scales_of_values(paged):
    """What LOADs read of V's scales, a line for each 8 positions of a block."""
    kv = layout(16, 16, 2, paged=paged)
    cache, scales = Cache(kv), np.arange(kv.blocks * kv.positions, dtype=np.float32).reshape(kv.blocks, -1)
    for block in range(kv.blocks):
        piece = next(iter(kv.value_pieces(1, block)))
        for position in range(kv.positions):
            cache.write(piece, position, scales[block, position].tobytes())
    found = {}
    for block, address, stride, rows, lines in kv.value_scales(1, 1, 2):
        form = dict(mem_addr=address, mem_stride=stride, rows=rows, row_bytes=32 * lines)
        data = np.frombuffer(cache.stream(form), np.float32).reshape(rows, -1)
        found |= {block: data.ravel()} if paged else dict(enumerate(data, block))
    for block in range(kv.blocks):
        np.testing.assert_array_equal(found[block], scales[block, kv.granule : 3 * kv.granule])


def test_whole_lines_from_32_rows_and_columns_on():
    """What a write of a token costs: whole lines of 32 bytes where the array has 32 rows and columns."""
    lengths = lambda kv: {p.length for p in (*kv.key_pieces(0, 0), *kv.value_pieces(0, 0)) if p.length}
    assert lengths(layout(64, 64, 1)) == {32} and lengths(layout(32, 32, 1)) == {32}
    assert lengths(layout(16, 16, 1)) == {16} and lengths(layout(4, 16, 1)) == {4, 16}


def test_positions_beyond_the_context_fill_a_granule():
    kv = layout(64, 64, 1, context=65)
    assert kv.granule == 64 and kv.positions == 128
