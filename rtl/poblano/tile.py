"""A tile: an array with its accumulator, weight FIFO, local memories and vector unit."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .axi.signature import AXIReadSignature
from .compute.matmul import MatmulUnit
from .config import ChipConfig
from .interfaces import UnitSignature, block_port, bus_write, local_write, vmem_port
from .memory.local import LocalMemories
from .memory.stream_unit import StreamUnit
from .vector.unit import VectorUnit
from .verilog import place

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
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "number": In(5),
                "stream": In(UnitSignature()),
                "matmul": In(UnitSignature()),
                "vector": In(UnitSignature()),
                "axi": Out(
                    AXIReadSignature(
                        addr_width=config.memory.addr_width, data_width=config.memory.data_width, id_width=1
                    )
                ),
                "bus_matmul": Out(stream.Signature(bus_write(config))),
                "bus_vector": Out(stream.Signature(bus_write(config))),
                "bus": In(stream.Signature(local_write(config))),
                "dma_vmem": In(vmem_port(config)),
                "dma_amem": In(block_port(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memories = place(m, "memories", LocalMemories(self.config))
        streamer = place(m, "streamer", StreamUnit(self.config))
        matmul = place(m, "matmul_unit", MatmulUnit(self.config))
        vector = place(m, "vector_unit", VectorUnit(self.config))
        m.d.comb += [matmul.tile.eq(self.number), vector.tile.eq(self.number)]

        connect(m, flipped(self.stream), streamer.unit)
        connect(m, flipped(self.matmul), matmul.unit)
        connect(m, flipped(self.vector), vector.unit)
        connect(m, flipped(self.axi), streamer.axi)
        connect(m, streamer.o, matmul.weights)

        connect(m, matmul.a, memories.matmul_a)
        connect(m, matmul.meta, memories.matmul_meta)
        connect(m, vector.a, memories.vector_a)
        connect(m, vector.b, memories.vector_b)
        connect(m, flipped(self.dma_vmem), memories.dma_v)
        connect(m, flipped(self.dma_amem), memories.dma_a)

        connect(m, matmul.local, memories.w_matmul)
        connect(m, vector.local, memories.w_vector)
        connect(m, flipped(self.bus), memories.w_bus)
        connect(m, matmul.bus, flipped(self.bus_matmul))
        connect(m, vector.bus, flipped(self.bus_vector))
        return m
