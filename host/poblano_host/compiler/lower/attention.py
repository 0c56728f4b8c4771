"""Attention: scores, softmax and output of a few query heads and tokens at a time."""

from itertools import zip_longest

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Fill, Reduce, Select, SfuOp, Sink
from poblano.isa.weight_stream import ScaleFormat

from ..cache import SCALE_BYTES
from ..symbols import FIRST, before, granules, position, skipped
from .caches import cache_names, store
from .projections import project, query
from .step import Quantised, local

__all__ = ["lower"]

MASKED = 2.0**100
"""Beside it any score is nothing."""


def lower(s, node):
    sizes, plan, name = s.sizes, s.plan, local(node)
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
        plan.normed, s.count, sizes.attended_blocks, node.width // BLOCK, s.formats.linear, f"{name}.padding"
    )
    for n, several in enumerate(zip_longest(*plan.items)):
        pieces = [_Piece(s, node, tile, item, n) for tile, item in enumerate(several) if item is not None]
        _load_scales(pieces)
        for piece in pieces:
            piece.emit()
    s.values[node.name] = Quantised(plan.normed, sizes.attended_blocks)


def _load_scales(pieces):
    """The scales of V for items that are under way at once: in one command for the tiles with one KV head
    and first position."""
    alike = {}
    for piece in pieces:
        alike.setdefault((piece.item.kv, piece.lower), []).append(piece)
    for several in alike.values():
        tiles, last = [piece.tile for piece in several], max(several, key=lambda piece: piece.item.end)
        last.load_scales(tiles)


class _Piece:
    """The commands of an :class:`..plan.Item`, the ``n``-th of its tile."""

    def __init__(self, s, node, tile, item, n):
        self.s, self.node, self.tile, self.item, self.label = s, node, tile, item, local(node)
        plan, sizes = s.plan, s.sizes
        places, home = s.memory.cache(node), s.config.topology.home_of(tile)
        self.layout, self.base = places.layout, places.address[home]
        self.kv = item.kv - places.heads[home][0]
        window = node.window
        self.windowed = plan.windowed(window)
        self.lower = item.first + 1 - window if self.windowed else FIRST
        self.skipped = skipped(self.lower) if self.windowed else 0
        self.granules = granules(item.end, self.lower)
        self.blocks = self.granules * (sizes.key_granule // BLOCK)
        self.key_blocks = plan.positions // BLOCK
        self.stride = plan.positions // LINE_WORDS
        self.out_stride = sizes.out_words // LINE_WORDS
        buffer = n % plan.buffers
        self.value_scales = plan.attention_line + buffer * plan.item_room
        self.line = self.value_scales + sizes.head_blocks * self.stride
        self.probabilities = plan.probabilities + buffer * plan.item_room_blocks
        self.maximum, self.sum = plan.maxima[buffer], plan.sums[buffer]

    def emit(self):
        self._rank()
        self._scores()
        if self.windowed:
            self._mask()
        self._softmax()
        self._output()
        self._normalise()
        self.s.builder.group = self.s.builder.head = 0

    def _rank(self):
        s, first = self.s, self.item.first
        s.builder.group, s.builder.head = s.groups.of_token(first), s.attention_rank(first, self.item.kv)

    def _vector(self, *tiles, label, **operands):
        self.s.builder.vector(self.tile, *tiles, **operands, label=f"{self.label}.{label}")

    def _scores(self):
        s, item = self.s, self.item
        offset, size, groups = self.layout.keys(self.kv, self.granules)
        s.builder.matmul(
            self.tile,
            [self.tile],
            dict(mem_addr=self.base + offset + self.skipped * self.layout.key_granule_bytes, row_bytes=size),
            reads=cache_names(s, self.node, "keys", item),
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
        """V's scales of the positions that this item covers, to ``tiles``."""
        s = self.s
        offset, stride = self.layout.value_scales(self.kv)
        self._rank()
        s.builder.load(
            tiles,
            self.base + offset + self.skipped * (SCALE_BYTES * s.sizes.key_granule),
            stride,
            self.value_scales,
            self.stride,
            s.sizes.head_blocks,
            self.granules * (s.sizes.key_granule // LINE_WORDS),
            reads=cache_names(s, self.node, "values", self.item),
            label=f"{self.label}.v_scales",
        )

    def _mask(self):
        """Scores of positions before a token's window become negligible.

        A token's mask is one row for all heads: -2**100 before the limit, which grows from token to token,
        -0 from it on. As the limit can't be negative, rows begin before the first position.
        """
        s, item, lines = self.s, self.item, LINE_WORDS
        ahead, words = s.plan.mask_words(item.count)
        mask = self.line + item.rows * s.plan.score_words // lines
        stride = (ahead + words) // lines
        self._vector(
            rows=item.count,
            blocks=(ahead + words) // BLOCK,
            a=self.line - ahead // lines,
            a_stride=item.heads * self.stride,
            limit=before(self.lower + ahead) + self.skipped * -s.sizes.key_granule,
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

    def _softmax(self):
        """Of each row (token, head); a token sees one position more than the one before."""
        s, item = self.s, self.item
        scores = dict(rows=item.rows, blocks=self.blocks, a=self.line, a_stride=self.stride)
        limit = position + (item.first + 1) + self.skipped * -s.sizes.key_granule
        seen = dict(limit=limit, limit_step=1, share=item.heads, fill=Fill.MINUS_INFINITY)
        self._vector(**scores, **seen, reduce=Reduce.MAXIMUM, r=self.maximum, label="max")
        self._vector(
            **scores,
            **seen,
            op1=AluOp.SUB,
            sel1=Select.ROW,
            c=self.maximum,
            sfu=SfuOp.EXP2,
            sink=Sink.VMEM,
            dst=self.line,
            dst_stride=self.stride,
            reduce=Reduce.SUM,
            r=self.sum,
            label="exp",
        )
        for block in range(s.sizes.head_blocks):
            self._vector(
                **scores,
                b=self.value_scales + block * self.stride,
                op1=AluOp.MUL,
                sel1=Select.B,
                sink=Sink.QUANTISE,
                activation=s.formats.attention,
                dst=self._probabilities(block),
                dst_stride=self.key_blocks,
                label="p_quantise",
            )

    def _probabilities(self, block):
        return self.probabilities + block * self.item.rows * self.key_blocks

    def _output(self):
        """Takes the place of the scores: a granule of columns for each block of the head."""
        s, item = self.s, self.item
        for block in range(s.sizes.head_blocks):
            offset, size, rows, stride = self.layout.values(self.kv, block, self.granules)
            offset += self.skipped * (s.sizes.key_granule * s.array.cols)
            s.builder.matmul(
                self.tile,
                [self.tile],
                dict(mem_addr=self.base + offset, row_bytes=size, rows=rows, mem_stride=stride),
                reads=cache_names(s, self.node, "values", item),
                a=self._probabilities(block),
                a_stride=self.key_blocks,
                rows=item.rows,
                k_blocks=self.blocks,
                groups=rows,
                dst=self.line + block * s.sizes.granule // LINE_WORDS,
                dst_stride=self.out_stride,
                activation=s.formats.attention,
                element=s.formats.attention.element,
                label=f"{self.label}.output",
            )

    def _normalise(self):
        """The output times 1/sum, quantised and broadcast; a block is a part of a wide array's columns."""
        s, item, sizes = self.s, self.item, self.s.sizes
        quantum = s.formats.cache_quantum
        self._vector(
            blocks=-(-item.rows // BLOCK),
            a=self.sum,
            sfu=SfuOp.RECIPROCAL,
            **({} if quantum == 1 else dict(op2=AluOp.MUL, sel2=Select.IMMEDIATE, imm2=quantum)),
            sink=Sink.VMEM,
            dst=self.sum,
            label="reciprocal",
        )
        head = item.kv * sizes.group + item.head
        whole = s.array.cols <= BLOCK
        for block in range(1 if whole else sizes.head_blocks):
            part = block * sizes.granule + (0 if whole else block * BLOCK % s.array.cols)
            self._vector(
                s.tiles,
                rows=item.rows,
                share=item.heads,
                blocks=sizes.head_blocks if whole else 1,
                a=self.line + part // LINE_WORDS,
                a_stride=self.out_stride,
                op1=AluOp.MUL,
                sel1=Select.ROW,
                c=self.sum,
                sink=Sink.QUANTISE,
                activation=s.formats.linear,
                dst=s.plan.normed + item.first * sizes.attended_blocks + head * sizes.head_blocks + block,
                dst_stride=sizes.attended_blocks - (item.heads - 1) * sizes.head_blocks,
                dst_step=sizes.head_blocks,
                label="normalise",
            )
