"""The bridge with AXI's names at its ports."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from poblano.bridge.bridge import Bridge
from poblano.verilog import place

__all__ = ["BridgeTop"]


class BridgeTop(wiring.Component):
    """A :class:`Bridge` whose AXI4 and AXI4-Lite ports are ``m_axi_*`` and ``m_axil_*``."""

    def __init__(self, config):
        self.config = config
        addr = {"id": 1, "addr": config.addr_width, "len": 8, "size": 3, "burst": 2}
        members = {"rx": In(1), "tx": Out(1), "active": Out(1)}
        for channel in ("aw", "ar"):
            members |= {f"m_axi_{channel}{name}": Out(bits) for name, bits in addr.items()}
            members |= {
                f"m_axi_{channel}valid": Out(1),
                f"m_axi_{channel}ready": In(1),
                f"m_axil_{channel}addr": Out(12),
                f"m_axil_{channel}valid": Out(1),
                f"m_axil_{channel}ready": In(1),
            }
        for bus in ("m_axi", "m_axil"):
            members |= {
                f"{bus}_wdata": Out(32),
                f"{bus}_wstrb": Out(4),
                f"{bus}_wvalid": Out(1),
                f"{bus}_wready": In(1),
                f"{bus}_bresp": In(2),
                f"{bus}_bvalid": In(1),
                f"{bus}_bready": Out(1),
                f"{bus}_rdata": In(32),
                f"{bus}_rresp": In(2),
                f"{bus}_rvalid": In(1),
                f"{bus}_rready": Out(1),
            }
        members |= {"m_axi_wlast": Out(1), "m_axi_rlast": In(1), "m_axi_bid": In(1), "m_axi_rid": In(1)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        bridge = place(m, "bridge", Bridge(self.config))
        port = lambda name: getattr(self, name)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx), self.active.eq(bridge.active)]

        def out(prefix, source, names):
            m.d.comb += [
                port(f"{prefix}{name}").eq(
                    source.payload[name] if name in source.payload.shape().members else source.payload
                )
                for name in names
            ]
            m.d.comb += [port(f"{prefix}valid").eq(source.valid), source.ready.eq(port(f"{prefix}ready"))]

        for channel, source in (("aw", bridge.write.aw), ("ar", bridge.read.ar)):
            out(f"m_axi_{channel}", source, ("id", "addr", "len"))
            m.d.comb += [port(f"m_axi_{channel}size").eq(2), port(f"m_axi_{channel}burst").eq(1)]
        out("m_axi_w", bridge.write.w, ("data", "strb", "last"))
        out("m_axil_w", bridge.registers.w, ("data", "strb"))
        for channel, source in (("aw", bridge.registers.aw), ("ar", bridge.registers.ar)):
            m.d.comb += [
                port(f"m_axil_{channel}addr").eq(source.payload),
                port(f"m_axil_{channel}valid").eq(source.valid),
                source.ready.eq(port(f"m_axil_{channel}ready")),
            ]
        for name, target in (
            ("m_axi_b", bridge.write.b),
            ("m_axi_r", bridge.read.r),
            ("m_axil_r", bridge.registers.r),
        ):
            m.d.comb += [
                target.payload[field].eq(port(f"{name}{field}")) for field in target.payload.shape().members
            ]
            m.d.comb += [target.valid.eq(port(f"{name}valid")), port(f"{name}ready").eq(target.ready)]
        b = bridge.registers.b
        m.d.comb += [
            b.payload.eq(self.m_axil_bresp),
            b.valid.eq(self.m_axil_bvalid),
            self.m_axil_bready.eq(b.ready),
        ]
        return m
