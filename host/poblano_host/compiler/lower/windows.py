"""What tells ROUTE the windows of a step's tokens, in which experts have a capacity."""

from poblano.isa.vector_ops import AluOp, Fill, Select, Sink

from ..plan import LINES
from .step import local

__all__ = ["windows"]


def windows(s, node, line, tile):
    """Operands of a ROUTE command of ``tile``, and the commands that write, from ``line`` on, a block for
    each token: 0, minus infinity for the first of a window, 1 for others of one. None of either where no
    expert can be full."""
    limited = [(at, at + part.limited) for at, part in zip(s.shape.firsts, s.shape.parts) if part.limited]
    if not limited:
        return {}

    def write(rows, first, stride, label, **operands):
        place = dict(dst=line + first * LINES, dst_stride=stride * LINES, sink=Sink.VMEM)
        s.builder.vector(tile, rows=rows, blocks=1, **place, **operands, label=f"{local(node)}.{label}")

    window = node.capacity.window
    write(s.count, 0, 1, "windows", limit=0)
    for first, end in limited:
        ones = dict(op1=AluOp.ADD, sel1=Select.IMMEDIATE, imm1=1.0)
        write(end - first, first, 1, "limited", a=line + first * LINES, a_stride=LINES, **ones)
        write(-(-(end - first) // window), first, window, "begins", limit=0, fill=Fill.MINUS_INFINITY)
    return dict(capacity=node.capacity.rows, c=line, c_stride=LINES)
