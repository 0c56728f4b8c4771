"""K and V of a step's tokens from activation memory to their caches, in each home that has some."""

from poblano.config import BLOCK

from ..cache import SCALE_BYTES
from ..symbols import column, group, position
from .step import local

__all__ = ["cache_names", "store"]


def cache_names(s, node, kind, item):
    """Names of the keys or values that an :class:`..plan.Item` sees, in the parts that are written apart."""
    seen = [tokens for tokens in s.plan.projected if tokens[0] < item.end]
    return [(kind, node.name, item.kv, tile, tokens) for tokens in seen for tile in s.tiles]


def store(s, node, k, v, tokens):
    """K and V of ``tokens`` of the Attention ``node``, the results of the Linears ``k`` and ``v``."""
    places = s.memory.cache(node)
    layout = places.layout
    parts = (("keys", k, s.plan.keys, layout.key_pieces), ("values", v, s.plan.values, layout.value_pieces))
    for tile in s.tiles:
        for kind, linear, source, pieces in parts:
            first, end = s.memory.matrix(linear.weight).ranges[tile]
            for run, block, count in _runs(s, first // BLOCK, end // BLOCK):
                for base, head, own, heads in places.runs(run, count):
                    at = source + head * s.sizes.head_blocks + block - first // BLOCK
                    names = [(kind, node.name, kv, tile, tokens) for kv in range(head, head + heads)]
                    for piece in pieces(own, block):
                        blocks, label = (end - first) // BLOCK, local(linear)
                        _store(s, tile, tokens, at, blocks, heads, piece, base, names, label)


def _store(s, tile, tokens, source, blocks, heads, piece, base, names, label):
    """A piece of a block for several tokens, or of a single token for ``heads`` heads."""
    emit = lambda src, src_stride, rows, address, stride: s.builder.store_block(
        tile,
        src,
        src_stride,
        rows,
        piece.offset,
        piece.length,
        address,
        stride,
        writes=names,
        label=f"{label}.store",
    )
    address = position * piece.position + group * piece.group + column * piece.column + (base + piece.address)
    if s.count == 1:
        emit(source, s.sizes.head_blocks, heads, address, piece.head)
        return
    cols, (at, end) = s.array.cols, tokens
    while at < end:
        run, address = end - at, position * piece.position + (base + piece.address + at * piece.position)
        before, inside = divmod(s.shape.column + at, cols)
        if piece.group:  # up to the end of a group of the K cache
            run = min(run, cols - inside)
            address = group * piece.group + (
                base + piece.address + before * piece.group + inside * piece.column
            )
        if not piece.length:
            run = _scales(inside, run, s.config.memory.data_bytes // SCALE_BYTES)
        emit(source + at * blocks, blocks, run, address, piece.column or piece.position)
        at += run


def _scales(first, count, words):
    """How many of ``count`` scales from ``first`` on a command stores: where they are whole beats of
    ``words``, those, as they are written at once; else those before."""
    before = -first % words
    whole = (count - before) // words * words
    return count if whole <= 0 else before or whole


def _runs(s, first, end):
    """(KV head, block of the head, number of heads) of a tile's blocks: of a single token, runs of heads."""
    places = sorted((n % s.sizes.head_blocks, n // s.sizes.head_blocks) for n in range(first, end))
    runs = []
    for block, kv in places:
        if s.count == 1 and runs and runs[-1][1] == block and runs[-1][0] + runs[-1][2] == kv:
            runs[-1][2] += 1
        else:
            runs.append([kv, block, 1])
    return [tuple(run) for run in runs]
