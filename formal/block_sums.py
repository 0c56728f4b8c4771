"""Sums over the passes of a block, in two banks."""

from functools import partial
from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.lib import data

from poblano.compute.block_sums import SUMS_COMMAND, BlockSums

from .harness import Harness, Mutation, Property


class Sums(Harness):
    """Commands of two rows or one, up to two steps, passes and groups. The reader reads only complete
    steps, row by row, and ends each.

    ``apart``: a pass begins no sooner than ``items`` cycles after the one before, those of its weights, as
        from an array; else passes of one row may come in consecutive cycles.
    One arbitrary row of one arbitrary step (of all steps since the reset) is watched: its sums are followed
    on the way in, and what is read for it must be their total. Sums have three bits.
    """

    ROWS = 2

    def __init__(self, items, apart, ecc=False):
        super().__init__()
        self.items, self.apart, self.ecc = items, apart, ecc

    def prove(self, m):
        for field in SUMS_COMMAND:
            SUMS_COMMAND[field] = 2  # bits, of each loop's bound
        arithmetic = SimpleNamespace(sum_layout=data.StructLayout({"value": signed(3), "special": 1}))
        array = SimpleNamespace(items=self.items, cols=1, segments=1, arithmetic=arithmetic)
        dut = self.add(
            "dut", BlockSums(array, tokens=self.ROWS, ecc=self.ecc), driven=["row", "last", "read"]
        )
        command, put = dut.cmd.payload, dut.cmd.valid & dut.cmd.ready
        for field in SUMS_COMMAND:
            self.assume((command[field] != 0) & (command[field] <= 2))
        rows = self.constant("rows", 2)
        self.assume((rows != 0) & (rows <= self.ROWS) & (command.rows == rows))
        # What comes in: row by row, pass by pass; the number of passes of the step that comes in, from the
        # command taken last.
        accept = dut.i.valid & dut.i.ready
        passes, row_in, pass_in = Signal(2), Signal(2), Signal(2)
        if self.apart:
            since = Signal(range(self.items + 1), init=self.items)  # the last pass began
            m.d.sync += since.eq(
                Mux(accept & (row_in == 0), 1, Mux(since == self.items, self.items, since + 1))
            )
            self.assume(~dut.i.valid | (row_in != 0) | (since == self.items))
        with m.If(put):
            m.d.sync += passes.eq(command.passes)
        last_row, last_pass = row_in == rows - 1, pass_in == passes - 1
        ends_in = accept & last_row & last_pass
        with m.If(accept):
            m.d.sync += [
                row_in.eq(Mux(last_row, 0, row_in + 1)),
                pass_in.eq(Mux(last_row, Mux(last_pass, 0, pass_in + 1), pass_in)),
            ]
        # What is read.
        row_out = Signal(2)
        reads = Signal()
        m.d.comb += [
            dut.row.eq(row_out),
            dut.last.eq(row_out == rows - 1),
            dut.read.eq(self.free("read") & dut.full),
            reads.eq(dut.read & dut.en),
        ]
        with m.If(reads):
            m.d.sync += row_out.eq(Mux(dut.last, 0, row_out + 1))
        ends_out = reads & dut.last
        # Steps that are in and not out; the watched one is `ahead` steps behind the one that is read, or
        # comes in.
        steps = Signal(2)
        m.d.sync += steps.eq(steps + ends_in - ends_out)
        self.check("complete", ~dut.full | (steps != 0))
        self.check("two banks", steps <= 2)
        row = self.constant("row")
        self.assume(row < rows)
        choose = self.free("choose")
        filling, stored, ahead, chosen = Signal(), Signal(), Signal(2), Signal()
        total = Signal(signed(3)), Signal()
        starts = accept & (row_in == 0) & (pass_in == 0) & choose & ~chosen
        of_step = starts | filling
        with m.If(starts):
            m.d.sync += [chosen.eq(1), filling.eq(1)]
        with m.If(of_step & ends_in):
            m.d.sync += [filling.eq(0), stored.eq(1), ahead.eq(steps - ends_out)]
        with m.Elif(stored & ends_out):
            m.d.sync += [stored.eq(ahead != 0), ahead.eq(ahead - 1)]
        i = dut.i.payload[0][0]
        with m.If(of_step & accept & (row_in == row)):
            m.d.sync += [
                total[0].eq(Mux(pass_in == 0, 0, total[0]) + i.value),
                total[1].eq(Mux(pass_in == 0, 0, total[1]) | i.special),
            ]
        # What is read for it is its total, from the next cycle until one with `en`.
        shown = Signal()
        is_read = reads & stored & (ahead == 0) & (row_out == row)
        with m.If(dut.en):
            m.d.sync += shown.eq(is_read)
        o = dut.data[0][0]
        self.check("total", ~shown | ((o.value == total[0]) & (o.special == total[1])))
        self.cover("two passes", shown & (passes == 2) & (total[0] == -3) & total[1])
        self.cover("early", accept & (steps == 2))
        self.cover("both banks", steps == 2)


MODULE = "poblano.compute.block_sums"
PROPERTIES = (
    Property(
        "one-item",
        partial(Sums, 1, False),
        "the same where a weight tile is one item, and passes may come in consecutive cycles",
        frames=24,
        timeout=400,
        mutations=(Mutation("stale sum", MODULE, "self.config.items < 2", "self.config.items < 1"),),
    ),
    Property(
        "sums",
        partial(Sums, 2, True),
        "what is read of a step is the total of its passes, whatever comes in and stalls meanwhile; only "
        "complete steps are shown; at "
        "most two are kept",
        frames=24,
        timeout=400,
        mutations=(
            Mutation("no bank kept", MODULE, "~closed.bit_select(fill_bank, 1)", "1"),
            Mutation(
                "early completion",
                MODULE,
                "complete.eq(accept & at.last.pass_ & at.last.row)",
                "complete.eq(accept & at.last.row)",
            ),
            Mutation("overwritten too early", MODULE, "fill_row < self.row", "fill_row <= self.row"),
            Mutation("passes not added", MODULE, "first.eq(at.first.pass_)", "first.eq(1)"),
            Mutation(
                "wrong bank shown",
                MODULE,
                "Mux(data_bank, so_far[1], so_far[0])",
                "Mux(drain_bank, so_far[1], so_far[0])",
            ),
        ),
    ),
    Property(
        "check-bits",
        partial(Sums, 1, False, True),
        "the same with check bits, where a weight tile is one item",
        frames=24,
        timeout=400,
        mutations=(
            Mutation("pass behind pass", MODULE, "stage.write & (stage.row == now.row)", "0"),
            Mutation("closed too late", MODULE, "full | Mux(last.complete, 1 << last.bank, 0)", "full"),
            Mutation("a pass too soon", MODULE, "last.write & (last.row == now.row)", "0"),
            Mutation(
                "of one bank",
                MODULE,
                "Mux(stage.bank, so_far[1].as_value(), so_far[0].as_value())",
                "so_far[0].as_value()",
            ),
        ),
    ),
)
