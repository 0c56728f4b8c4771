"""silu(gate) * up, quantised and broadcast to all tiles."""

from itertools import repeat, zip_longest

from poblano.config import BLOCK
from poblano.isa.vector_ops import AluOp, Select, SfuOp, Sink

from ..plan import FFN_COLUMNS
from .linear import add_bias, ranges
from .step import Quantised, local

__all__ = ["Gate", "lower"]


def lower(s, node):
    s.values[node.name] = Gate(s, node)


class Gate:
    """A gated activation, computed where it is used, for all tokens or for a group of them at a time."""

    def __init__(self, s, node):
        self.s, self.node = s, node
        self.gate, self.up = (s.values[name] for name in node.inputs)
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
        chunks = s.plan.chunks(rows, s.plan.columns(rows, s.sizes.dim_blocks, FFN_COLUMNS), pair=2)
        nodes = [self.gate.node, self.up.node]
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
        pieces = [ranges(s, self.gate.node, tile, chunks.columns) for tile in s.tiles]
        for (n, several), row_set in zip(enumerate(zip_longest(*pieces)), row_sets):
            for tile, span in enumerate(several):
                if span is not None:
                    self._chunk(tile, span, chunks.place(n), row_set, (start, stop), hidden)
        return hidden

    def _chunk(self, tile, span, line, row_set, rows, hidden):
        """Columns ``span`` of tokens ``rows``: the products of each of ``row_set``, then silu(gate) * up."""
        s, (first, end), count = self.s, span, rows[1] - rows[0]
        half = s.plan.lines(1, end - first)
        stride = 2 * half
        for some in row_set:
            at = line + (some[0] - rows[0]) * stride
            s.product(self.gate.node, tile, span, some, self.gate.x, at, stride)
            s.product(self.up.node, tile, span, some, self.up.x, at + half, stride)
        add_bias(s, self.gate.node, tile, line, stride, count, span)
        add_bias(s, self.up.node, tile, line + half, stride, count, span)
        s.builder.vector(
            tile,
            s.tiles,
            rows=count,
            blocks=(end - first) // BLOCK,
            a=line,
            a_stride=stride,
            sfu=SfuOp.SILU,
            op2=AluOp.MUL,
            sel2=Select.B,
            b=line + half,
            b_stride=stride,
            sink=Sink.QUANTISE,
            activation=s.formats.linear,
            dst=hidden.base + rows[0] * hidden.stride + first // BLOCK,
            dst_stride=hidden.stride,
            label=f"{local(self.node)}.silu",
        )
