"""Reads that are requested ahead of their use."""

from functools import partial

from amaranth.hdl import *

from poblano.stream.bypass import BypassFIFO
from poblano.stream.fifo import FIFO, BufferedFIFO
from poblano.stream.read_ahead import ReadAhead

from .harness import Harness, Mutation, Property, Watch

MODULE = "poblano.stream.read_ahead"


class Reads(Harness):
    """A memory that answers requests in order, each at any time from the cycle after its transfer on. An
    answer is kept with its tag. One bit of each is enough: the block only carries them.
    """

    def __init__(self, depth, queue):
        super().__init__()
        self.depth, self.queue = depth, queue

    def prove(self, m):
        depth = self.depth
        dut = self.add(
            "dut",
            ReadAhead(request=1, tag=1, answer=2, depth=depth, queue=self.queue),
            driven=["answered", "answer"],
        )
        at_once = self.queue is BypassFIFO
        asked, left = dut.req.valid & dut.req.ready, dut.o.valid & dut.o.ready
        waiting = Signal(range(depth + 2))  # requests not answered
        m.d.comb += [
            dut.answered.eq(self.free("answers") & (waiting != 0)),
            dut.answer.eq(Cat(self.free("word"), dut.tag)),
        ]
        m.d.sync += waiting.eq(waiting + asked - dut.answered)
        waits = self.past(dut.i.valid & ~dut.i.ready, "waits")
        offer = Cat(dut.i.payload.request, dut.i.payload.tag)
        self.assume(~waits | (dut.i.valid & (offer == self.past(offer, "offer"))))

        # A request passes at once, unchanged, if there is room.
        self.check("passes", asked == (dut.i.valid & dut.i.ready))
        self.check("request", ~dut.req.valid | (dut.i.valid & (dut.req.payload == dut.i.payload.request)))
        kept = Signal(range(depth + 2))  # answers not taken
        m.d.sync += kept.eq(kept + dut.answered - left)
        self.check("room", waiting + kept <= depth)
        full = Signal()
        m.d.comb += full.eq(waiting + kept == depth)
        self.check("only with room", ~(full & dut.req.valid))
        self.check("as soon as", ~dut.i.valid | full | dut.req.valid)
        # Tags come back with their answers, answers in order: none is refused.
        Watch(
            self,
            m,
            "tags",
            put=asked,
            put_data=dut.i.payload.tag,
            get=dut.answered,
            get_data=dut.tag,
            capacity=depth,
        )
        Watch(
            self,
            m,
            "answers",
            put=dut.answered,
            put_data=dut.answer,
            get=left,
            get_data=dut.o.payload,
            capacity=depth,
            combinational=at_once,
        )
        stays = self.past(dut.o.valid & ~dut.o.ready, "stays")
        self.check("stable", ~stays | (dut.o.valid & (dut.o.payload == self.past(dut.o.payload, "payload"))))
        late = self.past(kept != left, "late") if self.queue is BufferedFIFO else 1
        self.check("offered", dut.o.valid | ((kept == 0) | ~late) & ~(at_once & dut.answered))
        self.cover("full", full & (waiting == 0))
        self.cover("all under way", full & (kept == 0))
        self.cover("every cycle", asked & dut.answered & left)


MUTATIONS = (
    Mutation("credit made", MODULE, "credit.take.eq(asked)", "credit.take.eq(asked & ~self.answered)"),
    Mutation(
        "credit lost",
        MODULE,
        "credit.give.eq(self.o.valid & self.o.ready)",
        "credit.give.eq(self.o.valid & self.o.ready & ~asked)",
    ),
    Mutation(
        "given back early",
        MODULE,
        "credit.give.eq(self.o.valid & self.o.ready)",
        "credit.give.eq(self.answered)",
    ),
    Mutation(
        "without room", MODULE, "self.req.valid.eq(self.i.valid & may)", "self.req.valid.eq(self.i.valid)"
    ),
    Mutation("taken twice", MODULE, "self.i.ready.eq(self.req.ready & may)", "self.i.ready.eq(may)"),
    Mutation("tag of another", MODULE, "tags.o.ready.eq(self.answered)", "tags.o.ready.eq(self.o.ready)"),
)
PROPERTIES = tuple(
    Property(
        f"{queue.__name__}-{depth}",
        partial(Reads, depth, queue),
        "a request passes at once while there is room for its answer, and only then; answers come out once, "
        "in order, with their tags, none is refused; no credit is lost or made",
        frames=3 * depth + 8,
        mutations=MUTATIONS if (depth, queue) == (4, BufferedFIFO) else (),
    )
    for queue, depths in ((FIFO, (3, 4)), (BufferedFIFO, (3, 4, 5)), (BypassFIFO, (2, 4)))
    for depth in depths
)
