"""AXI4-Lite, and a slave that makes register accesses of it."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXILiteSignature", "AXILiteSlave"]

ADDRESS_BITS = 12
OKAY, SLVERR = 0, 2


class AXILiteSignature(wiring.Signature):
    """AXI4-Lite, master's side: 12-bit byte addresses, 32-bit data."""

    def __init__(self):
        super().__init__(
            {
                "aw": Out(stream.Signature(ADDRESS_BITS)),
                "w": Out(stream.Signature(data.StructLayout({"data": 32, "strb": 4}))),
                "b": In(stream.Signature(2)),
                "ar": Out(stream.Signature(ADDRESS_BITS)),
                "r": In(stream.Signature(data.StructLayout({"data": 32, "resp": 2}))),
            }
        )


class AXILiteSlave(wiring.Component):
    """Takes one write and one read at a time and turns each into an access of one cycle.

    Latency: 1 cycle from an access to its answer.

    A write happens when its address and data are both there. It needs all four strobes, or the answer is
    SLVERR and ``write`` stays low.

    Members
    -------
    axi : In(AXILiteSignature())
    write, read : Out(1), an access in this cycle, of ``write_address`` with ``write_data`` or of
        ``read_address``
    write_ok, read_ok, read_data : In, the answer in the same cycle; not ok: SLVERR
    """

    def __init__(self):
        super().__init__(
            {
                "axi": In(AXILiteSignature()),
                "write": Out(1),
                "write_address": Out(ADDRESS_BITS),
                "write_data": Out(32),
                "write_ok": In(1),
                "read": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(32),
                "read_ok": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        accepted = Signal()
        m.d.comb += [
            accepted.eq(axi.aw.valid & axi.w.valid & ~axi.b.valid),
            axi.aw.ready.eq(accepted),
            axi.w.ready.eq(accepted),
            self.write.eq(accepted & axi.w.payload.strb.all()),
            self.write_address.eq(axi.aw.payload),
            self.write_data.eq(axi.w.payload.data),
            axi.ar.ready.eq(~axi.r.valid),
            self.read.eq(axi.ar.valid & axi.ar.ready),
            self.read_address.eq(axi.ar.payload),
        ]
        with m.If(accepted):
            m.d.sync += [axi.b.valid.eq(1), axi.b.payload.eq(Mux(self.write & self.write_ok, OKAY, SLVERR))]
        with m.Elif(axi.b.ready):
            m.d.sync += axi.b.valid.eq(0)
        with m.If(self.read):
            m.d.sync += [
                axi.r.valid.eq(1),
                axi.r.payload.data.eq(Mux(self.read_ok, self.read_data, 0)),
                axi.r.payload.resp.eq(Mux(self.read_ok, OKAY, SLVERR)),
            ]
        with m.Elif(axi.r.ready):
            m.d.sync += axi.r.valid.eq(0)
        return m
