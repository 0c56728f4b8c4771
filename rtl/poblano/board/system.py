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
from ..verilog import place
from .ram import AXIRam

__all__ = ["ChipSystem"]

BRIDGE_BITS = 32


class ChipSystem(wiring.Component):
    """A :class:`~poblano.chip.Chip`, a :class:`~poblano.bridge.bridge.Bridge` and an :class:`AXIRam` that
    they share.

    Latency: that of its parts.

    The host's registers are the chip's; its memory is the RAM, at the addresses that the chip sees. The
    interrupt is not connected: the host reads STATUS.

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
                id_widths=(len(chip.m_axi_arid), len(bridge.read.ar.payload.id)),
            ),
        )
        m.submodules.rx_synchroniser = FFSynchronizer(self.rx, bridge.rx, init=1)
        connect(m, bridge.read, ram.read1)
        connect(m, bridge.write, ram.write1)
        self._connect(
            m,
            chip,
            "m_axi",
            {"ar": ram.read0.ar, "aw": ram.write0.aw, "w": ram.write0.w},
            {"r": ram.read0.r, "b": ram.write0.b},
        )
        self._connect_registers(m, chip, bridge.registers)
        m.d.comb += [
            self.tx.eq(bridge.tx),
            self.active.eq(bridge.active),
            self.busy.eq(chip.m_axi_rvalid | chip.m_axi_wvalid),
        ]
        return m

    @staticmethod
    def _connect(m, chip, prefix, sinks, sources):
        """The chip's flat ports to streams: it drives ``sinks`` and takes ``sources``."""
        port = lambda name: getattr(chip, f"{prefix}_{name}")
        for channel, stream in (sinks | sources).items():
            out = channel in sinks
            for name in stream.payload.shape().members:
                field = stream.payload[name]
                m.d.comb += field.eq(port(channel + name)) if out else port(channel + name).eq(field)
            valid, ready = port(f"{channel}valid"), port(f"{channel}ready")
            m.d.comb += (
                [stream.valid.eq(valid), ready.eq(stream.ready)]
                if out
                else [valid.eq(stream.valid), stream.ready.eq(ready)]
            )

    def _connect_registers(self, m, chip, axi):
        for channel, payload in (("aw", "addr"), ("ar", "addr"), ("b", "resp")):
            stream, port = getattr(axi, channel), getattr(chip, f"s_axil_{channel}{payload}")
            m.d.comb += stream.payload.eq(port) if channel == "b" else port.eq(stream.payload)
        for channel, names in (("w", ("data", "strb")), ("r", ("data", "resp"))):
            for name in names:
                field, port = getattr(axi, channel).payload[name], getattr(chip, f"s_axil_{channel}{name}")
                m.d.comb += field.eq(port) if channel == "r" else port.eq(field)
        for channel in ("aw", "w", "ar"):
            stream = getattr(axi, channel)
            m.d.comb += [
                getattr(chip, f"s_axil_{channel}valid").eq(stream.valid),
                stream.ready.eq(getattr(chip, f"s_axil_{channel}ready")),
            ]
        for channel in ("b", "r"):
            stream = getattr(axi, channel)
            m.d.comb += [
                stream.valid.eq(getattr(chip, f"s_axil_{channel}valid")),
                getattr(chip, f"s_axil_{channel}ready").eq(stream.ready),
            ]
