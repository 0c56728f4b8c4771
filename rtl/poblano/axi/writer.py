"""Two-dimensional writes to memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..verilog import place
from .bursts import BOUNDARY_BYTES, Bursts, TransferLayout
from .signature import AXIWriteSignature

__all__ = ["AXIWriter"]


class AXIWriter(wiring.Component):
    """Writes transfers to memory in order, from a stream of beats; in a row shorter than a beat only its
    bytes are written.

    Latency: 2 cycles from a command to its first address, 1 from a beat to the bus.

    The byte for address ``n`` is byte ``n mod beat`` of its beat. Up to ``outstanding`` bursts are
    unanswered; all have id 0. When memory allows, a beat a cycle is written, across rows and transfers. An
    address does not wait for its data, but at most ``ahead`` addresses are ahead of theirs.

    On an error response ``error`` is high for a cycle, and the writer stops for good: it begins no burst,
    ends the begun ones with strobes 0 and gives no ``done``. While ``flush`` is high it does likewise. Only
    a reset leaves these states, to be given when ``idle``.

    Members
    -------
    cmd : In(stream(TransferLayout))
    i : In(stream(data_width)), the beats
    axi : Out(AXIWriteSignature)
    done : Out(1), high for a cycle when all bursts of a transfer have been answered; in order
    error : Out(1)
    flush : In(1)
    idle : Out(1), no burst is begun or unanswered
    """

    def __init__(self, *, addr_width, data_width, burst_beats, outstanding, ahead, id_width=1):
        self.addr_width, self.data_width = addr_width, data_width
        self.burst_beats, self.id_width = burst_beats, id_width
        self.outstanding, self.ahead = outstanding, ahead
        super().__init__(
            {
                "cmd": In(stream.Signature(TransferLayout(addr_width=addr_width))),
                "i": In(stream.Signature(data_width)),
                "axi": Out(
                    AXIWriteSignature(addr_width=addr_width, data_width=data_width, id_width=id_width)
                ),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        longest = min(self.burst_beats, 8 * BOUNDARY_BYTES // self.data_width)
        bursts = place(
            m, "bursts", Bursts(addr_width=self.addr_width, data_width=self.data_width, burst_beats=longest)
        )
        # Of each unanswered burst, whether it is its transfer's last.
        in_flight = place(m, "in_flight", SyncFIFO(width=1, depth=self.outstanding))
        # Bursts whose data are to be sent.
        pending = data.StructLayout({"len": 8, "strb": self.data_width // 8})
        pending_fifo = place(m, "pending", SyncFIFO(width=pending.size, depth=self.ahead))
        connect(m, flipped(self.cmd), bursts.cmd)

        aw, w, b = self.axi.aw, self.axi.w, self.axi.b
        failed, stop = Signal(), Signal()
        burst, free, begin = Signal.like(bursts.o.payload), Signal(), Signal()
        m.d.comb += [
            stop.eq(failed | self.flush),
            burst.eq(bursts.o.payload),
            free.eq((~aw.valid | aw.ready) & in_flight.w_rdy & pending_fifo.w_rdy & ~stop),
            begin.eq(bursts.o.valid & free),
            bursts.o.ready.eq(free),
            in_flight.w_en.eq(begin),
            in_flight.w_data.eq(burst.last),
            pending_fifo.w_en.eq(begin),
            pending_fifo.w_data.eq(Cat(burst.len, burst.strb)),
            self.idle.eq(~in_flight.r_rdy),
        ]
        with m.If(begin):
            m.d.sync += [aw.valid.eq(1), aw.payload.addr.eq(burst.addr), aw.payload.len.eq(burst.len)]
        with m.Elif(aw.ready):
            m.d.sync += aw.valid.eq(0)

        current = pending(pending_fifo.r_data)
        beat = Signal(8)
        ends, load = Signal(), Signal()
        m.d.comb += [
            ends.eq(beat == current.len),
            load.eq((~w.valid | w.ready) & pending_fifo.r_rdy & (self.i.valid | stop)),
            self.i.ready.eq((~w.valid | w.ready) & pending_fifo.r_rdy & ~stop),
            pending_fifo.r_en.eq(load & ends),
        ]
        with m.If(load):
            m.d.sync += [
                beat.eq(Mux(ends, 0, beat + 1)),
                w.valid.eq(1),
                w.payload.data.eq(self.i.payload),
                w.payload.strb.eq(Mux(stop, 0, current.strb)),
                w.payload.last.eq(ends),
            ]
        with m.Elif(w.ready):
            m.d.sync += w.valid.eq(0)

        bad = Signal()
        m.d.comb += [b.ready.eq(1), in_flight.r_en.eq(b.valid), bad.eq(b.valid & b.payload.resp[1] & ~stop)]
        m.d.sync += [
            self.error.eq(bad),
            self.done.eq(b.valid & ~b.payload.resp[1] & ~stop & in_flight.r_data),
        ]
        with m.If(bad):
            m.d.sync += failed.eq(1)
        return m
