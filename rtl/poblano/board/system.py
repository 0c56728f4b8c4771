"""The chip behind the UART bridge with a memory of block RAM: what a board's top holds, without its clock
and reset."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect

from ..bridge.bridge import Bridge, BridgeConfig
from ..bridge.protocol import CHIP_DESIGN
from ..chip import Chip
from ..config import ChipConfig, ConfigError
from ..memory.axi_ram import AXIRam
from ..verilog import place

__all__ = ["ChipSystem"]

BRIDGE_BITS = 32


class ChipSystem(wiring.Component):
    """A :class:`~poblano.chip.Chip`, a :class:`~poblano.bridge.bridge.Bridge` and an :class:`AXIRam` that
    they share.

    Latency: that of its parts.

    The host's registers are the chip's; its memory is the RAM, at the addresses that the chip sees; its WAIT
    ends with the chip's interrupt.

    Parameters
    ----------
    config : ChipConfig with a memory port of 32 bits
    memory_bytes : of the RAM, a power of two
    clock_hz, baud, payload : of the bridge

    Members
    -------
    rx : In(1), asynchronous; tx : Out(1)
    active : Out(1), a request is executed or answered; busy : Out(1), the chip's memory port moves data
    """

    def __init__(self, config: ChipConfig, *, memory_bytes, clock_hz, baud, payload=256):
        if config.memory.data_width != BRIDGE_BITS:
            raise ConfigError(
                f"a chip on a board has a memory port of {BRIDGE_BITS} bits, not {config.memory.data_width}"
            )
        if config.memory.homes != 1:
            raise ConfigError(f"a chip on a board has one home of memory, not {config.memory.homes}")
        if config.memory.kv_bytes:
            raise ConfigError("a chip on a board has no KV buffer: the bridge does not reach it")
        self.config, self.memory_bytes, self.clock_hz, self.baud, self.payload = (
            config,
            memory_bytes,
            clock_hz,
            baud,
            payload,
        )
        self.bridge_config = BridgeConfig(
            clock_hz=clock_hz,
            baud=baud,
            payload=payload,
            design=CHIP_DESIGN,
            chip=True,
            memory_bytes=memory_bytes,
            addr_width=min(config.memory.addr_width, BRIDGE_BITS),
        )
        super().__init__({"rx": In(1), "tx": Out(1, init=1), "active": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bridge = place(m, "bridge", Bridge(self.bridge_config))
        chip = place(m, "chip", Chip(self.config))
        ram = place(
            m,
            "ram",
            AXIRam(
                size=self.memory_bytes,
                addr_width=self.bridge_config.addr_width,
                id_widths=(len(chip.m_axi.read.ar.payload.id), len(bridge.read.ar.payload.id)),
            ),
        )
        m.submodules.rx_synchroniser = FFSynchronizer(self.rx, bridge.rx, init=1)
        connect(m, bridge.read, ram.read1)
        connect(m, bridge.write, ram.write1)
        connect(m, chip.m_axi.read, ram.read0)
        connect(m, chip.m_axi.write, ram.write0)
        connect(m, bridge.registers, chip.s_axil)
        m.d.comb += [
            self.tx.eq(bridge.tx),
            bridge.irq.eq(chip.irq),
            self.active.eq(bridge.active),
            self.busy.eq(chip.m_axi.read.r.valid | chip.m_axi.write.w.valid),
        ]
        return m
