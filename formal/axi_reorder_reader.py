"""Reads that are answered in any order."""

from amaranth.hdl import *

from poblano.axi.reorder_reader import AXIReorderReader
from poblano.axi.signature import AXIConfig

from .harness import FAST, Harness, Mutation, Property

BURSTS, BEATS = 2, 2


class ReorderReader(Harness):
    """Memory answers the beats of the bursts in flight in any order, those of a burst one after the other,
    without errors; commands are rows of a few beats."""

    def prove(self, m):
        config = AXIConfig(addr_width=3, data_width=8)
        dut = self.add(
            "dut",
            AXIReorderReader(config, burst_beats=BEATS, outstanding=BURSTS),
            driven=("flush", "cmd__payload", "axi__r__payload"),
        )
        size = self.free("size", 2)
        m.d.comb += [
            dut.cmd.payload.addr.eq(self.free("addr", 3)),
            dut.cmd.payload.row_bytes.eq(size),
            dut.cmd.payload.rows.eq(1),
        ]
        self.assume(size != 0)
        ar, r, o = dut.axi.ar, dut.axi.r, dut.o
        m.d.comb += [
            r.payload.id.eq(self.free("id")),
            # The block only carries them: one bit, in every place, is enough.
            r.payload.data.eq(self.free("data").replicate(8)),
            r.payload.last.eq(self.free("last")),
        ]
        asks, gives = ar.valid & ar.ready, o.valid & o.ready

        # Memory: of each id the beats that are to come, and those that have come.
        left = [Signal(range(BEATS + 1), name=f"left{n}") for n in range(BURSTS)]
        come = [Signal(range(BEATS + 1), name=f"come{n}") for n in range(BURSTS)]
        for n in range(BURSTS):
            with m.If(asks & (ar.payload.id == n)):
                m.d.sync += [left[n].eq(ar.payload.len + 1), come[n].eq(0)]
            with m.Elif(r.valid & (r.payload.id == n)):
                m.d.sync += [left[n].eq(left[n] - 1), come[n].eq(come[n] + 1)]
        of_id = lambda counts, number: Mux(number, counts[1], counts[0])
        coming = of_id(left, r.payload.id)
        self.assume(~r.valid | (coming != 0) & (r.payload.last == (coming == 1)))
        self.check("own id", ~asks | (of_id(left, ar.payload.id) == 0))
        self.check("short", ~asks | (ar.payload.len < BEATS))
        self.check("accepted", r.ready)

        # An arbitrary beat of an arbitrary burst, and the beats before it.
        held, ahead = Signal(4), Signal(4)
        watching, seen, has_come = Signal(), Signal(), Signal()
        number, index, value = Signal(), Signal(range(BEATS)), Signal(8)
        pick, beat = self.free("pick"), self.free("beat", range(BEATS))
        m.d.sync += held.eq(held + Mux(asks, ar.payload.len + 1, 0) - gives)
        with m.If(asks & pick & ~seen & (beat <= ar.payload.len)):
            m.d.sync += [watching.eq(1), seen.eq(1), number.eq(ar.payload.id), index.eq(beat)]
            m.d.sync += [ahead.eq(held - gives + beat), has_come.eq(0)]
        with m.Elif(watching & gives):
            m.d.sync += [ahead.eq(ahead - 1), watching.eq(ahead != 0)]
        is_it = watching & r.valid & (r.payload.id == number) & (of_id(come, number) == index)
        with m.If(is_it & ~has_come):
            m.d.sync += [has_come.eq(1), value.eq(r.payload.data)]
        ends = watching & gives & (ahead == 0)
        self.check("exists", ~o.valid | (held != 0))
        self.check("same", ~ends | has_come & (o.payload == value))
        held_back = self.past(o.valid & ~o.ready, "held_back")
        self.check("stable", ~held_back | o.valid & (o.payload == self.past(o.payload, "offered")))
        self.check("no error", ~dut.error)
        self.cover("end", ends)
        self.cover("out of order", is_it & (ahead >= 2) & (held == 4))


MODULE = "poblano.axi.reorder_reader"
MUTATIONS = (
    Mutation("too early", MODULE, "counts[turn] > index", "counts[turn] >= index"),
    Mutation("count stays", MODULE, "m.d.sync += count.eq(0)", "m.d.sync += count.eq(count)"),
    Mutation("one id", MODULE, "ar.payload.id.eq(number)", "ar.payload.id.eq(0)"),
    Mutation("overwrites", MODULE, "(~kept | self.o.ready)", "1"),
    Mutation("turn stays", MODULE, "turn.eq(turn + 1)", "turn.eq(turn)"),
)
PROPERTIES = (
    Property(
        "bursts-2",
        ReorderReader,
        "the n-th beat that is asked for is the n-th that comes out, in whatever order bursts are answered; "
        "no two in flight have one id",
        mutations=MUTATIONS,
        timeout=10 * FAST,
    ),
)
