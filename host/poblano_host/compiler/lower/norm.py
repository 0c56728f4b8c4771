"""RMS norms: each owner's rows of the residual, quantised and broadcast to all tiles."""

import math

from poblano.config import BLOCK
from poblano.isa.vector_ops import AluOp, Reduce, Select, SfuOp, Sink

from ...models.experts import Experts
from ...models.operators import Norm
from ..plan import LINES, PIECE
from .linear import append
from .step import Product, Quantised, local, row_pieces

__all__ = ["load_first_gains", "load_next_gain", "lower", "normalise", "parts", "reciprocal_root", "sizes_of"]


def lower(s, node):
    (x,), plan = node.inputs, s.plan
    if isinstance(s.values[x], Product):  # it is normalised where it is added to the residual
        append(s, node)
        return
    for first, group, tile, row, rows, at in parts(s, node):
        squares = plan.squares[group] + at // PIECE * LINES
        source = dict(a=plan.x + row * s.dim_lines, a_stride=s.dim_lines, rows=rows)
        normalise(
            s,
            tile,
            node,
            source | dict(blocks=s.sizes.dim // BLOCK),
            s.sizes.dim,
            plan.gains[s.memory.norm_index(node)],
            squares,
            tiles=s.tiles,
            summed=x in s.squares and not _one(s, node),
            **source,
            **sizes_of(s, first),
        )
        if s.count > 1 and any(isinstance(user, Experts) for user in s.graph.consumers(node.name)):
            _deal(s, node, tile, first, source, squares)
    s.builder.group = 0
    load_next_gain(s, node)
    s.values[node.name] = Quantised(s.normed, s.sizes.dim_blocks)


def _deal(s, node, tile, first, source, squares):
    """Normalised rows from token ``first`` on in FP32: to each tile what it gathers of them."""
    room, gain = s.plan.experts, s.plan.gains[s.memory.norm_index(node)]
    for other, (block, end) in enumerate(room.blocks):
        if end > block:
            s.builder.vector(
                tile,
                [other],
                **source | dict(a=source["a"] + block * LINES),
                blocks=end - block,
                b=gain + block * LINES,
                op1=AluOp.MUL,
                sel1=Select.B,
                op2=AluOp.MUL,
                sel2=Select.ROW,
                c=squares,
                sink=Sink.VMEM,
                dst=room.normed + first * room.part,
                dst_stride=room.part,
                label=f"{local(node)}.deal",
            )


def normalise(s, tile, node, source, elements, gain, squares, *, tiles=None, summed=False, **result):
    """Rows times the gain at line ``gain`` over their root mean square of ``elements`` elements.

    ``source`` are operand a and the size of the rows, ``result`` the same, and the result's place; their sums
    of squares come to, or with ``summed`` are at, line ``squares``.
    """
    name = local(node)
    if not summed:
        s.builder.vector(tile, **source, reduce=Reduce.SUM_SQUARES, r=squares, label=f"{name}.squares")
    reciprocal_root(s, tile, node, elements, squares, source["rows"])
    s.builder.vector(
        tile,
        tiles,
        b=gain,
        op1=AluOp.MUL,
        sel1=Select.B,
        op2=AluOp.MUL,
        sel2=Select.ROW,
        c=squares,
        label=f"{name}.scale",
        **result,
    )


def reciprocal_root(s, tile, node, elements, squares, rows):
    """1 / sqrt(mean + eps) of the sums of squares of ``elements`` elements at line ``squares``, in place."""
    s.builder.vector(
        tile,
        blocks=-(-rows // BLOCK),
        a=squares,
        op1=AluOp.ADD,
        sel1=Select.IMMEDIATE,
        imm1=elements * node.eps,
        sfu=SfuOp.RSQRT,
        op2=AluOp.MUL,
        sel2=Select.IMMEDIATE,
        imm2=math.sqrt(elements),
        sink=Sink.VMEM,
        dst=squares,
        label=f"{local(node)}.rsqrt",
    )


def sizes_of(s, first):
    """Operands of a command that quantises whole rows of tokens from ``first`` on, for projections."""
    return dict(
        blocks=s.sizes.dim_blocks,
        limit=s.sizes.dim,
        sink=Sink.QUANTISE,
        activation=s.formats.linear,
        dst=s.normed + first * s.sizes.dim_blocks,
        dst_stride=s.sizes.dim_blocks,
    )


def load_next_gain(s, node):
    """The gain of the next layer's norm in place of that of ``node``, which has been used."""
    following, name = s.memory.following_gain(node, s.last), local(node)
    if following is not None and (s.shape.logits or s.graph.layer(node.name) < s.last):
        _load_gain(s, s.memory.norm_index(node), following, f"{name}.next_gain")


def load_first_gains(s):
    """The gains of the first layer; each further one is loaded when the one before has been used."""
    s.builder.group = -2 * len(s.groups.bounds) - 1
    for index, node in enumerate(node for node in s.graph.layers[0] if isinstance(node, Norm)):
        _load_gain(s, index, s.memory.gain(node), f"{local(node)}.gain")
    s.builder.group = 0


def _load_gain(s, index, address, label):
    """The gain at ``address`` to the place of a layer's ``index``-th norm, in every tile."""
    s.builder.load(s.tiles, address, 0, s.plan.gains[index], 0, 1, LINES * s.sizes.dim_blocks, label=label)


def _one(s, node):
    """Whether only the last of several tokens is wanted."""
    return s.shape.logits == 1 and s.count > 1 and s.graph.layer(node.name) is None


def parts(s, node):
    """(first token, group, tile, first of the tile's own rows, rows, first of its rows of the group) of what
    is normalised at once; the builder's group is theirs."""
    last = len(s.groups.bounds) - 1
    # Where tokens are projected apart, others' attention goes first: a product has to wait for it.
    later = len(s.plan.projected) > 1
    if _one(s, node):
        tile = s.groups.owners(last)[-1]
        first, end = s.groups.owned(last, tile)
        s.builder.group = last + later
        yield s.count - 1, last, tile, s.groups.row(last) + end - 1 - first, 1, 0
        return
    for group in range(last + 1):
        s.builder.group = group + later
        for tile in s.groups.owners(group):
            first = s.groups.owned(group, tile)[0]
            if node.inputs[0] in s.squares:
                yield first, group, tile, *s.own_rows(group, tile), 0
                continue
            for at, row, rows in row_pieces(s, group, tile):
                yield first + at, group, tile, row, rows, at
