"""A stream for several consumers."""

from functools import partial

from amaranth.hdl import *

from poblano.stream.broadcast import Broadcast

from .harness import Harness, Mutation, Property

MODULE = "poblano.stream.broadcast"


class Consumers(Harness):
    """The source keeps a payload, and whom it is for, until it is taken. One bit of payload is enough: the
    block does not look at it."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def prove(self, m):
        dut = self.add("dut", Broadcast(shape=1, count=self.count))
        offer = Cat(dut.i.payload, dut.to)
        waits = self.past(dut.i.valid & ~dut.i.ready, "waits")
        self.assume(~waits | (dut.i.valid & (offer == self.past(offer, "offer"))))
        done = dut.i.valid & dut.i.ready
        served = []
        for n, port in enumerate(dut.o):
            take, got = port.valid & port.ready, Signal(name=f"got{n}")
            m.d.sync += got.eq(~done & (got | take))
            self.check(f"asked{n}", ~port.valid | dut.to[n])
            self.check(f"once{n}", ~(take & got))
            self.check(f"all{n}", ~done | ((got | take) == dut.to[n]))
            self.check(f"payload{n}", ~port.valid | (dut.i.valid & (port.payload == dut.i.payload)))
            self.check(f"offered{n}", ~(dut.i.valid & dut.to[n]) | got | port.valid)
            waited = self.past(port.valid & ~port.ready, f"waited{n}")
            self.check(
                f"stable{n}", ~waited | (port.valid & (port.payload == self.past(port.payload, f"before{n}")))
            )
            served.append(got | take | ~dut.to[n])
        self.check("ends", ~dut.i.valid | (done == Cat(served).all()))
        everyone = dut.to.all()
        if self.count > 1:
            self.cover("apart", done & everyone & got)
        self.cover("together", done & everyone & ~got)
        self.cover("none", done & (dut.to == 0))


MUTATIONS = (
    Mutation("again", MODULE, "self.i.valid & self.to[n] & ~taken[n]", "self.i.valid & self.to[n]"),
    Mutation("to all", MODULE, "self.i.valid & self.to[n] & ~taken[n]", "self.i.valid & ~taken[n]"),
    Mutation("waits for all", MODULE, "taken[n] | port.ready | ~self.to[n]", "taken[n] | port.ready"),
    Mutation("one is enough", MODULE, "self.i.ready.eq(have.all())", "self.i.ready.eq(have.any())"),
    Mutation("not cleared", MODULE, "taken.eq(Mux(have.all(), 0, have))", "taken.eq(have)"),
    Mutation("taken unseen", MODULE, "with m.If(self.i.valid):", "with m.If(1):"),
)
PROPERTIES = tuple(
    Property(
        f"consumers-{count}",
        partial(Consumers, count),
        "each consumer that it is for takes each payload exactly once, as soon as it is ready, no other does",
        mutations=MUTATIONS if count == 3 else (),
    )
    for count in (1, 2, 3, 5)
)
