"""The memory side of a chip: DMA engine, stream units, local memories, bus and arbiter, with AXI4 pins."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from poblano.axi.arbiter import AXIReadArbiter
from poblano.bus.broadcast import BroadcastBus
from poblano.interfaces import UnitSignature, bus_write, local_write
from poblano.isa.topology import ReadMaster, UnitKind
from poblano.memory.dma import DMAUnit
from poblano.memory.local import LocalMemories
from poblano.memory.stream_unit import StreamUnit
from poblano.verilog import place

__all__ = ["MemorySystem"]


class MemorySystem(wiring.Component):
    """Everything between AXI4 and the units that compute; what these drive are ports.

    Members
    -------
    clear : In(1), resets everything but the memories' contents
    dma : In(UnitSignature()); streams : In(UnitSignature()).array(tiles)
    weights : Out(stream(8 * stream_bytes)).array(tiles)
    writes : In(stream(LocalWrite)).array(tiles), a tile's own writes
    results : In(stream(BusWrite)).array(tiles), writes of a tile's unit over the bus
    ar..., r..., aw..., w..., b... : AXI4
    """

    def __init__(self, config):
        self.config = config
        memory, tiles = config.memory, config.tiles
        self.id_width = AXIReadArbiter.id_width(config)
        members = {
            "clear": In(1),
            "dma": In(UnitSignature()),
            "streams": In(UnitSignature()).array(tiles),
            "weights": Out(stream.Signature(8 * config.stream_bytes)).array(tiles),
            "writes": In(stream.Signature(local_write(config))).array(tiles),
            "results": In(stream.Signature(bus_write(config))).array(tiles),
        }
        for channel in ("aw", "ar"):
            members |= {
                f"axi_{channel}id": Out(self.id_width),
                f"axi_{channel}addr": Out(memory.addr_width),
                f"axi_{channel}len": Out(8),
                f"axi_{channel}size": Out(3),
                f"axi_{channel}burst": Out(2),
                f"axi_{channel}valid": Out(1),
                f"axi_{channel}ready": In(1),
            }
        members |= {
            "axi_wdata": Out(memory.data_width),
            "axi_wstrb": Out(memory.data_bytes),
            "axi_wlast": Out(1),
            "axi_wvalid": Out(1),
            "axi_wready": In(1),
            "axi_bid": In(self.id_width),
            "axi_bresp": In(2),
            "axi_bvalid": In(1),
            "axi_bready": Out(1),
            "axi_rid": In(self.id_width),
            "axi_rdata": In(memory.data_width),
            "axi_rresp": In(2),
            "axi_rlast": In(1),
            "axi_rvalid": In(1),
            "axi_rready": Out(1),
        }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        dma = place(m, "dma_unit", DMAUnit(config), reset=self.clear)
        bus = place(m, "bus", BroadcastBus(config), reset=self.clear)
        arbiter = place(m, "arbiter", AXIReadArbiter(config), reset=self.clear)
        connect(m, flipped(self.dma), dma.unit)
        topology = config.topology
        reader = lambda *place: arbiter.i[topology.read_master(*place)]
        source = lambda *place: bus.i[topology.bus_source(*place)]
        connect(m, dma.read, reader(ReadMaster.DMA))
        connect(m, dma.bus, source(UnitKind.DMA))
        for t in range(config.tiles):
            local = place(m, f"local{t}", LocalMemories(config), reset=self.clear)
            streamer = place(m, f"stream{t}", StreamUnit(config), reset=self.clear)
            connect(m, flipped(self.streams[t]), streamer.unit)
            connect(m, streamer.axi, reader(ReadMaster.STREAM, t))
            connect(m, streamer.o, flipped(self.weights[t]))
            connect(m, flipped(self.writes[t]), local.w_vector)
            connect(m, flipped(self.results[t]), source(UnitKind.MATMUL, t))
            connect(m, bus.o[t], local.w_bus)
            connect(m, dma.vmem[t], local.dma_v)
            connect(m, dma.amem[t], local.dma_a)
        for channel, source in (("aw", dma.write.aw), ("ar", arbiter.o.ar)):
            m.d.comb += [
                getattr(self, f"axi_{channel}{name}").eq(source.payload[name])
                for name in ("id", "addr", "len")
            ]
            m.d.comb += [
                getattr(self, f"axi_{channel}size").eq((config.memory.data_bytes - 1).bit_length()),
                getattr(self, f"axi_{channel}burst").eq(1),
                getattr(self, f"axi_{channel}valid").eq(source.valid),
                source.ready.eq(getattr(self, f"axi_{channel}ready")),
            ]
        m.d.comb += [
            getattr(self, f"axi_w{name}").eq(dma.write.w.payload[name]) for name in ("data", "strb", "last")
        ]
        m.d.comb += [dma.write.b.payload[name].eq(getattr(self, f"axi_b{name}")) for name in ("id", "resp")]
        m.d.comb += [
            arbiter.o.r.payload[name].eq(getattr(self, f"axi_r{name}"))
            for name in ("id", "data", "resp", "last")
        ]
        m.d.comb += [
            self.axi_wvalid.eq(dma.write.w.valid),
            dma.write.w.ready.eq(self.axi_wready),
            dma.write.b.valid.eq(self.axi_bvalid),
            self.axi_bready.eq(dma.write.b.ready),
            arbiter.o.r.valid.eq(self.axi_rvalid),
            self.axi_rready.eq(arbiter.o.r.ready),
        ]
        return m
