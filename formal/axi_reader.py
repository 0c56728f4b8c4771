"""The credit of :class:`AXIReader`: none is lost and none is made, and what was asked for always has room."""

from functools import partial

from amaranth.hdl import *

from poblano.axi.reader import AXIReader
from poblano.axi.signature import AXIConfig

from .harness import Harness, Mutation, Property


class ReaderCredit(Harness):
    """Memory answers the bursts in order, with errors or without, whenever it likes; commands are rows of a
    few beats. Data are not looked at.

    ``depth``: words of the FIFO; ``beats``: in a word; ``outstanding``: bursts in flight.
    """

    def __init__(self, depth, beats, outstanding):
        super().__init__()
        self.depth, self.beats, self.outstanding = depth, beats, outstanding

    def prove(self, m):
        config = AXIConfig(addr_width=4, data_width=8)
        dut = AXIReader(
            config, word_width=8 * self.beats, depth=self.depth, burst_beats=4, outstanding=self.outstanding
        )
        inside = dut.elaborate(None)
        self.add("dut", dut, module=inside, driven=("cmd__payload", "axi__r__payload", "flush"))
        parts = inside.submodules
        size = self.free("size", 2)
        m.d.comb += [
            dut.cmd.payload.addr.eq(self.free("addr", 4)),
            dut.cmd.payload.row_bytes.eq(self.beats * size),
            dut.cmd.payload.rows.eq(1),
        ]
        self.assume(size != 0)
        m.d.comb += dut.flush.eq(self.free("flush"))
        left = self._memory(m, dut)

        capacity = self.depth * self.beats
        ar, credit = dut.axi.ar, parts.credit
        # Beats that were asked for and have not left the FIFO yet; those of a burst that waits at AR too.
        reserved = Signal(range(2 * capacity + 2))
        asks, gives = ar.valid & ar.ready, dut.o.valid & dut.o.ready
        m.d.sync += reserved.eq(reserved + Mux(asks, ar.payload.len + 1, 0) - Mux(gives, self.beats, 0))
        waiting = Mux(ar.valid, ar.payload.len + 1, 0)
        self.check("none lost, none made", credit.left + reserved + waiting == capacity)
        self.check("left is what is there", credit.left <= capacity)
        # So whatever was asked for finds room.
        self.check("always accepted", dut.axi.r.ready)
        self.check("no word is lost", ~parts.words.i.valid | parts.words.i.ready)
        self._invariants(parts, reserved, left)
        self.cover("all taken", credit.left == 0)
        self.cover("all back", (credit.left == capacity) & self.past(credit.left != capacity, "less"))
        self.cover("both at once", (credit.take != 0) & (credit.give != 0))

    def _memory(self, m, dut):
        """Answers to the bursts that were asked for, in order; the beats that are to come, of each."""
        ar, r = dut.axi.ar, dut.axi.r
        asks = ar.valid & ar.ready
        left = Array(Signal(3, name=f"left{n}") for n in range(self.outstanding))
        first, next_ = (Signal(range(self.outstanding), name=name) for name in ("first", "next"))
        after = lambda at: Mux(at == self.outstanding - 1, 0, at + 1)
        with m.If(asks):
            m.d.sync += [left[next_].eq(ar.payload.len + 1), next_.eq(after(next_))]
        ends = r.valid & (left[first] == 1)
        with m.If(r.valid):
            m.d.sync += left[first].eq(left[first] - 1)
        with m.If(ends):
            m.d.sync += first.eq(after(first))
        self.assume(~r.valid | (left[first] != 0))
        m.d.comb += [
            r.payload.last.eq(left[first] == 1),
            r.payload.resp.eq(self.free("resp", 2)),
            r.payload.data.eq(self.free("data").replicate(8)),
        ]
        return left

    def _invariants(self, parts, reserved, left):
        """What lies in the FIFO is no more than what is reserved for it."""
        flying = sum(left[n] for n in range(self.outstanding))
        self.check("room is reserved", parts.words.level * self.beats + flying <= reserved)


MODULE = "poblano.axi.reader"
MUTATIONS = (
    Mutation(
        "lost",
        MODULE,
        "credit.take.eq(Mux(begin, burst.len + 1, 0))",
        "credit.take.eq(Mux(begin, burst.len + 2, 0))",
    ),
    Mutation(
        "made",
        MODULE,
        "credit.take.eq(Mux(begin, burst.len + 1, 0))",
        "credit.take.eq(Mux(begin, burst.len, 0))",
    ),
    Mutation(
        "lost when both",
        MODULE,
        "credit.give.eq(Mux(self.o.valid & self.o.ready, self.beats, 0))",
        "credit.give.eq(Mux(self.o.valid & self.o.ready & ~begin, self.beats, 0))",
    ),
    Mutation(
        "given before it has left",
        MODULE,
        "credit.give.eq(Mux(self.o.valid & self.o.ready, self.beats, 0))",
        "credit.give.eq(Mux(self.o.valid, self.beats, 0))",
    ),
    Mutation("does not fit", MODULE, "fits.eq(credit.left > burst.len)", "fits.eq(credit.left != 0)"),
    Mutation(
        "not asked for", MODULE, "begin.eq(bursts.o.valid & free & fits)", "begin.eq(bursts.o.valid & fits)"
    ),
)
PROPERTIES = tuple(
    Property(
        f"credit-{depth}-{beats}-{outstanding}",
        partial(ReaderCredit, depth, beats, outstanding),
        "the beats that are left, asked for and in the FIFO are always the FIFO's size: no credit is lost or "
        "made; all that was asked for has room",
        frames=20,
        mutations=MUTATIONS if (depth, beats) == (4, 1) else (),
    )
    for depth, beats, outstanding in ((4, 1, 2), (3, 1, 3), (2, 2, 2))
)
