"""The whole chip, with the names of AXI at its ports."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from .axi.arbiter import AXIReadArbiter
from .bus.broadcast import BroadcastBus
from .config import ChipConfig
from .control.processor import CommandProcessor
from .isa.topology import ReadMaster, UnitKind
from .memory.dma import DMAUnit
from .tile import Tile
from .verilog import emit, place

__all__ = ["Chip", "chip_verilog"]

AXIL_ADDR_WIDTH = 12
AXI_BURST_INCR = 1


class Chip(wiring.Component):
    """Tiles, DMA engine, command processor and broadcast bus behind one AXI4 master and one AXI4-Lite slave.

    Latency: that of its parts.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    irq : Out(1), level, see the IRQ registers.
    trace_start, trace_done : Out(units), a unit started or completed a command this cycle.
    s_axil_* : AXI4-Lite slave, 32-bit data, 12-bit byte address: the registers of docs/registers.md.
    m_axi_* : AXI4 master; INCR bursts of whole beats that do not cross 4 KiB. Reads with different IDs may be
        answered in any order.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        memory = config.memory
        id_width = AXIReadArbiter.id_width(config)
        address = {"id": id_width, "addr": memory.addr_width, "len": 8, "size": 3, "burst": 2}
        members = {
            "irq": Out(1),
            "trace_start": Out(config.units),
            "trace_done": Out(config.units),
            "s_axil_awaddr": In(AXIL_ADDR_WIDTH),
            "s_axil_awvalid": In(1),
            "s_axil_awready": Out(1),
            "s_axil_wdata": In(32),
            "s_axil_wstrb": In(4),
            "s_axil_wvalid": In(1),
            "s_axil_wready": Out(1),
            "s_axil_bresp": Out(2),
            "s_axil_bvalid": Out(1),
            "s_axil_bready": In(1),
            "s_axil_araddr": In(AXIL_ADDR_WIDTH),
            "s_axil_arvalid": In(1),
            "s_axil_arready": Out(1),
            "s_axil_rdata": Out(32),
            "s_axil_rresp": Out(2),
            "s_axil_rvalid": Out(1),
            "s_axil_rready": In(1),
        }
        for channel in ("aw", "ar"):
            members |= {f"m_axi_{channel}{name}": Out(width) for name, width in address.items()}
            members |= {f"m_axi_{channel}valid": Out(1), f"m_axi_{channel}ready": In(1)}
        members |= {
            "m_axi_wdata": Out(memory.data_width),
            "m_axi_wstrb": Out(memory.data_bytes),
            "m_axi_wlast": Out(1),
            "m_axi_wvalid": Out(1),
            "m_axi_wready": In(1),
            "m_axi_bid": In(id_width),
            "m_axi_bresp": In(2),
            "m_axi_bvalid": In(1),
            "m_axi_bready": Out(1),
            "m_axi_rid": In(id_width),
            "m_axi_rdata": In(memory.data_width),
            "m_axi_rresp": In(2),
            "m_axi_rlast": In(1),
            "m_axi_rvalid": In(1),
            "m_axi_rready": Out(1),
        }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        processor = place(m, "processor", CommandProcessor(config))
        clear = processor.clear
        dma = place(m, "dma", DMAUnit(config), reset=clear)
        bus = place(m, "bus", BroadcastBus(config), reset=clear)
        arbiter = place(m, "read_arbiter", AXIReadArbiter(config))
        tiles = [place(m, f"tile{n}", Tile(config), reset=clear) for n in range(config.tiles)]

        topology = config.topology
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

        self._connect_read(m, arbiter.o)
        self._connect_write(m, dma.write)
        self._connect_registers(m, processor.axi_lite)
        m.d.comb += [
            self.irq.eq(processor.irq),
            self.trace_start.eq(processor.trace_start),
            self.trace_done.eq(processor.trace_done),
            processor.read_beats.eq(self.m_axi_rvalid & self.m_axi_rready),
            processor.write_beats.eq(self.m_axi_wvalid & self.m_axi_wready),
        ]
        return m

    def _connect_address(self, m, channel, source):
        port = lambda name: getattr(self, f"m_axi_{channel}{name}")
        m.d.comb += [port(name).eq(source.payload[name]) for name in ("id", "addr", "len")]
        m.d.comb += [
            port("size").eq((self.config.memory.data_bytes - 1).bit_length()),
            port("burst").eq(AXI_BURST_INCR),
            port("valid").eq(source.valid),
            source.ready.eq(port("ready")),
        ]

    def _connect_read(self, m, axi):
        self._connect_address(m, "ar", axi.ar)
        m.d.comb += [
            axi.r.payload[name].eq(getattr(self, f"m_axi_r{name}")) for name in ("id", "data", "resp", "last")
        ]
        m.d.comb += [axi.r.valid.eq(self.m_axi_rvalid), self.m_axi_rready.eq(axi.r.ready)]

    def _connect_write(self, m, axi):
        self._connect_address(m, "aw", axi.aw)
        m.d.comb += [
            getattr(self, f"m_axi_w{name}").eq(axi.w.payload[name]) for name in ("data", "strb", "last")
        ]
        m.d.comb += [self.m_axi_wvalid.eq(axi.w.valid), axi.w.ready.eq(self.m_axi_wready)]
        m.d.comb += [axi.b.payload[name].eq(getattr(self, f"m_axi_b{name}")) for name in ("id", "resp")]
        m.d.comb += [axi.b.valid.eq(self.m_axi_bvalid), self.m_axi_bready.eq(axi.b.ready)]

    def _connect_registers(self, m, axi):
        m.d.comb += [
            axi.aw.payload.eq(self.s_axil_awaddr),
            axi.aw.valid.eq(self.s_axil_awvalid),
            self.s_axil_awready.eq(axi.aw.ready),
            axi.w.payload.data.eq(self.s_axil_wdata),
            axi.w.payload.strb.eq(self.s_axil_wstrb),
            axi.w.valid.eq(self.s_axil_wvalid),
            self.s_axil_wready.eq(axi.w.ready),
            self.s_axil_bresp.eq(axi.b.payload),
            self.s_axil_bvalid.eq(axi.b.valid),
            axi.b.ready.eq(self.s_axil_bready),
            axi.ar.payload.eq(self.s_axil_araddr),
            axi.ar.valid.eq(self.s_axil_arvalid),
            self.s_axil_arready.eq(axi.ar.ready),
            self.s_axil_rdata.eq(axi.r.payload.data),
            self.s_axil_rresp.eq(axi.r.payload.resp),
            self.s_axil_rvalid.eq(axi.r.valid),
            axi.r.ready.eq(self.s_axil_rready),
        ]


def chip_verilog(config):
    """Verilog of the chip, top module ``chip``."""
    return emit(Chip(config), "chip")
