"""Mixtures of experts: the router's scores, the routing, each expert's network, and their sum."""

from dataclasses import dataclass

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import AluOp, Fill, Reduce, Select, SfuOp, Sink

from ..experts import grouped
from ..plan import LINES
from .step import local
from .windows import windows

__all__ = ["Mixed", "lower", "slots"]

LOG2_E = 1.4426950408889634
ROUTER = 0
"""The tile whose vector unit routes."""


@dataclass(frozen=True)
class Mixed:
    """The sum of experts: each row, from line ``line`` on, ``stride`` lines apart, in the tile that owns its
    token."""

    line: int
    stride: int


def slots(s, node):
    """The most experts that the tokens of a step use."""
    return min(node.experts, s.count * node.used)


def lower(s, node):
    _Mixture(s, node).lower()
    s.values[node.name] = Mixed(s.plan.experts.delta, s.plan.experts.whole)


class _Mixture:
    """The commands of an Experts operator."""

    def __init__(self, s, node):
        self.s, self.node, self.room = s, node, s.plan.experts
        self.places, self.x = s.memory.experts(node), s.values[node.inputs[0]]
        self.chunks = [0] * len(s.tiles)
        self.row = dict(rows=s.count, blocks=-(-node.experts // BLOCK))

    def lower(self):
        s, node = self.s, self.node
        self._clear()
        self._products()
        route, count = self._routed(), slots(s, node)
        for slot in range(count + self.room.turns):
            # Outputs come so late that no tile waits for the hidden elements of another.
            before = slot - self.room.turns
            if slot < count and s.count > 1:
                self._part(route, slot, self._inputs)
            if before >= 0:
                self._part(route, before, self._outputs)
            if slot < count:
                self._part(route, slot, self._hidden)
        s.builder.block = None
        self._sums()

    def _part(self, route, slot, emit):
        """The commands of an expert that ``emit`` gives for each tile."""
        s = self.s
        s.builder.expert(route, slot, self.places.pitch, label=f"{local(self.node)}.expert{slot}")
        for tile in s.tiles:
            emit(tile, slot)

    @property
    def _groups(self):
        """Operands that restrict the experts of a token to those of its best groups."""
        node = self.node
        if not grouped(node):
            return {}
        return dict(
            group_count=node.groups, group_used=node.used_groups, group_size=node.experts // node.groups
        )

    def _vector(self, tile, tiles=None, *, label, **operands):
        self.s.builder.vector(tile, tiles, label=f"{local(self.node)}.{label}", **operands)

    def _clear(self):
        """Zeros where sums begin, and in blocks that fill whole steps of the array."""
        s, room, node = self.s, self.room, self.node
        for tile in s.tiles:
            first, end = self.places.down.ranges[tile]
            if end > first:
                self._vector(
                    tile,
                    rows=s.count,
                    blocks=(end - first) // BLOCK,
                    limit=0,
                    sink=Sink.VMEM,
                    dst=room.sums,
                    dst_stride=room.stride,
                    label="zeros",
                )
        sizes, form = s.sizes, s.formats.linear
        for n in range(room.turns):
            places = [(room.hidden(n), sizes.hidden_blocks, node.hidden // BLOCK)]
            if s.count > 1:
                places.append((room.gathered(n), sizes.dim_blocks, sizes.dim // BLOCK))
            for base, blocks, used in places:
                s.clear_padding(base, s.count, blocks, used, form, f"{local(node)}.padding")

    def _bias(self, address, line):
        """Operands that add a bias of the router to each row."""
        if address is None:
            return {}
        lines = self.row["blocks"] * LINES
        self.s.builder.load([ROUTER], address, 0, line, 0, 1, lines, label=f"{local(self.node)}.bias")
        return dict(op1=AluOp.ADD, sel1=Select.B, b=line)

    def _products(self):
        """The router's product."""
        s, room, node, matrix = self.s, self.room, self.node, self.places.router
        for tile in s.tiles:
            first, end = matrix.ranges[tile]
            if end == first:
                continue
            address, size, groups = matrix.stream(tile, first, end)
            s.builder.matmul(
                tile,
                [ROUTER],
                dict(mem_addr=address, row_bytes=size),
                a=self.x.base,
                a_stride=self.x.stride,
                rows=s.count,
                k_blocks=matrix.k_blocks,
                groups=groups,
                dst=room.logits + first // LINE_WORDS,
                dst_stride=room.row,
                activation=s.formats.linear,
                label=f"{local(node)}.router",
                **matrix.form,
            )

    def _routed(self):
        """Routes the rows; the ROUTE command that tells the experts.

        Of one token, with weights of a softmax, it is the first of two: it waits for the product alone, and
        the second, a quiet one, puts the weights into the lists while those of the experts are read. Of more
        tokens GATHER waits for the lists, so that one routing is sooner."""
        room = self.room
        if self.node.scoring == "sigmoid":
            return self._route(self._sigmoids(), room.scores)
        self._biased()
        early = self._route(room.logits, room.logits) if self.s.count == 1 else None
        self._exponentials()
        if early is None:
            return self._route(room.logits, room.scores)
        self._route(room.logits, room.scores, quiet=1)
        return early

    def _route(self, values, weights, **more):
        """A routing of rows by ``values``, lines of vector memory as ``weights`` are."""
        s, node, room = self.s, self.node, self.room
        return s.builder.route(
            ROUTER,
            s.tiles,
            experts=node.experts,
            used=node.used,
            a=values,
            a_stride=room.row,
            b=weights,
            b_stride=room.row,
            dst=room.kept,
            dst_stride=LINES,
            list=room.lists,
            rows=s.count,
            **self._groups,
            **windows(s, node, room.windows, ROUTER),
            **more,
            label=f"{local(node)}.route",
        )

    @property
    def _logits(self):
        """Operands that read the product's rows."""
        return dict(self.row, a=self.room.logits, a_stride=self.room.row, limit=self.node.experts)

    def _place(self, line):
        """Operands that write rows like the product's from a line on."""
        return dict(sink=Sink.VMEM, dst=line, dst_stride=self.room.row)

    def _sigmoids(self):
        """Sigmoids of the product, with its bias, to the scores; the line of what experts are selected by."""
        room, (added, more) = self.room, self.places.biases
        bias, scored = self._bias(added, room.router_bias), self._place(room.scores)
        self._vector(ROUTER, **self._logits, **bias, sfu=SfuOp.SIGMOID, **scored, label="sigmoid")
        if more is None:
            return room.scores
        bias, scores = self._bias(more, room.selection_bias), dict(self._logits, a=room.scores)
        self._vector(ROUTER, **scores, **bias, **self._place(room.logits), label="select")
        return room.logits

    def _biased(self):
        """The product with its bias, if it has one."""
        if bias := self._bias(self.places.biases[0], self.room.router_bias):
            place = self._place(self.room.logits)
            self._vector(ROUTER, **self._logits, **bias, **place, label="biased")

    def _exponentials(self):
        """Exponentials of the product less its largest, to the scores; their sum, where weights are divided
        by it."""
        s, room, place = self.s, self.room, self._place(self.room.scores)
        scale = dict(op2=AluOp.MUL, sel2=Select.IMMEDIATE, imm2=LOG2_E, fill=Fill.MINUS_INFINITY)
        most = dict(reduce=Reduce.MAXIMUM, r=room.maxima)
        self._vector(ROUTER, **self._logits, **scale, **most, **place, label="most")
        less = dict(op1=AluOp.SUB, sel1=Select.ROW, c=room.maxima, sfu=SfuOp.EXP2)
        exps = dict(self.row, a=room.scores, a_stride=room.row, **less, **place)
        if self._selected:
            self._vector(ROUTER, **exps, label="exps")
        else:
            self._vector(ROUTER, s.tiles, **exps, reduce=Reduce.SUM, r=room.totals, label="exps")

    @property
    def _selected(self):
        """Whether weights are divided by the sum of those that are selected."""
        return self.node.renormalise or self.node.scoring == "softmax_selected"

    def _inputs(self, tile, slot):
        """The inputs of the expert's rows, a tile's blocks of them, to all tiles."""
        s, room = self.s, self.room
        first, end = room.blocks[tile]
        if end == first:
            return
        self._vector(
            tile,
            s.tiles,
            opcode=Opcode.GATHER,
            rows=s.count,
            numbers=s.count,
            blocks=end - first,
            a=room.normed,
            a_stride=room.part,
            c=room.lists,
            sink=Sink.QUANTISE,
            activation=s.formats.linear,
            dst=room.gathered(slot) + first,
            dst_stride=s.sizes.dim_blocks,
            label="gather",
        )

    def _product(self, tile, matrix, span, source, dst, stride, label):
        """A product of the expert's rows, for the tile alone; ``source`` is (block, blocks of a row)."""
        s = self.s
        address, size, groups = matrix.stream(tile, *span)
        s.builder.matmul(
            tile,
            [tile],
            dict(mem_addr=address, row_bytes=size),
            a=source[0],
            a_stride=source[1],
            rows=s.count,
            k_blocks=matrix.k_blocks,
            groups=groups,
            dst=dst,
            dst_stride=stride,
            activation=s.formats.linear,
            label=f"{local(self.node)}.{label}",
            **matrix.form,
        )

    def _chunk(self, tile):
        """The line of the tile's next chunk of results."""
        self.chunks[tile] += 1
        return self.room.chunk(self.chunks[tile])

    def _spans(self, matrix, tile):
        first, end = matrix.ranges[tile]
        return [(at, min(at + self.room.columns, end)) for at in range(first, end, self.room.columns)]

    def _hidden(self, tile, slot):
        """The tile's columns of the activation of gate, times up, to all tiles."""
        s, room = self.s, self.room
        if self.places.added and self.places.added[tile][1]:
            address, lines = self.places.added[tile]
            s.builder.load(
                [tile], address, 0, room.added(slot), 0, 1, lines, label=f"{local(self.node)}.biases"
            )
        source = self.x.base, self.x.stride
        if s.count > 1:
            source = room.gathered(slot), s.sizes.dim_blocks
        for span in self._spans(self.places.gate, tile):
            width, line = s.plan.lines(1, span[1] - span[0]), self._chunk(tile)
            stride = 2 * width
            self._product(tile, self.places.gate, span, source, line, stride, "gate")
            self._product(tile, self.places.up, span, source, line + width, stride, "up")
            result = dict(
                sink=Sink.QUANTISE,
                activation=s.formats.linear,
                dst=room.hidden(slot) + span[0] // BLOCK,
                dst_stride=s.sizes.hidden_blocks,
            )
            rows = dict(rows=s.count, blocks=(span[1] - span[0]) // BLOCK, a_stride=stride)
            if self.node.limit is not None:
                self._clamped(tile, span, slot, (line, line + width), rows, result)
                continue
            up = dict(op2=AluOp.MUL, sel2=Select.B, b=line + width, b_stride=stride)
            self._vector(tile, s.tiles, **rows, a=line, sfu=SfuOp.SILU, **up, **result, label="silu")

    def _added(self, slot, tile, part, column):
        """The line of what is added to a tile's columns from ``column`` on of gate (``part`` 0), up or
        down."""
        hidden, down = self.places.gate.ranges[tile], self.places.down.ranges[tile]
        before = part * (hidden[1] - hidden[0]) + column - (down if part == 2 else hidden)[0]
        return self.room.added(slot) + before // LINE_WORDS

    def _clamped(self, tile, span, slot, lines, rows, result):
        """gate * sigmoid(slope * gate) * up of gate and up at ``lines``, which get their biases and limits,
        and up 1 more."""
        node, (gate, up), stride = self.node, lines, rows["a_stride"]
        of = lambda n, op, value: {f"op{n}": op, f"sel{n}": Select.IMMEDIATE, f"imm{n}": value}
        place = lambda line: dict(rows, a=line, sink=Sink.VMEM, dst=line, dst_stride=stride)
        for part, (name, line) in enumerate((("gate", gate), ("up", up))):
            bias = dict(op1=AluOp.ADD, sel1=Select.B, b=self._added(slot, tile, part, span[0]))
            most = of(2, AluOp.MIN, node.limit + part)
            self._vector(tile, **place(line), **bias, **most, label=f"{name}_most")
        times = dict(op2=AluOp.MUL, sel2=Select.B, b=gate, b_stride=stride)
        slope = of(1, AluOp.MUL, node.slope)
        self._vector(tile, **place(gate), **slope, sfu=SfuOp.SIGMOID, **times, label="swish")
        least = of(1, AluOp.MAX, 1 - node.limit)
        self._vector(tile, self.s.tiles, **rows, a=up, **least, **times, **result, label="swiglu")

    def _outputs(self, tile, slot):
        """The tile's columns of the expert's outputs, times the rows' weights, to the sums."""
        s, room, down = self.s, self.room, self.places.down
        source = room.hidden(slot), s.sizes.hidden_blocks
        for span in self._spans(down, tile):
            width, line = s.plan.lines(1, span[1] - span[0]), self._chunk(tile)
            self._product(tile, down, span, source, line, width, "down")
            self._down_bias(tile, span, slot, line, width)
            at = room.sums + (span[0] - down.ranges[tile][0]) // LINE_WORDS
            self._vector(
                tile,
                opcode=Opcode.SCATTER,
                rows=s.count,
                numbers=s.count,
                blocks=(span[1] - span[0]) // BLOCK,
                a=line,
                a_stride=width,
                b=at,
                b_stride=room.stride,
                c=room.lists,
                op1=AluOp.MUL,
                sel1=Select.ROW,
                op2=AluOp.ADD,
                sel2=Select.B,
                sink=Sink.VMEM,
                dst=at,
                dst_stride=room.stride,
                label="add",
            )

    def _down_bias(self, tile, span, slot, line, stride):
        """Adds what a clamped activation's expert adds to its outputs at ``line``."""
        if self.node.limit is None:
            return
        self._vector(
            tile,
            rows=self.s.count,
            blocks=(span[1] - span[0]) // BLOCK,
            a=line,
            a_stride=stride,
            op1=AluOp.ADD,
            sel1=Select.B,
            b=self._added(slot, tile, 2, span[0]),
            sink=Sink.VMEM,
            dst=line,
            dst_stride=stride,
            label="down_bias",
        )

    def _sums(self):
        """The sums times each row's factor, to the tiles that own the tokens."""
        s, room = self.s, self.room
        one = s.count == 1
        for tile in s.tiles:
            factor = self._factor(tile)
            first, end = self.places.down.ranges[tile]
            if end == first:
                continue
            rows = dict(blocks=(end - first) // BLOCK, a_stride=room.stride)
            if not one:
                place = dict(sink=Sink.VMEM, dst=room.sums, dst_stride=room.stride)
                whole = dict(rows, rows=s.count, a=room.sums)
                self._vector(tile, **whole, **factor, **place, label="weigh")
            for group in range(len(s.groups.bounds)):
                for owner in s.groups.owners(group):
                    row, count = s.own_rows(group, owner)
                    self._vector(
                        tile,
                        [owner],
                        **rows,
                        **(factor if one else {}),
                        rows=count,
                        a=room.sums + s.groups.owned(group, owner)[0] * room.stride,
                        sink=Sink.VMEM,
                        dst=room.delta + row * room.whole + first // LINE_WORDS,
                        dst_stride=room.whole,
                        label="give",
                    )

    def _factor(self, tile):
        """Operands that multiply each row by what its weights are to be multiplied by."""
        s, room, node = self.s, self.room, self.node
        if node.scoring == "sigmoid" and not self._selected:
            return dict(op1=AluOp.MUL, sel1=Select.IMMEDIATE, imm1=node.factor)
        if self._selected:
            self._vector(
                tile,
                rows=s.count,
                blocks=1,
                a=room.kept,
                a_stride=BLOCK // LINE_WORDS,
                limit=node.used,
                reduce=Reduce.SUM,
                r=room.totals,
                label="total",
            )
        self._vector(
            tile,
            blocks=-(-s.count // BLOCK),
            a=room.totals,
            sfu=SfuOp.RECIPROCAL,
            op2=AluOp.MUL,
            sel2=Select.IMMEDIATE,
            imm2=node.factor,
            sink=Sink.VMEM,
            dst=room.factors,
            label="factor",
        )
        return dict(op1=AluOp.MUL, sel1=Select.ROW, c=room.factors)
