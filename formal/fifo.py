"""The queues that streams pass."""

from functools import partial

from amaranth.hdl import *

from poblano.stream.fifo import FIFO, BufferedFIFO

from .harness import Harness, Mutation, Property, Watch


class Queue(Harness):
    """A queue of one-bit payloads, which is enough: it does not look at them."""

    def __init__(self, kind, depth):
        super().__init__()
        self.kind, self.depth = kind, depth

    def prove(self, m):
        dut = self.add("dut", self.kind(shape=1, depth=self.depth))
        buffered, coded = isinstance(dut, BufferedFIFO), isinstance(dut, Coded)
        put, get = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        watch = Watch(
            self,
            m,
            "watch",
            put=put,
            put_data=dut.i.payload,
            get=get,
            get_data=dut.o.payload,
            capacity=self.depth + coded,
        )
        self.check("level", dut.level == watch.held)
        self.check("room", dut.i.ready | (watch.held >= (self.depth - 1 if buffered else self.depth)))
        # A payload is offered in the cycle after it came, by the buffered queue in the one after that, or
        # before; by the queue with check bits in the next.
        waited = self.past(watch.held != get, "waited")
        waits = ~dut.o.valid & (watch.held != 0)
        if coded:
            waited_once = self.past(waits, "waited_once")
            self.check("offered", ~(waits & waited_once & self.past(waited_once, "waited_twice")))
        else:
            self.check("offered", ~waits | (~waited if buffered else 0))
        if coded:
            self.check("whole", ~dut.o.valid | ~(dut.corrected | dut.failed))
        kept = self.past(dut.o.valid & ~dut.o.ready, "kept")
        self.check("stable", ~kept | (dut.o.valid & (dut.o.payload == self.past(dut.o.payload, "data"))))
        self.cover("full", watch.held == self.depth + coded)
        if self.depth > 1:
            self.cover("both", put & get)


class Coded(BufferedFIFO):
    """With check bits, however small it is."""

    coded = True

    def __init__(self, *, shape, depth):
        super().__init__(shape=shape, depth=depth, ecc=True)


MODULE, QUEUE = "amaranth.lib.fifo", "poblano.stream.fifo"
MUTATIONS = {
    FIFO: (
        Mutation(
            "loses data", "poblano.stream.fifo", "queue.w_data.eq(self.i.payload)", "queue.w_data.eq(0)"
        ),
        Mutation("overflows", MODULE, "self.w_rdy.eq(self.level != self.depth)", "self.w_rdy.eq(1)"),
        Mutation("reads empty", MODULE, "self.r_rdy.eq(self.level != 0)", "self.r_rdy.eq(self.level != 1)"),
        Mutation(
            "loses count",
            MODULE,
            "with m.If(do_read & ~do_write):\n            m.d.sync += self.level.eq(self.level - 1)",
            "with m.If(do_read):\n            m.d.sync += self.level.eq(self.level - 1)",
        ),
    ),
    BufferedFIFO: (
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
    Coded: (
        Mutation("drops", QUEUE, "~self.o.valid | self.o.ready", "1"),
        Mutation("repeats", QUEUE, "with m.If(queue.r_en):", "with m.If(queue.r_rdy):"),
        Mutation("not decoded", QUEUE, "decoder.i.eq(queue.r_data)", "decoder.i.eq(queue.w_data)"),
    ),
}


PROPERTIES = tuple(
    Property(
        f"{kind.__name__}-{depth}",
        partial(Queue, kind, depth),
        "the n-th payload out is the n-th in; its level, room and delay are as stated",
        frames=2 * depth + 6,
        mutations=MUTATIONS[kind] if depth == 4 else (),
    )
    for kind, depths in ((FIFO, (2, 4, 8)), (BufferedFIFO, (1, 2, 3, 4, 5, 9)), (Coded, (2, 4)))
    for depth in depths
)
