"""K and V of a step's tokens from activation memory to their caches, in each home that has some."""

from poblano.config import BLOCK

from ..cache import SCALE_BYTES
from ..symbols import column, group, position, skipped
from .step import local

__all__ = ["cache_names", "store"]


def cache_names(s, node, kind, item):
    """Names of the keys or values that an :class:`..plan.Item` sees, in the parts that are written apart."""
    seen = [tokens for tokens in s.plan.projected if tokens[0] < item.end]
    return [_name(s, kind, node, item.kv, tile, item.part, tokens) for tokens in seen for tile in s.tiles]


def _name(s, kind, node, kv, tile, part, tokens):
    """That of what a tile writes of a KV head: of all parts together, or of a ``part`` alone."""
    return kind, node.name, kv, tile, part if s.plan.stored_apart else None, tokens


def store(s, node, k, v, tokens):
    """K and V of ``tokens`` of the Attention ``node``, the results of the Linears ``k`` and ``v``."""
    kinds = (("keys", k, s.plan.keys), ("values", v, s.plan.values))
    for tile in s.tiles:
        for kind, linear, source in kinds:
            for part in s.shape.split(*tokens):
                _store(s, node, tile, linear, kind, source, part, tokens)


def _store(s, node, tile, linear, kind, source, part, tokens):
    """Those columns of a part's tokens that a tile has; of a single token several heads at once."""
    places, (number, at, end) = s.memory.cache(node), part
    single = s.shape.parts[number].count == 1
    pieces = places.layout.key_pieces if kind == "keys" else places.layout.value_pieces
    first, last = (column // BLOCK for column in s.memory.matrix(linear.weight).ranges[tile])
    for run, block, count in _runs(s, first, last, single):
        for base, head, own, heads in places.runs(run, count):
            of_head = source + head * s.sizes.head_blocks + block - first
            names = [_name(s, kind, node, kv, tile, number, tokens) for kv in range(head, head + heads)]
            slots = s.caches(number, places) + base
            for piece in pieces(own, block):
                for token, rows, address, stride in _rows(s, places.layout, number, at, end, piece):
                    s.builder.store_block(
                        tile,
                        of_head + token * (last - first),
                        s.sizes.head_blocks if single else last - first,
                        heads if single else rows,
                        piece.offset,
                        piece.length,
                        address + slots,
                        piece.head if single else stride,
                        writes=names,
                        label=f"{local(linear)}.store",
                    )


def _rows(s, layout, number, first, end, piece):
    """(first token, tokens, address for slot 0, stride) of commands that store a piece of tokens ``first`` to
    ``end``, of the part ``number``."""
    part, begin, cols = s.shape.parts[number], s.shape.firsts[number], s.array.cols
    by_position, by_group = position.of(number) * piece.position, group.of(number) * piece.group
    page = skipped(0).of(number) if layout.paged else 0
    if part.count == 1:
        inside = layout.page * piece.position + layout.page // cols * piece.group
        by_page = page * (layout.pitch - inside) if layout.paged else 0
        yield first, 1, by_position + by_group + by_page + column.of(number) * piece.column + piece.address, 0
        return
    at = first
    while at < end:
        place, run = part.column + at - begin, end - at
        if layout.paged:
            pages, place = divmod(place, layout.page)
            run = min(run, layout.page - place)
            address = (page + pages) * layout.pitch + (piece.address + place * piece.position)
        else:
            address = by_position + (piece.address + (at - begin) * piece.position)
        before, inside = divmod(place, cols)
        if piece.group:  # up to the end of a group of the K cache
            run = min(run, cols - inside)
            groups = piece.address + before * piece.group + inside * piece.column
            address = ((page + pages) * layout.pitch if layout.paged else by_group) + groups
        if not piece.length:
            run = _scales(inside, run, s.config.memory.data_bytes // SCALE_BYTES)
        yield at, run, address, piece.column or piece.position
        at += run


def _scales(first, count, words):
    """How many of ``count`` scales from ``first`` on a command stores: where they are whole beats of
    ``words``, those, as they are written at once; else those before."""
    before = -first % words
    whole = (count - before) // words * words
    return count if whole <= 0 else before or whole


def _runs(s, first, end, single):
    """(KV head, block of the head, number of heads) of a tile's blocks: of a ``single`` token, runs of
    heads."""
    places = sorted((n % s.sizes.head_blocks, n // s.sizes.head_blocks) for n in range(first, end))
    runs = []
    for block, kv in places:
        if single and runs and runs[-1][1] == block and runs[-1][0] + runs[-1][2] == kv:
            runs[-1][2] += 1
        else:
            runs.append([kv, block, 1])
    return [tuple(run) for run in runs]
