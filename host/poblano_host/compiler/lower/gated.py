"""An activation function of a projection, or times another one, quantised and broadcast to all tiles."""

from itertools import repeat, zip_longest

from poblano.config import BLOCK
from poblano.isa.vector_ops import AluOp, Select, SfuOp, Sink

from ...models.operators import GELU_CUBIC, GELU_LINEAR
from ..errors import CompileError
from ..plan import FFN_COLUMNS
from .linear import add_bias, ranges
from .step import Quantised, local

__all__ = ["Gate", "lower"]


def lower(s, node):
    s.values[node.name] = Gate(s, node)


class Gate:
    """An activation, computed where it is used, for all tokens or for a group of them at a time."""

    def __init__(self, s, node):
        self.s, self.node = s, node
        self.products = [s.values[name] for name in node.inputs]
        for product in self.products:
            for operator in product.after:
                raise CompileError(
                    f"{operator.name}: a {type(operator).__name__} before {node.name} can't be compiled"
                )
        self.apart, self._whole = s.plan.hidden_apart, None

    def tokens(self, groups):
        """The :class:`Quantised` value of the tokens of ``groups``, at least."""
        if self.apart:
            return self._emit(groups)
        if self._whole is None:
            self._whole = self._emit(range(len(self.s.groups.bounds)))
        return self._whole

    def _emit(self, groups):
        s, node = self.s, self.node
        bounds = s.groups.bounds
        start, stop = bounds[groups[0]][0], bounds[groups[-1]][1]
        hidden = Quantised(s.plan.hidden - self.apart * start * s.sizes.hidden_blocks, s.sizes.hidden_blocks)
        rows = stop - start
        columns, nodes = (
            s.plan.columns(rows, s.sizes.dim_blocks, FFN_COLUMNS),
            [p.node for p in self.products],
        )
        chunks = s.plan.chunks(rows, columns, pair=len(nodes), spare=s.sizes.spare)
        whole = len(groups) == len(bounds)
        row_sets = s.first_rows(nodes, chunks.columns) if whole else repeat([(start, stop)])
        used = node.width // BLOCK
        s.clear_padding(
            hidden.base + start * hidden.stride,
            rows,
            hidden.stride,
            used,
            s.formats.linear,
            f"{local(node)}.padding",
        )
        pieces = [ranges(s, nodes[0], tile, chunks.columns) for tile in s.tiles]
        temporary = chunks.base + chunks.count * chunks.lines
        for (n, several), row_set in zip(enumerate(zip_longest(*pieces)), row_sets):
            for tile, span in enumerate(several):
                if span is not None:
                    place = chunks.place(n), temporary
                    self._chunk(tile, span, place, row_set, (start, stop), hidden)
        return hidden

    def _chunk(self, tile, span, places, row_set, rows, hidden):
        """Columns ``span`` of tokens ``rows``: the products of each of ``row_set``, then the function."""
        s, (first, end), count, (line, temporary) = self.s, span, rows[1] - rows[0], places
        width = s.plan.lines(1, end - first)
        stride = len(self.products) * width
        lines = [line + n * width for n in range(len(self.products))]
        for some in row_set:
            for product, at in zip(self.products, lines):
                at += (some[0] - rows[0]) * stride
                s.product(product.node, tile, span, some, product.x, at, stride)
        for product, at in zip(self.products, lines):
            add_bias(s, product.node, tile, at, stride, count, span)
        up = dict(op2=AluOp.MUL, sel2=Select.B, b=lines[-1], b_stride=stride) if len(lines) > 1 else {}
        result = dict(
            sink=Sink.QUANTISE,
            activation=s.formats.linear,
            dst=hidden.base + rows[0] * hidden.stride + first // BLOCK,
            dst_stride=hidden.stride,
        )
        size = dict(rows=count, blocks=(end - first) // BLOCK, a_stride=stride)
        if self.node.function == "silu":
            self._vector(tile, s.tiles, **size, a=line, sfu=SfuOp.SILU, **up, **result, label="silu")
            return
        self._gelu(tile, size, line, temporary, up, result)

    def _gelu(self, tile, size, line, temporary, up, result):
        """x * sigmoid(x * (GELU_CUBIC * x**2 + GELU_LINEAR)) of x at ``line``, and times ``up``."""
        stride, tiles = size["a_stride"], self.s.tiles
        x = dict(sel1=Select.B, b=line, b_stride=stride)
        place = dict(sink=Sink.VMEM, dst=temporary, dst_stride=stride)
        times = lambda n, **operand: {f"op{n}": AluOp.MUL} | operand
        cubic = times(2, sel2=Select.IMMEDIATE, imm2=GELU_CUBIC)
        self._vector(tile, **size, a=line, **times(1, **x), **cubic, **place, label="square")
        linear = dict(op1=AluOp.ADD, sel1=Select.IMMEDIATE, imm1=GELU_LINEAR)
        x = dict(sel2=Select.B, b=line, b_stride=stride)
        self._vector(tile, **size, a=temporary, **linear, **times(2, **x), **place, label="cube")
        gelu = dict(size, a=temporary, sfu=SfuOp.SIGMOID, **times(2, **x))
        if not up:
            self._vector(tile, tiles, **gelu, **result, label="gelu")
            return
        self._vector(tile, **gelu, **place, label="gelu")
        self._vector(tile, tiles, **size, a=temporary, **up, **result, label="gate")

    def _vector(self, *tiles, label, **operands):
        self.s.builder.vector(*tiles, **operands, label=f"{local(self.node)}.{label}")
