"""Two-dimensional reads from memory into a FIFO."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from ..verilog import place
from .bursts import BOUNDARY_BYTES, Bursts, TransferLayout
from .signature import AXIReadSignature

__all__ = ["AXIReader"]


class AXIReader(wiring.Component):
    """Reads transfers from memory in order into a FIFO of ``depth`` words of ``word_width`` bits, the first
    beat lowest.

    Latency: 2 cycles from a command to its first address, and from a word's last beat to the word.

    A burst is begun only when the FIFO has room for all of it, so that data are always accepted. Up to
    ``outstanding`` bursts are in flight; all have id 0 and hence come back in order. When memory allows, a
    beat a cycle is read, across rows and transfers. A transfer is a whole number of words; its rows are
    multiples of a beat.

    On an error response ``error`` is high for a cycle, and the reader stops for good: it begins no burst,
    discards data, gives no ``done``. While ``flush`` is high it does likewise. Only a reset leaves these
    states, to be given when ``idle``.

    Members
    -------
    cmd : In(stream(TransferLayout))
    axi : Out(AXIReadSignature)
    o : Out(stream(word_width))
    done : Out(1), high for a cycle when a transfer's last word has entered the FIFO; in order
    error : Out(1)
    flush : In(1)
    idle : Out(1), no burst is in flight
    full : Out(1), for the counters: waits for room in the FIFO
    """

    def __init__(self, *, addr_width, data_width, word_width, depth, burst_beats, outstanding, id_width=1):
        if word_width % data_width:
            raise ValueError(f"word_width must be a multiple of data_width {data_width}, not {word_width!r}")
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self.addr_width, self.data_width, self.word_width, self.depth = (
            addr_width,
            data_width,
            word_width,
            depth,
        )
        self.burst_beats, self.outstanding, self.id_width = burst_beats, outstanding, id_width
        super().__init__(
            {
                "cmd": In(stream.Signature(TransferLayout(addr_width=addr_width))),
                "axi": Out(AXIReadSignature(addr_width=addr_width, data_width=data_width, id_width=id_width)),
                "o": Out(stream.Signature(word_width)),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
                "full": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ratio = self.word_width // self.data_width
        capacity = self.depth * ratio
        # At most half of the FIFO: what is left of a partial word must not keep a burst out.
        longest = min(
            self.burst_beats, 8 * BOUNDARY_BYTES // self.data_width, 1 << (capacity // 2).bit_length() - 1
        )
        bursts = place(
            m, "bursts", Bursts(addr_width=self.addr_width, data_width=self.data_width, burst_beats=longest)
        )
        # One more word than there are credits: a SyncFIFOBuffered can refuse its last one for a cycle.
        fifo = place(m, "fifo", SyncFIFOBuffered(width=self.word_width, depth=self.depth + 1))
        # Of each burst in flight, whether it is its transfer's last.
        in_flight = place(m, "in_flight", SyncFIFO(width=1, depth=self.outstanding))
        connect(m, flipped(self.cmd), bursts.cmd)

        ar, r = self.axi.ar, self.axi.r
        failed, stop = Signal(), Signal()
        credit = Signal(range(capacity + 1), init=capacity)  # beats of room that no burst has reserved
        burst, free, fits, begin = Signal.like(bursts.o.payload), Signal(), Signal(), Signal()
        pop = Signal()
        m.d.comb += [
            stop.eq(failed | self.flush),
            burst.eq(bursts.o.payload),
            free.eq((~ar.valid | ar.ready) & in_flight.w_rdy & ~stop),
            fits.eq(credit > burst.len),
            begin.eq(bursts.o.valid & free & fits),
            bursts.o.ready.eq(free & fits),
            in_flight.w_en.eq(begin),
            in_flight.w_data.eq(burst.last),
            self.full.eq(bursts.o.valid & ~fits),
            self.idle.eq(~in_flight.r_rdy),
        ]
        m.d.sync += credit.eq(credit - Mux(begin, burst.len + 1, 0) + Mux(pop, ratio, 0))
        with m.If(begin):
            m.d.sync += [ar.valid.eq(1), ar.payload.addr.eq(burst.addr), ar.payload.len.eq(burst.len)]
        with m.Elif(ar.ready):
            m.d.sync += ar.valid.eq(0)

        bad, take, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            r.ready.eq(1),
            bad.eq(r.valid & r.payload.resp[1] & ~stop),
            take.eq(r.valid & ~r.payload.resp[1] & ~stop),
            ends.eq(r.valid & r.payload.last),
            in_flight.r_en.eq(ends),
        ]
        m.d.sync += [self.error.eq(bad), self.done.eq(take & ends & in_flight.r_data)]
        with m.If(bad):
            m.d.sync += failed.eq(1)

        if ratio == 1:
            m.d.comb += [fifo.w_en.eq(take), fifo.w_data.eq(r.payload.data)]
        else:
            beat = Signal(range(ratio))
            earlier = Signal(self.word_width - self.data_width)
            with m.If(take):
                m.d.sync += [
                    beat.eq(Mux(beat == ratio - 1, 0, beat + 1)),
                    earlier.eq(Cat(earlier, r.payload.data) >> self.data_width),
                ]
            m.d.comb += [
                fifo.w_en.eq(take & (beat == ratio - 1)),
                fifo.w_data.eq(Cat(earlier, r.payload.data)),
            ]
        m.d.comb += [
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.o.ready),
            pop.eq(self.o.valid & self.o.ready),
        ]
        return m
