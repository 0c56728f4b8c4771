"""An AXI4 slave of 32 bits that reads and writes words."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIConfig, AXIReadSignature, AXIWriteSignature

__all__ = ["AXIMemory"]

WORD = 4
OKAY, SLVERR, DECERR = 0, 2, 3


class AXIMemory(wiring.Component):
    """One INCR burst of whole words at a time, writes first: a word every three cycles is read, one a cycle
    written.

    Latency: 3 cycles from an address to its first word.

    Words past ``size`` bytes answer with DECERR. A burst waits while the owner is ``busy``; ``idle`` says
    that none is under way. Strobes must be all ones, or the beat is not written and the burst answers with
    SLVERR.

    Members
    -------
    read, write : In(AXIReadSignature), In(AXIWriteSignature)
    busy : In(1), idle : Out(1)
    addr : Out, of a word; read_en, write_en : Out(1), never both; write_data : Out(32)
    read_data : In(32), from two cycles after ``read_en`` until the next
    """

    def __init__(self, *, addr_width, size):
        self.addr_width, self.size = addr_width, size
        axi = AXIConfig(addr_width=addr_width, data_width=8 * WORD)
        super().__init__(
            {
                "read": In(AXIReadSignature(axi)),
                "write": In(AXIWriteSignature(axi)),
                "busy": In(1),
                "idle": Out(1),
                "addr": Out((size // WORD - 1).bit_length()),
                "read_en": Out(1),
                "read_data": In(8 * WORD),
                "write_en": Out(1),
                "write_data": Out(8 * WORD),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ar, r, aw, w, b = self.read.ar, self.read.r, self.write.aw, self.write.w, self.write.b
        addr = Signal(self.addr_width - 2)
        left, ident = Signal(8), Signal()
        response, outside = Signal(2), Signal()
        m.d.comb += [
            self.addr.eq(addr),
            outside.eq(addr >= self.size // WORD),
            self.write_data.eq(w.payload.data),
            r.payload.id.eq(ident),
            b.payload.id.eq(ident),
            b.payload.resp.eq(response),
            r.payload.resp.eq(response),
            r.payload.last.eq(left == 0),
            r.payload.data.eq(self.read_data),
        ]

        def take(channel, state):
            m.d.comb += channel.ready.eq(1)
            m.d.sync += [
                addr.eq(channel.payload.addr[2:]),
                left.eq(channel.payload.len),
                ident.eq(channel.payload.id),
            ]
            m.next = state

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += response.eq(OKAY)
                with m.If(~self.busy & aw.valid):
                    take(aw, "WRITE")
                with m.Elif(~self.busy & ar.valid):
                    take(ar, "READ")
            with m.State("WRITE"):
                m.d.comb += [w.ready.eq(1), self.write_en.eq(w.valid & ~outside & w.payload.strb.all())]
                with m.If(w.valid):
                    m.d.sync += addr.eq(addr + 1)
                    with m.If(outside):
                        m.d.sync += response.eq(DECERR)
                    with m.Elif(~w.payload.strb.all()):
                        m.d.sync += response.eq(SLVERR)
                    with m.If(w.payload.last):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += b.valid.eq(1)
                with m.If(b.ready):
                    m.next = "IDLE"
            with m.State("READ"):
                m.d.comb += self.read_en.eq(~outside)
                m.d.sync += [response.eq(Mux(outside, DECERR, OKAY)), addr.eq(addr + 1)]
                m.next = "KEEP"
            with m.State("KEEP"):
                m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += r.valid.eq(1)
                with m.If(r.ready):
                    m.d.sync += left.eq(left - 1)
                    m.next = "READ"
                    with m.If(left == 0):
                        m.next = "IDLE"
        return m
