"""Between an AXI4 write master that is reset and a memory that has not answered."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..stream.fifo import FIFO
from ..verilog import place
from .signature import AXIConfig, AXIWriteSignature

__all__ = ["AXIWriteGuard"]


class AXIWriteGuard(wiring.Component):
    """Lets a write master be reset at any time: it ends the bursts from before the reset, and their answers
    do not reach the master.

    Latency: combinational; a beat of data passes in the cycle after its burst's address has been offered, or
    later.

    After ``cut`` an address and a beat that were offered stay offered, the beats that are still owed follow
    with strobes of 0, and answers are taken and dropped. No burst begins until all have been answered.

    Parameters
    ----------
    config : AXIConfig
    outstanding : most bursts that the master has without an answer
    ahead : most bursts whose address it has offered and whose data it has not
    longest : most beats in a burst

    Members
    -------
    i : In(AXIWriteSignature(config)), the master
    o : Out(AXIWriteSignature(config))
    cut : In(1), the master is reset at the end of this cycle
    """

    def __init__(self, config: AXIConfig, *, outstanding, ahead, longest):
        self.config = config
        self.outstanding, self.ahead, self.longest = outstanding, ahead, longest
        signature = AXIWriteSignature(config)
        super().__init__({"i": In(signature), "o": Out(signature), "cut": In(1)})

    def elaborate(self, platform):
        m = Module()
        draining, goes_on = Signal(), Signal()
        i, o = self.i, self.o
        # Of the bursts whose address has been offered and whose data have not passed, the beats less one; one
        # more than are ahead, as the master has passed on its last beat when that is offered.
        lengths = place(m, "lengths", FIFO(shape=max(1, ceil_log2(self.longest)), depth=self.ahead + 1))
        self._addresses(m, lengths, draining, goes_on)
        self._data(m, lengths, draining)
        m.d.comb += [
            i.b.payload.eq(o.b.payload),
            i.b.valid.eq(o.b.valid & ~draining),
            o.b.ready.eq(i.b.ready | draining),
        ]
        m.d.sync += draining.eq((draining | self.cut) & goes_on)
        return m

    def _addresses(self, m, lengths, draining, goes_on):
        """Passes addresses on, and keeps one that is offered; whether bursts are left without an answer."""
        aw, out, b = self.i.aw, self.o.aw, self.o.b
        unanswered, left = Signal(range(self.outstanding + 1)), Signal(range(self.outstanding + 1))
        offered, room, may = Signal(), Signal(), Signal()
        kept = Signal.like(aw.payload)
        m.d.comb += [
            room.eq(lengths.i.ready & (unanswered != self.outstanding)),
            may.eq(~draining & (offered | room)),
            out.valid.eq(Mux(draining, offered, aw.valid & may)),
            out.payload.eq(Mux(draining, kept, aw.payload)),
            aw.ready.eq(out.ready & may),
            lengths.i.valid.eq(aw.valid & ~draining & ~offered & (unanswered != self.outstanding)),
            lengths.i.payload.eq(aw.payload.len),
            left.eq(unanswered + (lengths.i.valid & lengths.i.ready) - (b.valid & b.ready)),
            goes_on.eq(left != 0),
        ]
        m.d.sync += [offered.eq(out.valid & ~out.ready), unanswered.eq(left)]
        with m.If(self.cut & ~draining):
            m.d.sync += kept.eq(aw.payload)

    def _data(self, m, lengths, draining):
        """Passes beats on, and gives those that are owed."""
        w, out = self.i.w, self.o.w
        beat = Signal.like(lengths.o.payload)
        kept = Signal.like(w.payload)  # of the beats that are owed, the first; the others have its data
        passes, last = Signal(), Signal()
        m.d.comb += [
            last.eq(beat == lengths.o.payload),
            out.valid.eq(lengths.o.valid & (w.valid | draining)),
            out.payload.data.eq(Mux(draining, kept.data, w.payload.data)),
            out.payload.strb.eq(Mux(draining, kept.strb, w.payload.strb)),
            out.payload.last.eq(last),
            w.ready.eq(out.ready & lengths.o.valid & ~draining),
            passes.eq(out.valid & out.ready),
            lengths.o.ready.eq(passes & last),
        ]
        with m.If(passes):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        with m.If(self.cut & ~draining):
            m.d.sync += [
                kept.data.eq(w.payload.data),
                kept.strb.eq(Mux(out.valid & ~out.ready, w.payload.strb, 0)),
            ]
        with m.Elif(passes):
            m.d.sync += kept.strb.eq(0)
