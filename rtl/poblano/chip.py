"""The whole chip."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .axi.arbiter import AXIReadArbiter
from .axi.lite import AXILiteSignature
from .axi.signature import AXISignature
from .bus.broadcast import BroadcastBus
from .config import ChipConfig
from .control.processor import CommandProcessor
from .isa.topology import ReadMaster, UnitKind
from .memory.dma import DMAUnit
from .tile import Tile
from .verilog import emit, place

__all__ = ["Chip", "chip_verilog"]


class Chip(wiring.Component):
    """Tiles, DMA engine, command processor and broadcast bus behind one AXI4 master and one AXI4-Lite slave.

    Latency: that of its parts.

    In the Verilog of a chip that is the top these two have the customary pins, ``m_axi_*`` and ``s_axil_*``.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    irq : Out(1), level, see the IRQ registers.
    trace_start, trace_done : Out(units), a unit started or completed a command this cycle.
    s_axil : In(AXILiteSignature), 12-bit byte address: the registers of docs/registers.md.
    m_axi : Out(AXISignature); bursts that do not cross 4 KiB. Reads with different IDs may be answered in
        any order.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        axi = AXIReadArbiter.merged(config.memory.axi, len(config.topology.read_masters[0]))
        super().__init__(
            {
                "irq": Out(1),
                "trace_start": Out(config.units),
                "trace_done": Out(config.units),
                "s_axil": In(AXILiteSignature()),
                "m_axi": Out(AXISignature(axi)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        processor = place(m, "processor", CommandProcessor(config))
        clear = processor.clear
        tile, count, topology = config.tile, config.tiles, config.topology
        dma = place(m, "dma", DMAUnit(config.memory, tile.local, tiles=count), reset=clear)
        bus = place(
            m, "bus", BroadcastBus(tile.local, sources=len(topology.bus_sources), tiles=count), reset=clear
        )
        arbiter = place(
            m, "read_arbiter", AXIReadArbiter(config.memory.axi, ports=len(topology.read_masters[0]))
        )
        tiles = [place(m, f"tile{n}", Tile(config), reset=clear) for n in range(count)]

        unit = lambda *place: processor.units[topology.unit(*place)]
        reader = lambda *place: arbiter.i[topology.read_master(*place)]
        source = lambda *place: bus.i[topology.bus_source(*place)]
        connect(m, unit(UnitKind.DMA), dma.unit)
        connect(m, processor.fetch, reader(ReadMaster.FETCH))
        connect(m, dma.read, reader(ReadMaster.DMA))
        connect(m, dma.bus, source(UnitKind.DMA))
        for n, tile in enumerate(tiles):
            m.d.comb += tile.number.eq(n)
            connect(m, unit(UnitKind.STREAM, n), tile.stream)
            connect(m, unit(UnitKind.MATMUL, n), tile.matmul)
            connect(m, unit(UnitKind.VECTOR, n), tile.vector)
            connect(m, tile.axi, reader(ReadMaster.STREAM, n))
            connect(m, tile.bus_matmul, source(UnitKind.MATMUL, n))
            connect(m, tile.bus_vector, source(UnitKind.VECTOR, n))
            connect(m, bus.o[n], tile.bus)
            connect(m, dma.vmem[n], tile.dma_vmem)
            connect(m, dma.amem[n], tile.dma_amem)

        connect(m, flipped(self.s_axil), processor.axi_lite)
        connect(m, arbiter.o, flipped(self.m_axi.read))
        self._connect_write(m, dma.write)
        read, write = self.m_axi.read, self.m_axi.write
        m.d.comb += [
            self.irq.eq(processor.irq),
            self.trace_start.eq(processor.trace_start),
            self.trace_done.eq(processor.trace_done),
            processor.read_beats.eq(read.r.valid & read.r.ready),
            processor.write_beats.eq(write.w.valid & write.w.ready),
        ]
        return m

    def _connect_write(self, m, inside):
        """The DMA engine's writes, whose ids are shorter than those of reads."""
        outside = self.m_axi.write
        connect(m, inside.w, flipped(outside.w))
        for source, target in ((inside.aw, outside.aw), (outside.b, inside.b)):
            m.d.comb += [target.valid.eq(source.valid), source.ready.eq(target.ready)]
            m.d.comb += [
                target.payload[field].eq(source.payload[field]) for field in source.payload.shape().members
            ]


def chip_verilog(config):
    """Verilog of the chip, top module ``chip``."""
    return emit(Chip(config), "chip", clock_gates=config.clock_gates)
