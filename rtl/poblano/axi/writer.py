"""Two-dimensional writes to memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from ..stream.fifo import FIFO
from ..verilog import place
from .answer_order import AnswerOrder
from .bursts import BOUNDARY_BYTES, Bursts, TransferLayout
from .signature import AXIConfig, AXIWriteSignature

__all__ = ["AXIWriter"]


class AXIWriter(wiring.Component):
    """Writes transfers to memory in order, from a stream of beats; in a row shorter than a beat only its
    bytes are written.

    Latency: 2 cycles from a command to its first address, 1 from a beat to the bus.

    The byte for address ``n`` is byte ``n mod beat`` of its beat. Up to ``outstanding`` bursts are
    unanswered; all have id 0, or with ``any_order`` each has an id of its own. When memory allows, a beat a
    cycle is written, across rows and transfers, though there is a cycle between the addresses of two
    transfers. An address does not wait for its data, but at most ``ahead`` addresses are ahead of theirs.

    On an error response ``error`` is high for a cycle, and the writer stops for good: it begins no burst,
    ends the begun ones with strobes 0 and gives no ``done``. While ``flush`` is high it does likewise. Only
    a reset leaves these states, to be given when ``idle``.

    Parameters
    ----------
    config : AXIConfig
    burst_beats : greatest number of beats in a burst, a power of two
    outstanding : most bursts without an answer
    ahead : most bursts whose address is out and whose last beat is not
    any_order : bursts may be answered in any order; ``outstanding`` is a power of two and there are as many
        ids

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

    ADDRESS, DONE = 2, 1
    """Cycles from a command to its first address, and from the last answer to ``done``."""

    def __init__(self, config: AXIConfig, *, burst_beats, outstanding, ahead, any_order=False):
        if any_order and 1 << config.id_width < outstanding:
            raise ValueError(f"ids of {config.id_width} bits are too few for {outstanding!r} bursts")
        self.config, self.burst_beats = config, burst_beats
        self.outstanding, self.ahead, self.any_order = outstanding, ahead, any_order
        super().__init__(
            {
                "cmd": In(stream.Signature(TransferLayout(addr_width=config.addr_width))),
                "i": In(stream.Signature(config.data_width)),
                "axi": Out(AXIWriteSignature(config)),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        longest = min(self.burst_beats, BOUNDARY_BYTES // config.data_bytes)
        bursts = place(
            m,
            "bursts",
            Bursts(addr_width=config.addr_width, data_width=config.data_width, burst_beats=longest),
        )
        # Of each unanswered burst, whether it is its transfer's last.
        in_flight = place(m, "in_flight", FIFO(shape=1, depth=self.outstanding))
        # Bursts whose data are to be sent.
        beats = data.StructLayout({"len": 8, "strb": config.data_bytes})
        pending = place(m, "pending", FIFO(shape=beats, depth=self.ahead))
        connect(m, flipped(self.cmd), bursts.cmd)

        aw, w = self.axi.aw, self.axi.w
        failed, stop = Signal(), Signal()
        burst, free, begin = Signal.like(bursts.o.payload), Signal(), Signal()
        m.d.comb += [
            stop.eq(failed | self.flush),
            burst.eq(bursts.o.payload),
            free.eq((~aw.valid | aw.ready) & in_flight.i.ready & pending.i.ready & ~stop),
            begin.eq(bursts.o.valid & free),
            bursts.o.ready.eq(free),
            in_flight.i.valid.eq(begin),
            in_flight.i.payload.eq(burst.last),
            pending.i.valid.eq(begin),
            pending.i.payload.len.eq(burst.len),
            pending.i.payload.strb.eq(burst.strb),
            self.idle.eq(~in_flight.o.valid),
        ]
        with m.If(begin):
            m.d.sync += [aw.valid.eq(1), aw.payload.addr.eq(burst.addr), aw.payload.len.eq(burst.len)]
        with m.Elif(aw.ready):
            m.d.sync += aw.valid.eq(0)

        current = pending.o.payload
        beat = Signal(8)
        ends, load = Signal(), Signal()
        m.d.comb += [
            ends.eq(beat == current.len),
            load.eq((~w.valid | w.ready) & pending.o.valid & (self.i.valid | stop)),
            self.i.ready.eq((~w.valid | w.ready) & pending.o.valid & ~stop),
            pending.o.ready.eq(load & ends),
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

        self._answers(m, in_flight, begin, stop, failed)
        return m

    def _answers(self, m, in_flight, begin, stop, failed):
        """Ends bursts in the order in which they were begun."""
        b = self.axi.b
        answered, wrong = b.valid, b.payload.resp[1]  # the oldest burst is; with an error
        if self.any_order:
            number = Signal(ceil_log2(self.outstanding))
            with m.If(begin):
                m.d.sync += [number.eq(number + 1), self.axi.aw.payload.id.eq(number)]
            order = place(m, "order", AnswerOrder(outstanding=self.outstanding))
            m.d.comb += [
                order.valid.eq(b.valid),
                order.id.eq(b.payload.id),
                order.bad.eq(b.payload.resp[1]),
                order.o.ready.eq(1),
            ]
            answered, wrong = order.o.valid, order.o.payload
        bad = Signal()
        m.d.comb += [b.ready.eq(1), in_flight.o.ready.eq(answered), bad.eq(answered & wrong & ~stop)]
        m.d.sync += [self.error.eq(bad), self.done.eq(answered & ~wrong & ~stop & in_flight.o.payload)]
        with m.If(bad):
            m.d.sync += failed.eq(1)
