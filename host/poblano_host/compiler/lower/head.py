"""Logits of the last tokens, and of a single one each tile's best."""

from itertools import zip_longest

from poblano.config import BLOCK, LINE_BYTES
from poblano.isa.vector_ops import AluOp, Fill, Reduce, Select, SfuOp, Sink

from ...models.operators import Scale, Softcap
from ..image import align
from ..plan import COLUMNS, LINES
from .linear import add_bias, quantised, ranges
from .step import Product, local

__all__ = ["finish", "lower"]


def lower(s, node):
    """A Head is computed by :func:`finish`, behind what may be applied to its logits."""
    s.values[node.name] = Product(node, quantised(s, node))


def finish(s, name):
    """The logits that the value ``name`` is, in memory."""
    product, plan, memory = s.values[name], s.plan, s.memory
    node, count = product.node, s.shape.logits
    rows = s.count - count, s.count
    chunks = plan.chunks(count, COLUMNS)
    pieces = [ranges(s, node, tile, chunks.columns) for tile in s.tiles]
    for n, several in enumerate(zip_longest(*pieces)):
        for tile, span in enumerate(several):
            if span is None:
                continue
            first, end = span
            line, stride = chunks.place(n), plan.lines(1, end - first)
            blocks = align(end - first, BLOCK) // BLOCK
            s.product(node, tile, span, rows, product.x, line, stride)
            add_bias(s, node, tile, line, stride, count, span)
            for operator in product.after:
                _apply(s, operator, tile, line, stride, count, blocks)
            if count == 1:
                limit = dict(limit=end - first, fill=Fill.MINUS_INFINITY) if (end - first) % BLOCK else {}
                s.builder.vector(
                    tile,
                    blocks=blocks,
                    a=line,
                    reduce=Reduce.ARGMAX,
                    first=int(n == 0),
                    index=first,
                    r=plan.best,
                    label=f"{local(node)}.argmax",
                    **limit,
                )
            s.builder.store(
                tile,
                line,
                stride,
                count,
                blocks * LINES,
                memory.logits + 4 * first,
                memory.vocab_stride,
                label=f"{local(node)}.store",
            )
    best = []
    for tile in s.tiles if count == 1 else ():
        if pieces[tile]:
            address = memory.best + LINES * LINE_BYTES * tile
            s.builder.store(tile, plan.best, 0, 1, LINES, address, 0, label=f"{local(node)}.best")
            best.append(address)
    s.results |= {"logits": (memory.logits, count), "best": best}


def _apply(s, operator, tile, line, stride, rows, blocks):
    """A Scale or Softcap of results at ``line``, in place."""
    place = dict(
        rows=rows, blocks=blocks, a=line, a_stride=stride, sink=Sink.VMEM, dst=line, dst_stride=stride
    )
    emit = lambda **operands: s.builder.vector(tile, **place, **operands, label=local(operator))
    times = lambda n, factor: {f"op{n}": AluOp.MUL, f"sel{n}": Select.IMMEDIATE, f"imm{n}": factor}
    if isinstance(operator, Scale):
        emit(**times(1, operator.factor))
    elif isinstance(operator, Softcap):
        # cap * tanh(x / cap) = 2 * cap * sigmoid(2 * x / cap) - cap
        emit(**times(1, 2 / operator.cap), sfu=SfuOp.SIGMOID, **times(2, 2 * operator.cap))
        emit(op1=AluOp.SUB, sel1=Select.IMMEDIATE, imm1=operator.cap)
