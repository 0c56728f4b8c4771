"""Amaranth's FIFOs as the design instantiates them."""

from functools import partial

from amaranth.hdl import *
from amaranth.lib import fifo

from .harness import Harness, Mutation, Property, Watch


class FIFO(Harness):
    """A FIFO of one-bit elements, which is enough: it does not look at them. The depth of a SyncFIFO is a
    power of two."""

    def __init__(self, kind, depth):
        super().__init__()
        self.kind, self.depth = kind, depth

    def prove(self, m):
        dut = getattr(fifo, self.kind)(width=1, depth=self.depth)
        m.submodules.dut = inside = dut.elaborate(None)
        m.d.comb += [
            dut.w_data.eq(self.free("w_data")),
            dut.w_en.eq(self.free("w_en")),
            dut.r_en.eq(self.free("r_en")),
        ]
        put, get = dut.w_en & dut.w_rdy, dut.r_en & dut.r_rdy
        watch = Watch(
            self, m, "watch", put=put, put_data=dut.w_data, get=get, get_data=dut.r_data, capacity=self.depth
        )
        if self.kind == "SyncFIFO":
            # Where the watched element is: an invariant that makes the proof of a deep FIFO short.
            registers = {signal.name: signal for signal in inside._driving}
            produce, consume = registers["produce"], registers["consume"]
            place = Signal.like(produce)
            with m.If(put & watch.pick & ~watch.seen):
                m.d.sync += place.eq(produce)
            self.check("place", ~watch.watching | (place == (consume + watch.ahead)[: len(place)]))
            self.check("pointers", produce == (consume + watch.held)[: len(place)])
        buffered = self.kind == "SyncFIFOBuffered"
        self.check("level", dut.level == watch.held)
        self.check("room", dut.w_rdy | (watch.held >= (self.depth - 1 if buffered else self.depth)))
        # An element is offered in the cycle after it came, by the buffered FIFO in the one after that, or
        # before.
        waited = self.past(watch.held != get, "waited")
        self.check("offered", dut.r_rdy | (watch.held == 0) | (~waited if buffered else 0))
        kept = self.past(dut.r_rdy & ~dut.r_en, "kept")
        self.check("stable", ~kept | (dut.r_rdy & (dut.r_data == self.past(dut.r_data, "data"))))
        self.cover("full", watch.held == self.depth)
        if self.depth > 1:
            self.cover("both", put & get)


MODULE = "amaranth.lib.fifo"
MUTATIONS = {
    "SyncFIFO": (
        Mutation("overflows", MODULE, "self.w_rdy.eq(self.level != self.depth)", "self.w_rdy.eq(1)"),
        Mutation("reads empty", MODULE, "self.r_rdy.eq(self.level != 0)", "self.r_rdy.eq(self.level != 1)"),
        Mutation(
            "loses count",
            MODULE,
            "with m.If(do_read & ~do_write):\n            m.d.sync += self.level.eq(self.level - 1)",
            "with m.If(do_read):\n            m.d.sync += self.level.eq(self.level - 1)",
        ),
    ),
    "SyncFIFOBuffered": (
        Mutation("overwrites", MODULE, "self.w_rdy.eq(inner_level != inner_depth)", "self.w_rdy.eq(1)"),
        Mutation(
            "drops the output",
            MODULE,
            "do_inner_read  = inner_r_rdy & (~self.r_rdy | self.r_en)",
            "do_inner_read  = inner_r_rdy",
        ),
        Mutation(
            "reads twice", MODULE, "r_port.en.eq(do_inner_read)", "r_port.en.eq(do_inner_read & self.r_en)"
        ),
    ),
}


PROPERTIES = tuple(
    Property(
        f"{kind}-{depth}",
        partial(FIFO, kind, depth),
        "the n-th element out is the n-th in; its level, room and delay are as stated",
        frames=2 * depth + 6,
        mutations=MUTATIONS[kind] if depth == 4 else (),
    )
    for kind, depths in (("SyncFIFO", (2, 4, 8)), ("SyncFIFOBuffered", (1, 2, 3, 4, 5, 9)))
    for depth in depths
)
