"""The vector unit's lanes: operands in, results out, in step."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import BLOCK
from ..isa.vector_ops import Fill, Select
from ..verilog import place
from .command import VectorCommand, adds_rows, uses
from .lane import VectorLane
from .reference import NO_LIMIT
from .walk import RowWalk, row_group

__all__ = ["Beat", "VectorLanes"]

MINUS_INFINITY = 0xFF800000


class Beat(data.StructLayout):
    """``lanes`` FP32 results, and whether the row is its group's last, the block its row's, the beat the
    command's."""

    def __init__(self, lanes):
        super().__init__({"data": data.ArrayLayout(32, lanes), "last_row": 1, "last_block": 1, "last": 1})


class VectorLanes(wiring.Component):
    """A command's results, in the order of :class:`.walk.RowWalk`, a beat a cycle; while one is not accepted
    everything stops.

    Latency: 1 cycle more than the lanes'.

    Parameters
    ----------
    lanes : numbers in a beat, a power of two from 2 to 32

    Members
    -------
    start : In(1), a command is there in the next cycle; limit : In(16), its ``limit``
    command : In(VectorCommand), constant from the cycle after ``start`` to the last result
    a, b : In(stream of ``lanes`` FP32), c : In(stream of :func:`.walk.row_group` FP32), a group's row
        scalars; b and c only if they are used
    o : Out(stream of Beat)
    waits : Out(1), the lanes could take operands that are not there
    """

    def __init__(self, lanes):
        self.lanes = lanes
        self.group = row_group(lanes)
        operand = stream.Signature(data.ArrayLayout(32, lanes))
        super().__init__(
            {
                "start": In(1),
                "limit": In(16),
                "command": In(VectorCommand()),
                "a": In(operand),
                "b": In(operand),
                "c": In(stream.Signature(data.ArrayLayout(32, self.group))),
                "o": Out(stream.Signature(Beat(lanes))),
                "waits": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = self.command
        walk = place(m, "walk", RowWalk(group=self.group, beats=BLOCK // self.lanes, shared=True))
        en, have, issue = Signal(), Signal(), Signal()
        uses_b, uses_c, together, active = Signal(), Signal(), Signal(), Signal()
        group_ends = self._group_ends(walk, together)
        m.d.comb += [
            uses_b.eq(uses(command, Select.B)),
            uses_c.eq(uses(command, Select.ROW)),
            together.eq(adds_rows(command)),
            en.eq(self.o.ready | ~self.o.valid),
            have.eq(self.a.valid & (self.b.valid | ~uses_b) & (self.c.valid | ~uses_c)),
            issue.eq(have & en),
            self.a.ready.eq(issue),
            self.b.ready.eq(issue & uses_b),
            self.c.ready.eq(issue & uses_c & group_ends),
            self.waits.eq(active & en & ~have),
            walk.step.eq(issue),
            walk.rows.eq(command.rows),
            walk.blocks.eq(command.blocks),
            walk.share.eq(command.share),
        ]
        if self.group > 1:
            m.d.comb += walk.together.eq(together)
        with m.If(issue & walk.last):
            m.d.sync += active.eq(0)
        with m.If(self.start):
            m.d.sync += active.eq(1)

        results = self._operate(m, en, walk, self._limit(m, walk))
        flags = Cat(walk.last_row, walk.last_block, walk.last)
        valid, late_flags = self._accompany(m, en, issue, flags)
        o = self.o.payload
        m.d.comb += [
            Cat(o.last_row, o.last_block, o.last).eq(late_flags),
            self.o.valid.eq(valid),
            *(word.eq(result) for word, result in zip(o.data, results)),
        ]
        return m

    def _group_ends(self, walk, together):
        """Whether the beat is the last that needs the scalars of the row's group, a group in memory too if
        rows are walked one by one."""
        ends = walk.last_part & walk.last_block
        if self.group == 1:
            return ends
        slot = walk.row[: exact_log2(self.group)]
        return ends & Mux(together, walk.last_row, slot.all() | walk.last)

    def _limit(self, m, walk):
        """The row's limit."""
        limit, following = Signal(16), Signal(16)
        first = Signal(16) if self.group > 1 else limit  # of the group's first row
        total = Signal(17)
        m.d.comb += [
            total.eq(limit + self.command.limit_step),
            # Elements are below NO_LIMIT, and so it is enough that the limit doesn't wrap.
            following.eq(Mux(walk.turn, Mux(total[16], NO_LIMIT, total), limit)),
        ]
        with m.If(walk.next_row):
            m.d.sync += limit.eq(following)
        with m.If(walk.next_block):
            m.d.sync += limit.eq(first)
        with m.If(walk.next_group):
            m.d.sync += [limit.eq(following), first.eq(following)]
        with m.If(self.start):
            m.d.sync += [limit.eq(self.limit), first.eq(self.limit)]
        return limit

    def _operate(self, m, en, walk, limit):
        """The lanes' outputs."""
        command, lane_bits = self.command, exact_log2(self.lanes)
        scalar = self.c.payload[0]
        if self.group > 1:
            scalar = Signal(32)
            m.d.comb += scalar.eq(self.c.payload[walk.row[: exact_log2(self.group)]])
        parts = walk.part if self.lanes < BLOCK else C(0, 0)
        fill = Mux(command.fill == Fill.MINUS_INFINITY, MINUS_INFINITY, 0)
        results = []
        for k in range(self.lanes):
            # Cycle 1: operands.
            x, y1, y2 = (Signal(32, name=f"{name}{k}", reset_less=True) for name in ("x", "y1_", "y2_"))
            beyond = Signal(name=f"beyond{k}")
            m.d.comb += beyond.eq(Cat(C(k, lane_bits), parts, walk.block) >= limit)
            with m.If(en):
                m.d.sync += x.eq(
                    Mux(beyond, fill, Mux(command.swap, self.a.payload[k ^ 1], self.a.payload[k]))
                )
                for y, select, immediate in (
                    (y1, command.sel1, command.imm1),
                    (y2, command.sel2, command.imm2),
                ):
                    with m.Switch(select):
                        with m.Case(Select.B):
                            m.d.sync += y.eq(self.b.payload[k])
                        with m.Case(Select.ROW):
                            m.d.sync += y.eq(scalar)
                        with m.Default():
                            m.d.sync += y.eq(immediate)
            lane = place(m, f"lane{k}", VectorLane())
            m.d.comb += [
                lane.op1.eq(command.op1),
                lane.sfu.eq(command.sfu),
                lane.op2.eq(command.op2),
                lane.en.eq(en),
                lane.x.eq(x),
                lane.y1.eq(y1),
                lane.y2.eq(y2),
            ]
            results.append(lane.o)
        return results

    def _accompany(self, m, en, issue, flags):
        """``issue`` and ``flags``, when the beat comes out of the lanes. They enter a delay line as far from
        its end as the command's operations take, which are the same until the line is empty."""
        command, length = self.command, 1 + VectorLane.LATENCY
        kinds = Cat(Value.cast(op).any() for op in (command.op1, command.sfu, command.op2))
        cycles = [1 + VectorLane.latency(*(kind >> n & 1 for n in range(3))) for kind in range(8)]
        enters: dict[int, Value] = {left: Signal(name=f"enters{left}") for left in set(cycles)}
        for left, enter in enters.items():
            m.d.comb += enter.eq(kinds.matches(*(kind for kind in range(8) if cycles[kind] == left)))
        valid: Value = C(0)
        late_flags: Value = C(0, len(flags))
        for left in reversed(range(1, length + 1)):
            following, following_flags = Signal(name=f"valid{left}"), Signal(len(flags), name=f"flags{left}")
            enter = enters.get(left, C(0))
            with m.If(en):
                m.d.sync += [
                    following.eq(Mux(enter, issue, valid)),
                    following_flags.eq(Mux(enter, flags, late_flags)),
                ]
            valid, late_flags = following, following_flags
        return valid, late_flags
