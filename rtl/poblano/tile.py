"""A tile: an array with its accumulator, weight FIFO, local memories and vector unit."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .axi.signature import AXIReadSignature
from .compute.matmul import MatmulUnit
from .config import ChipConfig
from .ecc.events import ECCEvents
from .interfaces import BusWrite, LocalWrite, UnitSignature, block_port, vmem_port
from .isa.ecc_registers import TILE_PLACES
from .memory.local import LocalMemories
from .memory.stream_unit import StreamUnit
from .moe.route_table import RouteWrite
from .vector.unit import VectorUnit
from .verilog import gated_clock, place

__all__ = ["Tile"]


class Tile(wiring.Component):
    """Three units and the memories they share. The tiles of a chip are one module; ``number`` tells them
    apart.

    Latency: that of its parts.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    number : In(5), this tile's number; constant.
    stream, matmul, vector : In(UnitSignature()), the units.
    axi : Out(AXIReadSignature), the weight stream's reads.
    bus_matmul, bus_vector : Out(stream of BusWrite), results for other tiles.
    bus : In(stream of LocalWrite), writes from the broadcast bus.
    dma_vmem, dma_amem : In(ReadPortSignature), the DMA engine's reads.
    moved : Out(1), something was transferred inside in the cycle before.
    clear : In(1), begin to clear the local memories; clearing : Out(1), until they are.
    table : Out(RouteWrite), with ``config.experts``: what a ROUTE command has found.
    ecc_events : Out(ECCEvents()).array, with ``config.ecc``, of each of :data:`TILE_PLACES`.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        local = config.tile.local
        bus_write = BusWrite(local, tiles=config.tiles)
        super().__init__(
            ({"ecc_events": Out(ECCEvents()).array(len(TILE_PLACES))} if config.ecc else {})
            | ({"table": Out(RouteWrite())} if config.experts is not None else {})
            | {
                "number": In(5),
                "stream": In(UnitSignature()),
                "matmul": In(UnitSignature()),
                "vector": In(UnitSignature()),
                "axi": Out(AXIReadSignature(config.memory.command_axi)),
                "bus_matmul": Out(stream.Signature(bus_write)),
                "bus_vector": Out(stream.Signature(bus_write)),
                "bus": In(stream.Signature(LocalWrite(local))),
                "dma_vmem": In(vmem_port(local)),
                "dma_amem": In(block_port(local)),
                "moved": Out(1),
                "clear": In(1),
                "clearing": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, tile = self.config, self.config.tile
        memories = place(m, "memories", LocalMemories(tile))
        streamer = place(
            m,
            "streamer",
            StreamUnit(config.memory, stream_bytes=config.stream_bytes, fifo_bytes=tile.fifo_bytes),
        )
        matmul = place(
            m, "matmul_unit", MatmulUnit(tile, tiles=config.tiles, stream_bytes=config.stream_bytes)
        )
        vector = VectorUnit(tile, tiles=config.tiles)
        place(m, "vector_unit", vector, clock=gated_clock(m, "vector_unit", vector.unit.busy))
        m.d.comb += [matmul.tile.eq(self.number), vector.tile.eq(self.number)]

        connect(m, flipped(self.stream), streamer.unit)
        connect(m, flipped(self.matmul), matmul.unit)
        connect(m, flipped(self.vector), vector.unit)
        connect(m, flipped(self.axi), streamer.axi)
        connect(m, streamer.o, matmul.weights)
        m.d.comb += [
            matmul.last.eq(streamer.last),
            memories.clear.eq(self.clear | vector.clear),
            vector.clearing.eq(memories.clearing),
            self.clearing.eq(memories.clearing),
        ]

        connect(m, matmul.a, memories.matmul_a)
        connect(m, matmul.meta, memories.matmul_meta)
        connect(m, vector.a, memories.vector_a)
        connect(m, vector.b, memories.vector_b)
        connect(m, flipped(self.dma_vmem), memories.dma_v)
        connect(m, flipped(self.dma_amem), memories.dma_a)

        connect(m, matmul.local, memories.w_matmul)
        connect(m, vector.local, memories.w_vector)
        connect(m, flipped(self.bus), memories.w_bus)
        words = streamer.o.valid & streamer.o.ready
        m.d.sync += self.moved.eq(memories.moved | words | self.axi.r.valid)
        if config.experts is not None:
            m.d.comb += self.table.eq(vector.table)
        if config.ecc:
            events = {
                "vector_memory": memories.vmem_events,
                "activation_memory": memories.amem_events,
                "weights": streamer.events,
                "matmul": matmul.events,
                "vector": vector.events,
            }
            m.d.comb += matmul.weights_failed.eq(streamer.failed)
            m.d.comb += [to.eq(events[name]) for to, name in zip(self.ecc_events, TILE_PLACES)]
        connect(m, matmul.bus, flipped(self.bus_matmul))
        connect(m, vector.bus, flipped(self.bus_vector))
        return m
