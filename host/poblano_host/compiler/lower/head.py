"""Logits of the last tokens, and where the largest are: of one token each tile's best, of several the
largest of each block."""

from itertools import zip_longest

from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Fill, Reduce, Select, SfuOp, Sink

from ...models.operators import Scale, Softcap
from ..image import align
from ..plan import LINES
from ..program import Maxima
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
    chunks, maxima = plan.logits(count)
    pieces = [ranges(s, node, tile, chunks.columns) for tile in s.tiles]
    found, address = {}, memory.maxima
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
                _search(s, node, tile, span, line, fresh=n == 0)
            elif memory.maxima is not None:
                found[first] = Maxima(address, blocks, stride // LINES)
                address += _store_maxima(s, node, tile, span, line, stride, maxima.place(n), address)
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
            place = memory.best + LINES * LINE_BYTES * tile
            s.builder.store(tile, plan.best, 0, 1, LINES, place, 0, label=f"{local(node)}.best")
            best.append(place)
    in_order = [found[first] for first in sorted(found)]
    s.results |= {"logits": (memory.logits, count), "best": best, "maxima": in_order}


def _search(s, node, tile, span, line, *, fresh):
    """Goes on with the tile's search for the largest logit, or begins a ``fresh`` one."""
    first, end = span
    limit = dict(limit=end - first, fill=Fill.MINUS_INFINITY) if (end - first) % BLOCK else {}
    s.builder.vector(
        tile,
        blocks=align(end - first, BLOCK) // BLOCK,
        a=line,
        reduce=Reduce.ARGMAX,
        first=int(fresh),
        index=first,
        r=s.plan.best,
        label=f"{local(node)}.argmax",
        **limit,
    )


def _store_maxima(s, node, tile, span, line, stride, place, address):
    """The largest of each block of the logits of ``span`` in memory, by way of the lines from ``place`` on;
    the bytes that they take."""
    columns, rows = span[1] - span[0], s.shape.logits
    blocks, rest = divmod(columns, BLOCK)
    if rest:  # what is behind the last logit is not to be the largest
        last = line + blocks * LINES
        s.builder.vector(
            tile,
            rows=rows,
            blocks=1,
            a=last,
            a_stride=stride,
            limit=rest,
            fill=Fill.MINUS_INFINITY,
            sink=Sink.VMEM,
            dst=last,
            dst_stride=stride,
            label=f"{local(node)}.end",
        )
    # One row of the command for each block, so that a command finds all of them.
    words = rows * stride // LINES
    s.builder.vector(
        tile,
        rows=words,
        blocks=1,
        a=line,
        a_stride=LINES,
        reduce=Reduce.MAXIMUM,
        r=place,
        label=f"{local(node)}.maxima",
    )
    lines = align(words, BLOCK) // LINE_WORDS
    s.builder.store(tile, place, 0, 1, lines, address, 0, label=f"{local(node)}.store_maxima")
    return lines * LINE_BYTES


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
