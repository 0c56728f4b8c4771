"""RMS norms: each owner's rows of the residual, quantised and broadcast to all tiles."""

import math

from poblano.config import BLOCK
from poblano.isa.vector_ops import AluOp, Reduce, Select, SfuOp, Sink

from ...models.operators import Norm
from ..plan import LINES, PIECE
from .step import Quantised, local, row_pieces

__all__ = ["load_first_gains", "lower"]


def lower(s, node):
    (x,), plan, name = node.inputs, s.plan, local(node)
    index = s.memory.norm_index(node)
    for first, group, tile, row, rows, at in _parts(s, node):
        # Where tokens are projected apart, others' attention goes first: a product has to wait for it.
        s.builder.group = group + (len(s.plan.projected) > 1)
        squares = plan.squares[group] + at // PIECE * LINES
        source = dict(a=plan.x + row * s.dim_lines, a_stride=s.dim_lines, rows=rows)
        if x not in s.squares or _one(s, node):
            s.builder.vector(
                tile,
                **source,
                blocks=s.sizes.dim // BLOCK,
                reduce=Reduce.SUM_SQUARES,
                r=squares,
                label=f"{name}.squares",
            )
        s.builder.vector(
            tile,
            blocks=-(-rows // BLOCK),
            a=squares,
            op1=AluOp.ADD,
            sel1=Select.IMMEDIATE,
            imm1=s.sizes.dim * node.eps,
            sfu=SfuOp.RSQRT,
            op2=AluOp.MUL,
            sel2=Select.IMMEDIATE,
            imm2=math.sqrt(s.sizes.dim),
            sink=Sink.VMEM,
            dst=squares,
            label=f"{name}.rsqrt",
        )
        s.builder.vector(
            tile,
            s.tiles,
            **source,
            blocks=s.sizes.dim_blocks,
            limit=s.sizes.dim,
            b=plan.gains[index],
            op1=AluOp.MUL,
            sel1=Select.B,
            op2=AluOp.MUL,
            sel2=Select.ROW,
            c=squares,
            sink=Sink.QUANTISE,
            activation=s.formats.linear,
            dst=plan.normed + first * s.sizes.dim_blocks,
            dst_stride=s.sizes.dim_blocks,
            label=f"{name}.scale",
        )
    s.builder.group = 0
    following = s.memory.following_gain(node, s.last)
    if following is not None and (s.shape.logits != "none" or s.graph.layer(node.name) < s.last):
        _load_gain(s, index, following, f"{name}.next_gain")
    s.values[node.name] = Quantised(plan.normed, s.sizes.dim_blocks)


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
    return s.shape.logits == "last" and s.count > 1 and s.graph.layer(node.name) is None


def _parts(s, node):
    """(first token, group, tile, first of the tile's own rows, rows, first of its rows of the group) of what
    is normalised at once."""
    last = len(s.groups.bounds) - 1
    if _one(s, node):
        tile = s.groups.owners(last)[-1]
        first, end = s.groups.owned(last, tile)
        yield s.count - 1, last, tile, s.groups.row(last) + end - 1 - first, 1, 0
        return
    for group in range(last + 1):
        for tile in s.groups.owners(group):
            first = s.groups.owned(group, tile)[0]
            if node.inputs[0] in s.squares:
                yield first, group, tile, *s.own_rows(group, tile), 0
                continue
            for at, row, rows in row_pieces(s, group, tile):
                yield first + at, group, tile, row, rows, at
