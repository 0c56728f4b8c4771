"""An SDRAM at its pins, with the PHY and a controller before it."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from poblano.axi.signature import AXISignature
from poblano.board.sdram import SdramPhy
from poblano.dram.controller import DramController
from poblano.verilog import place, source
from poblano.verilog.placement import GatedClock
from poblano_fpga.simulation import SDRAM

__all__ = ["SdramSystem"]


class SdramSystem(wiring.Component):
    """A DRAM controller, the PHY and an SDRAM, in Verilog only.

    Members
    -------
    s_axi : In(AXISignature(config.axi)), used once ``ready``
    ready : Out(1)
    errors : Out(32), what the SDRAM did not allow
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"s_axi": In(AXISignature(config.axi)), "ready": Out(1), "errors": Out(32)})

    def elaborate(self, platform):
        m = Module()
        phy = place(m, "phy", SdramPhy(self.config))
        controller = place(m, "controller", DramController(self.config), reset=~phy.ready)
        connect(m, flipped(self.s_axi), controller.s_axi)
        connect(m, controller.dram, phy.dram)
        m.d.comb += self.ready.eq(phy.ready)
        pins = phy.pins
        clock = Signal()
        m.d.comb += clock.eq(~ClockSignal())
        inputs = {f"i_{name}": getattr(pins, name) for name in ("cke", "cs_n", "ras_n", "cas_n", "we_n")}
        inputs |= {"i_ba": pins.ba, "i_a": pins.a, "i_dqm": pins.dqm}
        inputs |= {"i_host_dq": pins.dq_o, "i_host_oe": pins.dq_oe}
        parameters = {"PERIOD_PS": int(1e6 / self.config.clock_mhz)}
        source(
            m,
            "device",
            SDRAM,
            parameters=parameters,
            clock=GatedClock(C(1), clock),
            **inputs,
            o_dq=pins.dq_i,
            o_errors=self.errors,
        )
        return m
