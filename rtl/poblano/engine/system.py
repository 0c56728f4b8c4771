"""The engine behind the UART bridge: what a board's top holds, without its clock and reset."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect

from ..bridge.bridge import Bridge, BridgeConfig
from ..verilog import place
from .config import DESIGN, EngineConfig
from .engine import Engine

__all__ = ["EngineSystem"]


class EngineSystem(wiring.Component):
    """An :class:`Engine` and its :class:`Bridge`.

    Latency: that of its parts.

    Parameters
    ----------
    config : EngineConfig
    clock_hz, baud, payload : of the bridge

    Members
    -------
    rx : In(1), asynchronous; tx : Out(1)
    active : Out(1), a request is executed or answered; busy : Out(1), the engine runs
    """

    def __init__(self, config: EngineConfig, *, clock_hz, baud, payload=256):
        self.config, self.clock_hz, self.baud, self.payload = config, clock_hz, baud, payload
        self.bridge_config = BridgeConfig(
            clock_hz=clock_hz,
            baud=baud,
            payload=payload,
            addr_width=config.addr_width,
            design=DESIGN,
            memory_bytes=2 * config.memory_bytes,
        )
        super().__init__({"rx": In(1), "tx": Out(1, init=1), "active": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bridge = place(m, "bridge", Bridge(self.bridge_config))
        engine = place(m, "engine", Engine(self.config))
        m.submodules.rx_synchroniser = FFSynchronizer(self.rx, bridge.rx, init=1)
        connect(m, bridge.registers, engine.registers)
        connect(m, bridge.read, engine.read)
        connect(m, bridge.write, engine.write)
        m.d.comb += [self.tx.eq(bridge.tx), self.active.eq(bridge.active), self.busy.eq(engine.busy)]
        return m
