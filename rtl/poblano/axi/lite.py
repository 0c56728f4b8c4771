"""AXI4-Lite, and a slave that makes register accesses of it."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .signature import channel_pins

__all__ = ["AXILiteSignature", "AXILiteSlave"]

OKAY, SLVERR = 0, 2
DATA_BYTES = 4


class AXILiteSignature(wiring.Signature):
    """AXI4-Lite, master's side: 32-bit data, byte addresses of ``addr_width`` bits (a page of 4 KiB)."""

    def __init__(self, *, addr_width=12):
        address = stream.Signature(data.StructLayout({"addr": addr_width}))
        write = data.StructLayout({"data": 8 * DATA_BYTES, "strb": DATA_BYTES})
        super().__init__(
            {
                "aw": Out(address),
                "w": Out(stream.Signature(write)),
                "b": In(stream.Signature(data.StructLayout({"resp": 2}))),
                "ar": Out(address),
                "r": In(stream.Signature(data.StructLayout({"data": 8 * DATA_BYTES, "resp": 2}))),
            }
        )

    def pins(self, interface):
        """Suffix, value and direction of each pin of ``interface``, which has this signature."""
        for name, flow in (("aw", Out), ("w", Out), ("b", In), ("ar", Out), ("r", In)):
            yield from channel_pins(name, flow, getattr(interface, name))


class AXILiteSlave(wiring.Component):
    """Takes one write and one read at a time and turns each into an access of one cycle.

    Latency: 1 cycle from an access to its answer.

    A write happens when its address and data are both there. It needs all four strobes, or the answer is
    SLVERR and ``write`` stays low.

    Members
    -------
    axi : In(AXILiteSignature)
    write, read : Out(1), an access in this cycle, of ``write_address`` with ``write_data`` or of
        ``read_address``
    write_ok, read_ok, read_data : In, the answer in the same cycle; not ok: SLVERR
    """

    def __init__(self, *, addr_width=12):
        self.addr_width = addr_width
        super().__init__(
            {
                "axi": In(AXILiteSignature(addr_width=addr_width)),
                "write": Out(1),
                "write_address": Out(addr_width),
                "write_data": Out(8 * DATA_BYTES),
                "write_ok": In(1),
                "read": Out(1),
                "read_address": Out(addr_width),
                "read_data": In(8 * DATA_BYTES),
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
            self.write_address.eq(axi.aw.payload.addr),
            self.write_data.eq(axi.w.payload.data),
            axi.ar.ready.eq(~axi.r.valid),
            self.read.eq(axi.ar.valid & axi.ar.ready),
            self.read_address.eq(axi.ar.payload.addr),
        ]
        with m.If(accepted):
            m.d.sync += [
                axi.b.valid.eq(1),
                axi.b.payload.resp.eq(Mux(self.write & self.write_ok, OKAY, SLVERR)),
            ]
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
