"""Layer norms: some of an owner's rows of the residual at a time, quantised and broadcast to all tiles."""

from poblano.config import BLOCK
from poblano.isa.vector_ops import AluOp, Reduce, Select, Sink

from ..plan import LINES, PIECE
from .linear import load_vector
from .norm import load_next_gain, parts, reciprocal_root, sizes_of
from .step import Quantised, local

__all__ = ["lower"]


def lower(s, node):
    bias = load_vector(s, node)
    for first, group, tile, row, rows, at in parts(s, node):
        squares = s.plan.squares[group] + at // PIECE * LINES
        _emit(s, node, tile, first, row, rows, squares, bias)
    s.builder.group = 0
    load_next_gain(s, node)
    s.values[node.name] = Quantised(s.normed, s.sizes.dim_blocks)


def _emit(s, node, tile, first, row, rows, squares, bias):
    plan, dim, means = s.plan, s.sizes.dim, s.plan.means
    emit = lambda *tiles, label, **operands: s.builder.vector(
        tile, *tiles, **operands, label=f"{local(node)}.{label}"
    )
    source = dict(rows=rows, a=plan.x + row * s.dim_lines, a_stride=s.dim_lines)
    centred = dict(rows=rows, a=plan.centred, a_stride=s.dim_lines)
    place = dict(blocks=dim // BLOCK, sink=Sink.VMEM, dst=plan.centred, dst_stride=s.dim_lines)
    emit(**source, blocks=dim // BLOCK, reduce=Reduce.SUM, r=means, label="sum")
    mean = dict(op1=AluOp.MUL, sel1=Select.IMMEDIATE, imm1=1 / dim)
    emit(blocks=1, a=means, **mean, sink=Sink.VMEM, dst=means, label="mean")
    less = dict(op1=AluOp.SUB, sel1=Select.ROW, c=means)
    emit(**source, **less, **place, reduce=Reduce.SUM_SQUARES, r=squares, label="centre")
    reciprocal_root(s, tile, node, dim, squares, rows)
    gain = dict(op1=AluOp.MUL, sel1=Select.B, b=plan.gains[s.memory.norm_index(node)])
    emit(**centred, **gain, op2=AluOp.MUL, sel2=Select.ROW, c=squares, **place, label="scale")
    emit(s.tiles, **centred, op1=AluOp.ADD, sel1=Select.B, b=bias, **sizes_of(s, first), label="bias")
