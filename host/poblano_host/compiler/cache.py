"""Where the keys and values of attention lie in memory: in pages of positions, in the homes of the tiles that
stream them."""

from dataclasses import dataclass

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.weight_stream import ScaleFormat, step_bytes

from .image import align

__all__ = ["KVLayout", "KVPlaces", "Piece", "attended_heads"]

SCALE_BYTES = 4
LINE = 64
"""Bytes to which each head's cache is aligned."""


def attended_heads(heads, kv_heads, tiles):
    """For each tile [(KV head, first and last of its query heads)] if all heads are dealt out to the tiles:
    whole KV heads if there are enough of them."""
    split = lambda things: [(things * t // tiles, things * (t + 1) // tiles) for t in range(tiles)]
    group = heads // kv_heads
    if kv_heads >= tiles:
        return [[(kv, 0, group) for kv in range(first, end)] for first, end in split(kv_heads)]
    parts = lambda first, end: (
        (kv, max(first - kv * group, 0), min(end - kv * group, group)) for kv in range(kv_heads)
    )
    return [[part for part in parts(first, end) if part[2] > part[1]] for first, end in split(heads)]


@dataclass(frozen=True)
class Piece:
    """Bytes ``offset`` to ``offset + length`` of a block of a token's K or V, or its scale (``length`` 0).

    It lies at ``address``, bytes from the page's start, for its first position; ``position`` bytes are added
    for each position or, in K, ``group`` for each group of positions and ``column`` for each in the group;
    ``head`` from a KV head to the next.
    """

    address: int
    offset: int
    length: int
    head: int
    position: int = 0
    group: int = 0
    column: int = 0


class KVLayout:
    """A page of the caches of one attention operator in one home: all address arithmetic of K and V.

    A page holds K and V of :attr:`page` positions of all KV heads. With page tables it is a granule, and
    pages follow each other in the window; else there is one page, of the whole context.

    In a page, **K** of a KV head is a transposed weight stream with F32 scales: positions in groups of the
    array's C columns; a group holds, for each step of S blocks of the head, ``S*C`` scales and then, for each
    pass, C positions of R bytes. **V** of a KV head is a weight stream without scales: groups of C elements
    of the head, C bytes for each position. V's scales lie ``[block of the head][position]``.

    A token is written in pieces of ``min(R, 32)`` (K) and ``min(C, 32)`` (V) bytes and scales of 4: whole
    lines of 32 bytes from arrays of 32 rows and columns on, less on smaller arrays, because a stream has
    the bytes of C positions (K) or of C elements (V) side by side in the order in which they enter the
    array.

    Parameters
    ----------
    heads : KV heads in the home; head_dim : elements of a head, a multiple of 32
    context : positions of a sequence at most

    Members
    -------
    granule : positions that a product covers at least: whole blocks of 32, steps and array columns
    positions : of a sequence, a multiple of :attr:`granule`
    page : positions of a page; paged : whether there are page tables
    pitch : with page tables, bytes from a page to the next in the window, else 0
    size : bytes of all heads in a page
    """

    def __init__(self, config, heads, head_dim, context):
        array = config.tile.array
        self.array, self.heads, self.blocks = array, heads, head_dim // BLOCK
        self.granule = max(BLOCK * array.segments, array.cols)
        self.positions = align(context, self.granule)
        paging = config.memory.paging
        self.paged = paging is not None
        self.page, self.pitch = (self.granule, paging.stride) if self.paged else (self.positions, 0)
        self.steps = align(self.blocks, array.segments)
        self.step_bytes = step_bytes(config, scale=ScaleFormat.F32)
        self.group_bytes = self.step_bytes * self.steps // array.segments
        self.key_bytes = align(self.group_bytes * self.page // array.cols, LINE)
        self.value_bytes = align(align(head_dim, array.cols) * self.page, LINE)
        self.scale_bytes = SCALE_BYTES * self.page * self.blocks
        # V first: its rows in pages, of a power of two of bytes, are then each in one row of DRAM.
        self._keys = heads * self.value_bytes
        self._scales = self._keys + heads * self.key_bytes
        self.size = self._scales + heads * self.scale_bytes

    # Streams and loads, addresses from the cache's start. Granules may be Affine.

    def keys(self, head, first, granules):
        """(groups, operands of the STREAM) of K of ``granules`` granules of positions from number ``first``
        on."""
        groups = self.granule // self.array.cols
        rows = self._rows(self._keys + head * self.key_bytes, groups * self.group_bytes, first, granules)
        return granules * groups, rows

    def values(self, head, product, first, granules):
        """Operands of the STREAMs of V for a :class:`.outputs.Product`, for as many groups as each has,
        (groups, operands); if they are interleaved, all groups of a granule follow each other."""
        cols = self.array.cols
        row = self.page * cols
        offset = head * self.value_bytes + product.block * BLOCK // cols * row
        groups, size = product.groups, self.granule * cols
        if groups == 1 or product.interleaved:
            return [(groups, self._rows(offset, groups * size, first, granules))]
        if self.paged:
            return [(1, self._rows(offset + n * row, size, first, granules)) for n in range(groups)]
        rows = self._rows(offset, size, first, granules)
        return [(groups, rows | dict(rows=groups, mem_stride=row))]

    def _rows(self, offset, size, first, granules):
        """Operands of a command that reads ``size`` bytes of each granule, the first page's at ``offset``."""
        if self.paged:
            return dict(
                mem_addr=offset + first * self.pitch, row_bytes=size, rows=granules, mem_stride=self.pitch
            )
        return dict(mem_addr=offset + first * size, row_bytes=granules * size)

    def value_scales(self, head, first, granules, *, together=False):
        """V's scales, (block, address, stride, rows, lines of a row) of each LOAD: with page tables a row for
        each granule of a block, or with ``together`` of all blocks, else for each block from number ``block``
        on."""
        offset = self._scales + head * self.scale_bytes
        block, lines = SCALE_BYTES * self.page, self.granule // LINE_WORDS
        if self.paged:
            address = offset + first * self.pitch
            if together:
                return [(0, address, self.pitch, granules, self.blocks * lines)]
            return [(n, address + n * block, self.pitch, granules, lines) for n in range(self.blocks)]
        address = offset + first * (SCALE_BYTES * self.granule)
        return [(0, address, block, self.blocks, granules * lines)]

    # Stores of a token

    def key_pieces(self, head, block):
        """The :class:`Piece` s of a block of K: its scale, then its bytes for each pass."""
        array = self.array
        step, segment = divmod(block, array.segments)
        base = self._keys + head * self.key_bytes + step * self.step_bytes
        places = dict(head=self.key_bytes, group=self.group_bytes)
        yield Piece(base + SCALE_BYTES * segment * array.cols, 0, 0, column=SCALE_BYTES, **places)
        data, length = base + SCALE_BYTES * array.segments * array.cols, min(array.rows, BLOCK)
        for p in range(array.passes):
            at = data + p * array.cols * array.rows + segment * BLOCK
            yield Piece(at, p * length, length, column=array.rows, **places)

    def value_pieces(self, head, block):
        """The :class:`Piece` s of a block of V: its scale, then its bytes for each group of columns."""
        cols, length = self.array.cols, min(self.array.cols, BLOCK)
        scales = self._scales + head * self.scale_bytes + block * SCALE_BYTES * self.page
        yield Piece(scales, 0, 0, self.scale_bytes, position=SCALE_BYTES)
        base = head * self.value_bytes
        for part in range(BLOCK // length):
            group, column = divmod(block * BLOCK + part * length, cols)
            at = base + column + group * self.page * cols
            yield Piece(at, part * length, length, self.value_bytes, position=cols)

    def token_bytes(self, tokens, heads):
        """Bytes of K and V, scales included, of ``tokens`` positions of ``heads`` heads."""
        return tokens * heads * 2 * (BLOCK + SCALE_BYTES) * self.blocks


@dataclass(frozen=True)
class KVPlaces:
    """The caches of one attention operator in all homes: a KV head's in that of each tile that attends with
    it, so that no tile streams from another home.

    Parameters
    ----------
    layout : :class:`KVLayout` of a home's heads
    heads : for each home its KV heads (first, end)
    address : for each home that of the first page of the first sequence; of the window, with page tables
    pitch : bytes from a sequence's first page to the next sequence's
    """

    layout: KVLayout
    heads: tuple
    address: tuple
    pitch: int

    @classmethod
    def place(cls, image, attention, context, slots, config):
        """Room in ``image`` for the caches of an Attention over ``context`` positions of ``slots``
        sequences."""
        if config.memory.homes == 1:
            heads = [(0, attention.kv_heads)]
        else:
            attended = attended_heads(attention.heads, attention.kv_heads, config.tiles)
            heads = [
                _span(kv for tile in config.topology.tiles_of(home) for kv, _, _ in attended[tile])
                for home in range(config.memory.homes)
            ]
        layout = KVLayout(config, max(end - first for first, end in heads), attention.head_dim, context)
        paging = config.memory.paging
        if paging is None:
            return cls(layout, tuple(heads), tuple(image.reserve_caches(slots * layout.size)), layout.size)
        pitch = paging.pages * paging.stride
        return cls(layout, tuple(heads), tuple(image.reserve_in_page(layout.size)), pitch)

    def in_memory(self, config):
        """The part of the caches that lies in memory, not in KV buffers, from 0 to 1."""
        size = self.layout.size
        held = sum(
            max(0, min(address + size, end) - max(address, first))
            for address, (first, end) in zip(self.address, config.memory.kv_buffers)
        )
        return 1 - held / (size * len(self.address))

    def runs(self, head, heads):
        """(address of a home's caches, KV head, its number in the home, heads from it on) for each home that
        has some of the ``heads`` KV heads from ``head`` on."""
        for address, (first, end) in zip(self.address, self.heads):
            start, stop = max(head, first), min(head + heads, end)
            if stop > start:
                yield address, start, start - first, stop - start


def _span(numbers):
    """(first, end) of consecutive numbers."""
    numbers = sorted(numbers)
    return (numbers[0], numbers[-1] + 1) if numbers else (0, 0)
