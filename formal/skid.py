"""The register between two streams, and the FIFO that shows what arrives at once."""

from functools import partial

from amaranth.hdl import *

from poblano.stream.bypass import BypassFIFO
from poblano.stream.skid import Skid

from .harness import Harness, Mutation, Property, Watch


class Passes(Harness):
    """A stream of one-bit items, which is enough: ``block`` does not look at them. An item comes out
    ``delay`` cycles later, if nothing is inside."""

    def __init__(self, block, capacity, delay):
        super().__init__()
        self.block, self.capacity, self.delay = block, capacity, delay

    def prove(self, m):
        dut = self.block()
        m.submodules.dut = dut
        i, o = dut.i, dut.o
        m.d.comb += [
            i.payload.eq(self.free("data")),
            i.valid.eq(self.free("valid")),
            o.ready.eq(self.free("ready")),
        ]
        put, get = i.valid & i.ready, o.valid & o.ready
        watch = Watch(
            self,
            m,
            "watch",
            put=put,
            put_data=i.payload,
            get=get,
            get_data=o.payload,
            capacity=self.capacity,
            combinational=self.delay == 0,
        )
        self.check("room", i.ready | (watch.held == self.capacity))
        self.check("offered", o.valid == ((watch.held != 0) | (i.valid if self.delay == 0 else 0)))
        # While items wait, an offer stays.
        kept = self.past(o.valid & ~o.ready & (watch.held != 0), "kept")
        self.check("stable", ~kept | (o.valid & (o.payload == self.past(o.payload, "payload"))))
        self.cover("full", watch.held == self.capacity)
        self.cover("both", put & get & (watch.held != 0))


SKID, BYPASS = "poblano.stream.skid", "poblano.stream.bypass"
SKID_MUTATIONS = (
    Mutation("overwrites", SKID, "self.i.ready.eq(~waits)", "self.i.ready.eq(1)"),
    Mutation("forgets", SKID, "waits.eq(waits | self.i.valid)", "waits.eq(waits)"),
    Mutation("repeats", SKID, "waits.eq(0)", "waits.eq(waits)"),
    Mutation("overtakes", SKID, "Mux(waits, spare, self.i.payload)", "self.i.payload"),
)
STORED = "waiting.i.valid.eq(self.i.valid & (waiting.o.valid | ~self.o.ready))"
BYPASS_MUTATIONS = (
    Mutation("twice", BYPASS, STORED, "waiting.i.valid.eq(self.i.valid)"),
    Mutation("lost", BYPASS, STORED, "waiting.i.valid.eq(self.i.valid & waiting.o.valid)"),
    Mutation(
        "overtakes", BYPASS, "Mux(waiting.o.valid, waiting.o.payload, self.i.payload)", "self.i.payload"
    ),
)
PROPERTIES = (
    Property(
        "Skid",
        partial(Passes, partial(Skid, shape=1), 2, 1),
        "the n-th item out is the n-th in, offered in the next cycle; room for two",
        frames=10,
        mutations=SKID_MUTATIONS,
    ),
    *(
        Property(
            f"BypassFIFO-{depth}",
            partial(Passes, partial(BypassFIFO, shape=1, depth=depth), depth, 0),
            "the n-th item out is the n-th in, in the same cycle if nothing waits; room for depth",
            frames=2 * depth + 8,
            mutations=BYPASS_MUTATIONS if depth == 4 else (),
        )
        for depth in (2, 4, 8)
    ),
)
