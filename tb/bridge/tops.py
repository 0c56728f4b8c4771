"""The bridge with AXI's names at its ports."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from poblano.axi.lite import AXILiteSignature
from poblano.axi.signature import AXIConfig, AXISignature
from poblano.bridge.bridge import Bridge
from poblano.verilog import place

__all__ = ["BridgeTop"]


class BridgeTop(wiring.Component):
    """A :class:`Bridge` whose AXI4 and AXI4-Lite pins are ``m_axi_*`` and ``m_axil_*``."""

    def __init__(self, config):
        self.config = config
        super().__init__(
            {
                "rx": In(1),
                "tx": Out(1),
                "irq": In(1),
                "active": Out(1),
                "m_axi": Out(AXISignature(AXIConfig(addr_width=config.addr_width, data_width=32))),
                "m_axil": Out(AXILiteSignature()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bridge = place(m, "bridge", Bridge(self.config))
        m.d.comb += [
            bridge.rx.eq(self.rx),
            bridge.irq.eq(self.irq),
            self.tx.eq(bridge.tx),
            self.active.eq(bridge.active),
        ]
        connect(m, bridge.read, flipped(self.m_axi.read))
        connect(m, bridge.write, flipped(self.m_axi.write))
        connect(m, bridge.registers, flipped(self.m_axil))
        return m
