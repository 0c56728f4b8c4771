"""Projections: they are computed where their results are used."""

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Select, Sink

from .step import Product, Quantised, Residual, local

__all__ = ["add_bias", "append", "append_vector", "load_vector", "lower", "quantised", "ranges", "whole_rows"]


def lower(s, node):
    if node.bias is not None:
        load_vector(s, node)
    s.values[node.name] = Product(node, quantised(s, node))


def load_vector(s, node):
    """What an operator adds or multiplies by, to every tile; its line."""
    index, address, words = s.memory.vector(node)
    place, lines = s.plan.vectors[index], words // LINE_WORDS
    s.builder.load(s.tiles, address, 0, place, 0, 1, lines, label=f"{local(node)}.load")
    return place


def quantised(s, node):
    """The input of a Linear in blocks; the residual itself is quantised where no norm is before."""
    x = s.values[node.inputs[0]]
    if not isinstance(x, Residual):
        return x
    blocks = s.sizes.dim_blocks
    for group in range(len(s.groups.bounds)):
        for tile in s.groups.owners(group):
            row, rows = s.own_rows(group, tile)
            s.builder.vector(
                tile,
                s.tiles,
                rows=rows,
                blocks=blocks,
                limit=s.sizes.dim,
                a=s.plan.x + row * s.dim_lines,
                a_stride=s.dim_lines,
                sink=Sink.QUANTISE,
                activation=s.formats.linear,
                dst=s.normed + s.groups.owned(group, tile)[0] * blocks,
                dst_stride=blocks,
                label=f"{local(node)}.quantise",
            )
    return Quantised(s.normed, blocks)


def append(s, node):
    """An operator that is applied to a projection's results as they come."""
    product = s.values[node.inputs[0]]
    s.values[node.name] = Product(product.node, product.x, (*product.after, node))


def append_vector(s, node):
    """The same of an operator with a vector of its own."""
    load_vector(s, node)
    append(s, node)


def ranges(s, node, tile, columns):
    """A tile's output columns of a Linear in chunks of ``columns``."""
    first, end = s.memory.matrix(node.weight).ranges[tile]
    return [(at, min(at + columns, end)) for at in range(first, end, columns)]


def whole_rows(s, product, group, line):
    """The rows of a :class:`.step.Product` for the tokens of ``group``, from ``line`` on in the tiles that
    own the tokens."""
    stride, bounds = s.plan.lines(1, product.node.width), s.groups.bounds[group]
    for tile in s.tiles:
        for span in ranges(s, product.node, tile, s.plan.qkv.columns):
            at = line + span[0] // LINE_WORDS
            s.product(product.node, tile, span, bounds, product.x, at, stride, **s.owners(group))


def add_bias(s, node, tile, line, stride, rows, columns):
    """Adds a Linear's bias to ``rows`` rows of its results for ``columns``, where it has one."""
    if node.bias is None:
        return
    first, end = columns
    at = s.plan.vectors[s.memory.vector(node)[0]] + first // LINE_WORDS
    s.builder.vector(
        tile,
        rows=rows,
        blocks=-(-(end - first) // BLOCK),
        a=line,
        a_stride=stride,
        b=at,
        op1=AluOp.ADD,
        sel1=Select.B,
        sink=Sink.VMEM,
        dst=line,
        dst_stride=stride,
        label=f"{local(node)}.bias",
    )
