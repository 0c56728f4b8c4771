"""An answer's bytes, from registers and the bridge's buffer."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AnswerSender"]


class AnswerSender(wiring.Component):
    """Gives a frame's content: sequence number, status, and ``size`` bytes of a memory.

    Latency: 1 cycle to the first byte.

    A byte takes four cycles and more; its line takes longer.

    Parameters
    ----------
    payload : most bytes of data, a power of two

    Members
    -------
    start : In(1), high until ``done``
    sequence, status : In(8); size : In; constant from ``start`` to ``done``
    addr : Out, of a byte; data : In(8), in the cycle after
    o : Out(stream), ``data`` and ``last``
    done : Out(1), high for a cycle: all bytes have been given
    """

    def __init__(self, *, payload):
        self.payload = payload
        super().__init__(
            {
                "start": In(1),
                "sequence": In(8),
                "status": In(8),
                "size": In(range(payload + 1)),
                "addr": Out((payload - 1).bit_length()),
                "data": In(8),
                "o": Out(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sent = Signal.like(self.size)
        byte, last, valid = Signal(8), Signal(), Signal()
        m.d.comb += [
            self.addr.eq(sent),
            self.o.payload.data.eq(byte),
            self.o.payload.last.eq(last),
            self.o.valid.eq(valid),
        ]
        m.d.sync += self.done.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [sent.eq(0), byte.eq(self.sequence), last.eq(0)]
                with m.If(self.start & ~self.done):
                    m.d.sync += valid.eq(1)
                    m.next = "SEQUENCE"
            with m.State("SEQUENCE"), m.If(self.o.ready):
                m.d.sync += [byte.eq(self.status), last.eq(self.size == 0)]
                m.next = "PUT"
            with m.State("PUT"), m.If(self.o.ready):
                m.d.sync += [valid.eq(0), self.done.eq(last)]
                m.next = "READ"
                with m.If(last):
                    m.next = "IDLE"
            with m.State("READ"):
                m.next = "KEEP"
            with m.State("KEEP"):
                m.d.sync += [byte.eq(self.data), sent.eq(sent + 1)]
                m.next = "LAST"
            with m.State("LAST"):
                m.d.sync += [last.eq(sent == self.size), valid.eq(1)]
                m.next = "PUT"
        return m
