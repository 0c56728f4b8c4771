"""The chip behind the UART bridge, with a memory: what a board's top holds, without its clock and reset."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from ..bridge.bridge import Bridge, BridgeConfig
from ..bridge.protocol import CHIP_DESIGN
from ..chip import Chip
from ..config import ChipConfig, ConfigError
from ..dram.signature import ColumnOp
from ..memory.axi_ram import AXIRam
from ..verilog import place
from .sdram import SdramPhy

__all__ = ["ChipSystem"]

BRIDGE_BITS = 32


class ChipSystem(wiring.Component):
    """A :class:`~poblano.chip.Chip`, the :class:`~poblano.bridge.bridge.Bridge` at its host port, and its
    memory: the board's SDRAM behind a :class:`SdramPhy` if the chip has a DRAM controller, else an
    :class:`AXIRam`.

    Latency: that of its parts.

    The host's registers are the chip's; its memory is the chip's, at the addresses that the chip sees; its
    WAIT ends with the chip's interrupt. With an SDRAM all is in reset until that has been started.

    Parameters
    ----------
    config : ChipConfig with one home of memory, of 32 bits, and a host port
    memory_bytes : of the memory, a power of two
    clock_hz, baud, payload : of the bridge

    Members
    -------
    rx : In(1), asynchronous; tx : Out(1)
    active : Out(1), a request is executed or answered; busy : Out(1), the memory moves data
    sdram : Out(SdramSignature), if ``config.memory.dram``
    """

    def __init__(self, config: ChipConfig, *, memory_bytes, clock_hz, baud, payload=256):
        memory = config.memory
        if memory.data_width != BRIDGE_BITS:
            raise ConfigError(
                f"a chip on a board has a memory port of {BRIDGE_BITS} bits, not {memory.data_width}"
            )
        if memory.homes != 1:
            raise ConfigError(f"a chip on a board has one home of memory, not {memory.homes}")
        if not memory.host_port:
            raise ConfigError("a chip on a board has a port for its host: memory host_port must be True")
        if memory.dram is not None and memory_bytes != memory.dram.timing.bytes:
            raise ConfigError(f"the chip's DRAM has {memory.dram.timing.bytes} bytes, not {memory_bytes!r}")
        if memory.dram is not None and abs(memory.dram.clock_mhz * 10**6 - clock_hz) > clock_hz // 1000:
            raise ConfigError(
                f"the chip's DRAM is for {float(memory.dram.clock_mhz):g} MHz, and the board's clock is of "
                f"{clock_hz / 1e6:g} MHz"
            )
        if memory.kv_bytes:
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
            addr_width=min(memory.addr_width, BRIDGE_BITS),
        )
        pins = {} if memory.dram is None else {"sdram": Out(SdramPhy.pins_of(memory.dram))}
        super().__init__({"rx": In(1), "tx": Out(1, init=1), "active": Out(1), "busy": Out(1), **pins})

    def elaborate(self, platform):
        m = Module()
        chip, bridge, waits = Chip(self.config), Bridge(self.bridge_config), None
        if self.config.memory.dram is not None:
            phy = place(m, "phy", SdramPhy(chip.dram_config))
            connect(m, phy.pins, flipped(self.sdram))
            waits = ~phy.ready
        place(m, "bridge", bridge, reset=waits)
        place(m, "chip", chip, reset=waits)
        if self.config.memory.dram is not None:
            connect(m, chip.dram, phy.dram)
            m.d.comb += self.busy.eq(chip.dram.column.op != ColumnOp.NOP)
        else:
            ids = (len(chip.m_axi.read.ar.payload.id),)
            width = self.bridge_config.addr_width
            ram = place(m, "ram", AXIRam(size=self.memory_bytes, addr_width=width, id_widths=ids))
            connect(m, chip.m_axi.read, ram.read0)
            connect(m, chip.m_axi.write, ram.write0)
            m.d.comb += self.busy.eq(chip.m_axi.read.r.valid | chip.m_axi.write.w.valid)
        m.submodules.rx_synchroniser = FFSynchronizer(self.rx, bridge.rx, init=1)
        connect(m, bridge.read, chip.s_axi.read)
        connect(m, bridge.write, chip.s_axi.write)
        connect(m, bridge.registers, chip.s_axil)
        m.d.comb += [self.tx.eq(bridge.tx), bridge.irq.eq(chip.irq), self.active.eq(bridge.active)]
        return m
