"""Writes of parts of a DRAM's bursts, whose check bits are of all of it."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIWriteSignature
from ..stream.credit import Credit
from ..stream.fifo import FIFO
from ..stream.select import select
from ..verilog import place
from .address import AddressMap
from .config import DramConfig
from .queue import BurstLayout
from .upkeep import Purpose, upkeep

__all__ = ["PartialWrites"]


class PartialWrites(wiring.Component):
    """Has the bursts read of which writes change only a part, and says when each written beat can go.

    Latency: none, of a beat with all its strobes; ``whole`` comes 1 cycle after the beat, if those before
    it can go. Another one takes 2 cycles at least, from which to ``request``; it can go 1 cycle after
    ``returned``.

    Writes and their beats pass in order. A read waits until all earlier writes to its place have been
    issued, and for nothing else. So a burst is read after what was written before, and written before what
    is written afterwards: parts merge as if bytes were written. ``hurry`` is 1 while a read waits, and when
    no more writes can come. A place from ``scrub`` is a write of no byte at all, of one beat, which is not
    answered.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    i : In(stream(BurstLayout)), AXI's writes; scrub : In(stream(place))
    o : Out(stream(BurstLayout)), all writes
    w : In(stream), AXI's W; beats : Out(stream({data, strb})), those of all writes
    whole : Out(1), the next of ``beats``, or what it does not write, is known
    issue : In(1), the next beat's write command is given
    merged : In(1), a beat's old bytes have been used
    request : Out(stream(BurstLayout(upkeep))), reads; returned : In(1), one has come, in order
    hurry : Out(1), writes are not to wait any longer
    reading : Out(1), a read has been asked for and has not returned
    """

    def __init__(self, config: DramConfig):
        self.config = config
        axi = AXIWriteSignature(config.axi).members
        width = config.axi.data_width
        burst = stream.Signature(BurstLayout(config))
        super().__init__(
            {
                "i": In(burst),
                "scrub": In(stream.Signature(AddressMap(config.timing).place)),
                "o": Out(burst),
                "w": In(axi["w"].signature),
                "beats": Out(stream.Signature(data.StructLayout({"data": width, "strb": width // 8}))),
                "whole": Out(1),
                "issue": In(1),
                "merged": In(1),
                "request": Out(stream.Signature(BurstLayout(upkeep(config)))),
                "returned": In(1),
                "hurry": Out(1),
                "reading": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pending = [_Pending(self, n) for n in range(self.config.writes + 1)]
        enters, scrubs, full = Signal(), Signal(), Signal()  # a burst; the scrubber's; there are no more
        moves, leaves = Signal(), Signal()  # the next burst's beats are next; the first burst is written
        looked = Signal(len(pending) + 1, init=1)  # one-hot: of how many bursts all beats have passed
        count = Signal(len(pending) + 1, init=1)  # one-hot: of how many bursts there are
        m.d.comb += [leaves.eq(self.issue & (pending[0].left == 0)), full.eq(count[-1])]
        for bits, more in ((count, enters), (looked, moves)):
            with m.If(more & ~leaves):
                m.d.sync += bits.eq(bits << 1)
            with m.Elif(leaves & ~more):
                m.d.sync += bits.eq(bits >> 1)
        self._enter(m, enters, scrubs, full)
        self._follow(m, pending, enters, scrubs, count, leaves)
        self._look(m, pending, looked, count, moves)
        return m

    def _enter(self, m, enters, scrubs, full):
        """Bursts of AXI and of the scrubber, of which none goes first twice."""
        turn, burst = Signal(), self.o.payload
        m.d.comb += [
            scrubs.eq(self.scrub.valid & (turn | ~self.i.valid)),
            burst.eq(self.i.payload),
            self.o.valid.eq((self.i.valid | self.scrub.valid) & ~full),
            enters.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(self.o.ready & ~full & ~scrubs),
            self.scrub.ready.eq(self.o.ready & ~full & scrubs),
        ]
        with m.If(scrubs):
            m.d.comb += [burst.place.eq(self.scrub.payload), burst.len.eq(0), burst.last.eq(0)]
        with m.If(enters):
            m.d.sync += turn.eq(~scrubs)

    def _follow(self, m, pending, enters, scrubs, count, leaves):
        """Bursts move up when the first one has been written; each beat that is issued is pending no more."""
        first = pending[0]
        with m.If(self.issue):
            m.d.sync += [first.next.eq(first.next + 1), first.left.eq(first.left - 1)]
        for n, each in enumerate(pending):
            if n + 1 < len(pending):
                with m.If(leaves):
                    m.d.sync += each.move(pending[n + 1])
            with m.If(enters & Mux(leaves, count[n + 1], count[n])):
                m.d.sync += each.enter(self.o.payload, scrubs)

    def _look(self, m, pending, looked, count, moves):
        """Let beats pass, those with strobes missing once their burst can be read."""
        depth = self.config.writes
        flags = place(m, "partial_beats", FIFO(shape=1, depth=self.config.write_beats))
        room = place(m, "room_left", Credit(total=depth))
        mine = lambda name: select(looked, [getattr(each, name) for each in pending])
        here, at = Signal(), Signal.like(pending[0].next)
        begun = Signal()  # some of its beats have passed, and the next one is that at `at`
        index = Signal.like(at)
        last, scrubs = Signal.like(at), Signal()
        partial, clear, checked, free, go = Signal(), Signal(), Signal(), Signal(), Signal()
        there = Cat(count[n + 1 :].any() for n in range(len(pending)))  # bursts
        passed = Cat(looked[n + 1 :].any() for n in range(len(pending)))  # those whose beats have passed
        granule = Signal.like(pending[0].granule)
        m.d.comb += [
            scrubs.eq(mine("scrubs")),
            granule.eq(mine("granule")),
            last.eq(mine("last")),
            index.eq(Mux(begun, at, mine("next"))),
            here.eq((looked[:-1] & there).any() & (scrubs | self.w.valid)),
            partial.eq(scrubs | ~self.w.payload.strb.all()),
            clear.eq(~Cat(passed[n] & each.holds(granule, index) for n, each in enumerate(pending)).any()),
            free.eq(self.beats.ready & flags.i.ready),
            self.request.valid.eq(here & partial & checked & free & (room.left != 0)),
            go.eq(here & Mux(partial, self.request.valid & self.request.ready, free)),
            self.beats.valid.eq(go),
            self.beats.payload.data.eq(self.w.payload.data),
            self.beats.payload.strb.eq(Mux(scrubs, 0, self.w.payload.strb)),
            self.w.ready.eq(go & ~scrubs),
            moves.eq(go & (index == last)),
        ]
        where = self.request.payload
        m.d.comb += [
            Cat(where.place.way, where.place.column).eq(index),
            Cat(where.place.set, where.place.row).eq(granule),
            where.id.eq(Mux(scrubs, Purpose.SCRUB, Purpose.MERGE)),
            where.last.eq(1),
            room.take.eq(go & partial),
            room.give.eq(self.merged),
        ]
        m.d.sync += checked.eq(here & partial & clear & ~go)
        with m.If(go):
            m.d.sync += [at.eq(index + 1), begun.eq(~moves)]
        # Nothing more can come before some are written, when all of as many bursts as there can be is whole.
        complete = looked[-1] & ~flags.o.valid
        m.d.comb += self.hurry.eq(complete | here & partial & ~clear & ~checked)
        self._say(m, flags, go, partial)

    def _say(self, m, flags, go, partial):
        """Which beats are whole, in order."""
        depth = self.config.writes
        unread = Signal(range(depth + 1))  # reads that have not returned
        known = Signal(range(depth + 1))  # reads that have returned, and whose beats are not yet whole
        waits = flags.o.payload
        m.d.comb += [
            flags.i.valid.eq(go),
            flags.i.payload.eq(partial),
            self.whole.eq(flags.o.valid & (~waits | (known != 0))),
            flags.o.ready.eq(self.whole),
            self.reading.eq(unread != 0),
        ]
        m.d.sync += unread.eq(unread + (go & partial) - self.returned)
        m.d.sync += known.eq(known + self.returned - (self.whole & waits))


class _Pending:
    """The registers of a burst that is not written yet: its granule, the place in it of the next beat that
    is not issued, that of its last beat, the beats left less one, and whether the scrubber writes it."""

    def __init__(self, writes, number):
        layout = writes.o.payload.shape()
        where = layout["place"].shape.members
        signal = lambda shape, name: Signal(shape, name=f"pending{number}_{name}")
        self.granule = signal(AddressMap(writes.config.timing).granule.size, "granule")
        self.next = signal(Shape.cast(where["way"]).width + Shape.cast(where["column"]).width, "next")
        self.last = signal(self.next.shape(), "last")
        self.left = signal(layout["len"].shape, "left")
        self.scrubs = signal(1, "scrubs")

    def enter(self, burst, scrubs):
        """The assignments of a new burst."""
        first = Cat(burst.place.way, burst.place.column)
        return [
            self.granule.eq(Cat(burst.place.set, burst.place.row)),
            self.next.eq(first),
            self.last.eq(first + burst.len),
            self.left.eq(burst.len),
            self.scrubs.eq(scrubs),
        ]

    def move(self, other):
        """The assignments of a burst that moves up."""
        return [mine.eq(theirs) for mine, theirs in zip(vars(self).values(), vars(other).values())]

    def holds(self, granule, index):
        """Whether a beat of it that is not issued is at this place."""
        return (self.granule == granule) & (self.next <= index) & (index <= self.last)
