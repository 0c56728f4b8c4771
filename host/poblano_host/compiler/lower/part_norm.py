"""Norms of a projection's results that other projections read: whole rows in the tiles that own the tokens,
quantised and broadcast to all tiles."""

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import Sink

from .linear import load_vector, whole_rows
from .norm import normalise
from .step import Quantised, local

__all__ = ["lower"]


def lower(s, node):
    gain, number, name = load_vector(s, node), s.memory.part_norm_index(node), local(node)
    base, blocks = s.plan.rows[number], s.sizes.part_norms[number]
    s.clear_padding(base, s.count, blocks, node.width // BLOCK, s.formats.linear, f"{name}.padding")
    s.values[node.name] = Quantised(base, blocks)
    product, stride = s.values[node.inputs[0]], s.plan.lines(1, node.width)
    line = s.plan.whole_row(number)
    for group in range(len(s.groups.bounds)):
        s.builder.group, at = group, line + s.groups.row(group) * stride
        whole_rows(s, product, group, at)
        for owner in s.groups.owners(group):
            first, end = s.groups.owned(group, owner)
            _quantise(
                s, owner, node, gain, dict(rows=end - first, a_stride=stride), at, base + first * blocks
            )
    s.builder.group = 0


def _quantise(s, tile, node, gain, rows, line, block):
    """Rows at ``line`` of a tile, normed, to all tiles from ``block`` on."""
    stride, normed = s.sizes.part_norms[s.memory.part_norm_index(node)], node.elements // BLOCK
    result = dict(sink=Sink.QUANTISE, activation=s.formats.linear, dst_stride=stride)
    source = dict(rows, a=line, blocks=normed)
    place = source | result | dict(dst=block)
    normalise(s, tile, node, source, node.elements, gain, s.plan.whole_row(2), tiles=s.tiles, **place)
    if node.elements < node.width:
        s.builder.vector(
            tile,
            s.tiles,
            **rows,
            **result,
            a=line + node.elements // LINE_WORDS,
            blocks=node.width // BLOCK - normed,
            dst=block + normed,
            label=f"{local(node)}.rest",
        )
