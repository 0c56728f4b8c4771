"""Attention: scores, softmax and output of a few query heads and tokens at a time."""

from itertools import zip_longest

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Fill, Reduce, Select, SfuOp, Sink
from poblano.isa.weight_stream import ScaleFormat

from .. import sinks
from ..symbols import FIRST, before, granules, position, skipped, span
from .caches import cache_names, store
from .linear import load_vector
from .projections import project, query
from .step import Quantised, local

__all__ = ["lower"]

MASKED = 2.0**100
"""Beside it any score is nothing."""


def lower(s, node):
    sizes, plan, name = s.sizes, s.plan, local(node)
    if node.sinks is not None:
        load_vector(s, node)
    s.clear_padding(
        plan.queries,
        s.count * sizes.heads,
        sizes.head_steps,
        sizes.head_blocks,
        s.formats.attention,
        f"{name}.q_padding",
    )
    k, v = (s.values[value].node for value in node.inputs[1:])
    for tokens in plan.projected:
        s.builder.group = s.groups.of_token(tokens[0])
        project(s, node, tokens)
        store(s, node, k, v, tokens)
    s.builder.group = s.builder.head = 0
    s.clear_padding(
        s.normed, s.count, sizes.attended_blocks, node.width // BLOCK, s.formats.linear, f"{name}.padding"
    )
    begun = [0] * len(s.tiles)  # pieces of each tile
    for several in zip_longest(*plan.items):
        tiles = [tile for tile, item in enumerate(several) if item is not None]
        spans = {tile: plan.spans(node.window, s.shape.parts[several[tile].part].context) for tile in tiles}
        for number in range(max(spans.values())):
            pieces = [
                _Piece(s, node, tile, several[tile], (number, spans[tile]), begun[tile] + number)
                for tile in tiles
                if number < spans[tile]
            ]
            _load_scales(pieces)
            for piece in pieces:
                piece.emit()
        for tile in tiles:
            begun[tile] += spans[tile]
    s.values[node.name] = Quantised(s.normed, sizes.attended_blocks)


def _load_scales(pieces):
    """The scales of V for items that are under way at once: in one command for the tiles with one KV head,
    part and first position."""
    alike = {}
    for piece in pieces:
        alike.setdefault((piece.item.kv, piece.item.part, piece.lower), []).append(piece)
    for several in alike.values():
        tiles, last = [piece.tile for piece in several], max(several, key=lambda piece: piece.item.end)
        last.load_scales(tiles)


class _Piece:
    """The commands of a span of an :class:`..plan.Item`, the ``n``-th piece of its tile.

    Each piece has room of its own for scores, probabilities and scalars for a time, so that several are
    under way at once; the sum of outputs lies where the item's first piece has room for it.
    """

    def __init__(self, s, node, tile, item, spans, n):
        self.s, self.node, self.tile, self.item, self.label = s, node, tile, item, local(node)
        plan, sizes, window = s.plan, s.sizes, node.window
        places, home = s.memory.cache(node), s.config.topology.home_of(tile)
        self.layout, self.base = places.layout, s.caches(item.part, places) + places.address[home]
        self.kv = item.kv - places.heads[home][0]
        self.span, self.spans = spans
        self.windowed = plan.windowed(window)
        part = s.shape.firsts[item.part]
        self.token, self.end, self.tokens = item.first - part, item.end - part, s.shape.parts[item.part].count
        self.lower = self.token + 1 - window if self.windowed else FIRST
        # Of a single token V's scales come page by page, as they lie, if a block's are short rows of memory.
        short = self.layout.granule == BLOCK and sizes.head_blocks > 1
        self.by_page = self.layout.paged and self.tokens == 1 and short
        self._positions()
        self.blocks = self.granules * (sizes.key_granule // BLOCK)
        self.key_blocks = plan.span(window) // BLOCK
        self.ahead = plan.ahead(item.count, window)
        self.stride = (self.ahead + plan.span(window)) // LINE_WORDS
        self.scales_stride = plan.span(window) // LINE_WORDS
        self.of_values = plan.outputs(item)
        room = lambda number: plan.attention_line + number % plan.buffers * plan.item_room
        self.value_scales = room(n)
        self.line = self.value_scales + sizes.head_blocks * self.scales_stride + self.ahead // LINE_WORDS
        words = plan.score_room(item.count, item.heads, window)
        behind = sizes.head_blocks * self.scales_stride + words // LINE_WORDS
        self.behind = room(n) + behind
        self.outputs = room(n - self.span) + behind if self.spans > 1 else self.line
        self.probabilities = plan.probabilities + n % plan.buffers * plan.item_room_blocks
        of = lambda places, number: places[number % len(places)]
        self.maximum, self.sum = of(plan.maxima, n), of(plan.sums, n)
        self.highest, self.total = self.maximum, self.sum
        if self.span:
            self.highest, self.total, self.factor = (
                of(places, n) for places in (plan.highest, plan.totals, plan.factors)
            )
            last = (plan.maxima, plan.sums) if self.span == 1 else (plan.highest, plan.totals)
            self.before = tuple(of(places, n - 1) for places in last)

    def _positions(self):
        """The granules that the piece sees, the first of them, and whether tokens of this step are there."""
        s, of = self.s, self._of
        self.fresh = self.span >= self.spans - (1 if self.tokens == 1 else 2)
        if self.spans == 1:
            self.first = of(skipped(self.lower)) if self.windowed else 0
            self.granules = of(granules(self.end, self.lower))
            return
        most = s.plan.span(None) // s.sizes.key_granule
        self.first = self.span * most
        self.granules = of(span(self.end, self.first, most)) if self.fresh else most

    def _of(self, symbol):
        """A symbol of this sequence."""
        return symbol.of(self.item.part)

    def emit(self):
        self._rank(2)
        self._scores()
        self._rank()
        if self.windowed:
            self._mask()
        self._softmax()
        self._output()
        if self.span:
            self._add()
        if self.span == self.spans - 1:
            self._normalise()
        self.s.builder.group = self.s.builder.head = 0

    def _rank(self, ahead=0):
        s, first, kv = self.s, self.item.first, self.item.kv
        s.builder.group, s.builder.head = s.groups.of_token(first), s.attention_rank(first, kv, ahead)

    def _vector(self, *tiles, label, **operands):
        self.s.builder.vector(self.tile, *tiles, **operands, label=f"{self.label}.{label}")

    def _scores(self):
        s, item = self.s, self.item
        groups, keys = self.layout.keys(self.kv, self.first, self.granules)
        s.builder.matmul(
            self.tile,
            [self.tile],
            self._stream(keys),
            reads=self._names("keys"),
            a=query(s, item.first, item.kv * s.sizes.group + item.head),
            a_stride=s.sizes.head_steps,
            rows=item.rows,
            k_blocks=s.sizes.head_steps,
            groups=groups,
            dst=self.line,
            dst_stride=self.stride,
            scale=ScaleFormat.F32,
            transpose=1,
            activation=s.formats.attention,
            element=s.formats.attention.element,
            label=f"{self.label}.scores",
        )

    def load_scales(self, tiles):
        """V's scales of the positions that this piece sees, to ``tiles``."""
        s = self.s
        self._rank()
        for block, address, stride, rows, lines in self.layout.value_scales(
            self.kv, self.first, self.granules, together=self.by_page
        ):
            s.builder.load(
                tiles,
                self.base + address,
                stride,
                self.value_scales + block * self.scales_stride,
                lines if self.layout.paged else self.scales_stride,
                rows,
                lines,
                reads=self._names("values"),
                label=f"{self.label}.v_scales",
            )

    def _stream(self, rows):
        """Operands of a STREAM of ``rows`` of this sequence's caches."""
        return rows | dict(mem_addr=self.base + rows["mem_addr"])

    def _names(self, kind):
        return cache_names(self.s, self.node, kind, self.item) if self.fresh else ()

    def _mask(self):
        """Scores of positions before a token's window become negligible.

        A token's mask is one row for all heads: -2**100 before the limit, which grows from token to token,
        -0 from it on. As the limit can't be negative, rows begin before the first position.
        """
        s, item, lines = self.s, self.item, LINE_WORDS
        ahead, words = s.plan.mask_words(item.count, self.node.window)
        mask = self.behind
        stride = (ahead + words) // lines
        self._vector(
            rows=item.count,
            blocks=(ahead + words) // BLOCK,
            a=self.line - ahead // lines,
            a_stride=item.heads * self.stride,
            limit=self._of(before(self.lower + ahead)) + self.first * -s.sizes.key_granule,
            limit_step=1,
            fill=Fill.MINUS_INFINITY,
            op1=AluOp.ADD,
            sel1=Select.IMMEDIATE,
            imm1=MASKED,
            sfu=SfuOp.SIGMOID,  # 1 of what is finite, 0 of minus infinity
            op2=AluOp.MUL,
            sel2=Select.IMMEDIATE,
            imm2=-MASKED,
            sink=Sink.VMEM,
            dst=mask,
            dst_stride=stride,
            label="window",
        )
        self._vector(
            rows=item.rows,
            blocks=words // BLOCK,
            share=item.heads,
            a=self.line,
            a_stride=self.stride,
            op1=AluOp.ADD,
            sel1=Select.B,
            b=mask + ahead // lines,
            b_stride=stride,
            sink=Sink.VMEM,
            dst=self.line,
            dst_stride=self.stride,
            label="mask",
        )

    def _seen(self):
        """Operands of the scores that each row (token, head) sees, in its place; a token sees one position
        more than the one before.

        As a limit can't be negative, rows of the last span, which may begin after some tokens, begin with
        ``ahead`` words of minus infinity.
        """
        s, item = self.s, self.item
        rows = dict(rows=item.rows, a_stride=self.stride)
        if not self.fresh:
            return dict(rows, a=self.line, blocks=self.blocks)
        ahead = self.ahead if self.span and self.span == self.spans - 1 else 0
        place = self.line - ahead // LINE_WORDS
        if ahead:
            self._vector(
                **rows,
                a=place,
                blocks=ahead // BLOCK,
                limit=0,
                fill=Fill.MINUS_INFINITY,
                sink=Sink.VMEM,
                dst=place,
                dst_stride=self.stride,
                label="ahead",
            )
        if self.spans > 1:
            limit = self._of(before(self.token + 1 + ahead - self.span * s.plan.span(None)))
        else:
            limit = self._of(position) + (self.token + 1) + self.first * -s.sizes.key_granule
        seen = dict(limit=limit, limit_step=1, share=item.heads, fill=Fill.MINUS_INFINITY)
        return dict(rows, a=place, blocks=self.blocks + ahead // BLOCK, **seen)

    def _softmax(self):
        """Of each row, with the maximum of this span and those before."""
        s, seen = self.s, self._seen()
        self._vector(**seen, reduce=Reduce.MAXIMUM, r=self.maximum, label="max")
        if self.span:
            highest, _ = self.before
            self._scalars(
                a=self.maximum, op1=AluOp.MAX, sel1=Select.B, b=highest, dst=self.highest, label="highest"
            )
            self._scalars(
                a=highest,
                op1=AluOp.SUB,
                sel1=Select.B,
                b=self.highest,
                sfu=SfuOp.EXP2,
                dst=self.factor,
                label="factor",
            )
        self._vector(
            **seen,
            op1=AluOp.SUB,
            sel1=Select.ROW,
            c=self.highest,
            sfu=SfuOp.EXP2,
            sink=Sink.VMEM,
            dst=seen["a"],
            dst_stride=self.stride,
            reduce=Reduce.SUM,
            r=self.sum,
            label="exp",
        )
        for block in range(s.sizes.head_blocks):
            self._quantise(block)

    def _quantise(self, block):
        """The probabilities times V's scales of a block of the head."""
        s, item = self.s, self.item
        emit = lambda **operands: self._vector(
            **operands,
            op1=AluOp.MUL,
            sel1=Select.B,
            sink=Sink.QUANTISE,
            activation=s.formats.attention,
            label="p_quantise",
        )
        scales, to = self.value_scales + block * self.scales_stride, self._probabilities(block)
        if not self.by_page:
            emit(
                rows=item.rows,
                blocks=self.blocks,
                a=self.line,
                a_stride=self.stride,
                b=scales,
                dst=to,
                dst_stride=self.key_blocks,
            )
            return
        lines = self.layout.granule // LINE_WORDS
        for head in range(item.heads):
            emit(
                rows=self.granules,
                blocks=self.layout.granule // BLOCK,
                a=self.line + head * self.stride,
                a_stride=lines,
                b=self.value_scales + block * lines,
                b_stride=s.sizes.head_blocks * lines,
                dst=to + head * self.key_blocks,
                dst_stride=self.layout.granule // BLOCK,
            )

    def _scalars(self, **operands):
        """An operation on a number for each row."""
        self._vector(blocks=-(-self.item.rows // BLOCK), sink=Sink.VMEM, **operands)

    def _probabilities(self, block):
        return self.probabilities + block * self.item.rows * self.key_blocks

    def _output(self):
        """Takes the place of the scores, or of an item's first piece that of the sum of outputs."""
        s = self.s
        for product in self.of_values.products:
            line = (self.line if self.span else self.outputs) + product.line
            for groups, rows in self.layout.values(self.kv, product, self.first, self.granules):
                s.builder.matmul(
                    self.tile,
                    [self.tile],
                    self._stream(rows),
                    reads=self._names("values"),
                    a=self._probabilities(product.block),
                    a_stride=self.key_blocks,
                    rows=product.rows,
                    k_blocks=self.blocks,
                    groups=groups,
                    interleaved=int(product.interleaved),
                    dst=line,
                    dst_stride=product.stride,
                    activation=s.formats.attention,
                    element=s.formats.attention.element,
                    label=f"{self.label}.output",
                )
                line += groups * s.array.cols // LINE_WORDS

    def _scaled(self, part, numbers):
        """Operands that read a part of the outputs, each row times its number."""
        place = dict(a=self.outputs + part.line, a_stride=part.stride)
        return dict(
            rows=self.item.rows, blocks=part.blocks, **place, op1=AluOp.MUL, sel1=Select.ROW, c=numbers
        )

    def _add(self):
        """Outputs and sums of the spans so far, times what the maximum's growth makes of them, plus this
        one's."""
        _, total = self.before
        self._scalars(a=total, op1=AluOp.MUL, sel1=Select.B, b=self.factor, dst=self.total, label="rescale")
        self._scalars(a=self.total, op1=AluOp.ADD, sel1=Select.B, b=self.sum, dst=self.total, label="total")
        for part in self.of_values.parts:
            self._vector(
                **self._scaled(part, self.factor),
                op2=AluOp.ADD,
                sel2=Select.B,
                b=self.line + part.line,
                b_stride=part.stride,
                sink=Sink.VMEM,
                dst=self.outputs + part.line,
                dst_stride=part.stride,
                label="accumulate",
            )

    def _sink(self):
        """Operands that add 2^(sink - maximum) to each row's sum of exponentials, in the maximum's place."""
        s, most = self.s, dict(sel1=Select.B, b=self.highest)
        place = s.plan.vectors[s.memory.vector(self.node)[0]] + sinks.line(self.node, self.item, s.config)
        self._scalars(a=place, op1=AluOp.SUB, **most, sfu=SfuOp.EXP2, dst=self.highest, label="sink")
        return dict(op1=AluOp.ADD, **most)

    def _normalise(self):
        """The output times 1/sum, quantised and broadcast.

        Whether spans after a token's position are seen makes a difference for the sign of a zero alone, which
        no product sees.
        """
        s, item, sizes = self.s, self.item, self.s.sizes
        quantum = s.formats.cache_quantum
        sink = {} if self.node.sinks is None else self._sink()
        self._scalars(
            a=self.total,
            **sink,
            sfu=SfuOp.RECIPROCAL,
            **({} if quantum == 1 else dict(op2=AluOp.MUL, sel2=Select.IMMEDIATE, imm2=quantum)),
            dst=self.total,
            label="reciprocal",
        )
        head = item.kv * sizes.group + item.head
        for part in self.of_values.parts:
            self._vector(
                s.tiles,
                **self._scaled(part, self.total),
                share=item.heads,
                sink=Sink.QUANTISE,
                activation=s.formats.linear,
                dst=s.normed + item.first * sizes.attended_blocks + head * sizes.head_blocks + part.block,
                dst_stride=sizes.attended_blocks - (item.heads - 1) * sizes.head_blocks,
                dst_step=sizes.head_blocks,
                label="normalise",
            )
