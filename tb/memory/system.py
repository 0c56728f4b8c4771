"""The memory side of a chip: DMA engine, stream units, local memories, bus and arbiter, with AXI4 pins."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from poblano.axi.arbiter import AXIReadArbiter
from poblano.axi.signature import AXISignature, connect_write
from poblano.bus.broadcast import BroadcastBus
from poblano.interfaces import BusWrite, LocalWrite, UnitSignature
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
    axi : Out(AXISignature)
    """

    def __init__(self, config):
        self.config = config
        tiles, local = config.tiles, config.tile.local
        axi = AXIReadArbiter.merged(config.memory.axi, len(config.topology.read_masters[0]))
        super().__init__(
            {
                "clear": In(1),
                "dma": In(UnitSignature()),
                "streams": In(UnitSignature()).array(tiles),
                "weights": Out(stream.Signature(8 * config.stream_bytes)).array(tiles),
                "writes": In(stream.Signature(LocalWrite(local))).array(tiles),
                "results": In(stream.Signature(BusWrite(local, tiles=tiles))).array(tiles),
                "axi": Out(AXISignature(axi)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, tile, tiles = self.config, self.config.tile, self.config.tiles
        topology = config.topology
        dma = place(m, "dma_unit", DMAUnit(config.memory, tile.local, tiles=tiles), reset=self.clear)
        bus = place(
            m,
            "bus",
            BroadcastBus(tile.local, sources=len(topology.bus_sources), tiles=tiles),
            reset=self.clear,
        )
        arbiter = place(
            m,
            "arbiter",
            AXIReadArbiter(config.memory.axi, ports=len(topology.read_masters[0])),
            reset=self.clear,
        )
        connect(m, flipped(self.dma), dma.unit)
        reader = lambda *place: arbiter.i[topology.read_master(*place)]
        source = lambda *place: bus.i[topology.bus_source(*place)]
        connect(m, dma.read, reader(ReadMaster.DMA))
        connect(m, dma.bus, source(UnitKind.DMA))
        for t in range(config.tiles):
            local = place(m, f"local{t}", LocalMemories(tile), reset=self.clear)
            streamer = place(
                m,
                f"stream{t}",
                StreamUnit(config.memory, stream_bytes=config.stream_bytes, fifo_bytes=tile.fifo_bytes),
                reset=self.clear,
            )
            connect(m, flipped(self.streams[t]), streamer.unit)
            connect(m, streamer.axi, reader(ReadMaster.STREAM, t))
            connect(m, streamer.o, flipped(self.weights[t]))
            connect(m, flipped(self.writes[t]), local.w_vector)
            connect(m, flipped(self.results[t]), source(UnitKind.MATMUL, t))
            connect(m, bus.o[t], local.w_bus)
            connect(m, dma.vmem[t], local.dma_v)
            connect(m, dma.amem[t], local.dma_a)
        connect(m, arbiter.o, flipped(self.axi.read))
        connect_write(m, dma.write, self.axi.write)
        return m
