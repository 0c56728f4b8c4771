"""A tile's local memories, and who reads and writes them."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import TileConfig
from ..ecc.events import ECCEvents
from ..interfaces import LocalWrite, block_port, meta_port, vmem_port, word_port
from ..verilog import place
from .activation import ActivationMemory
from .banked import BankedMemory

__all__ = ["LocalMemories"]


class LocalMemories(wiring.Component):
    """Vector memory and activation memory of a tile; writes go where their ``space`` says.

    Reads answer exactly :attr:`LATENCY` cycles after their request's transfer. A write that has been
    transferred is in memory: a read transferred in a later cycle sees it. Every requester is served within
    a bound of two other requests. Reset forgets reads in progress and keeps the contents: reset it together
    with the units, which then get no stale data.

    Parameters
    ----------
    config : TileConfig

    Members
    -------
    vector_a, vector_b, dma_v : In(ReadPortSignature), rows of vector memory
    matmul_a, matmul_meta : In(ReadPortSignature), words of activation memory: elements; scales and sums
    dma_a : In(ReadPortSignature), blocks of activation memory
    w_vector, w_matmul, w_bus : In(stream(LocalWrite))
    moved : Out(1), a request or a write is transferred in this cycle
    clear : In(1), begin to clear both memories: zeros in all of them, a row of each bank a cycle
    clearing : Out(1), from the next cycle on until they are cleared; no write is taken
    vmem_events, amem_events : Out(ECCEvents), with ``config.ecc``, of the data that come in this cycle
    """

    LATENCY = 2

    def __init__(self, config: TileConfig):
        self.config = config
        local = config.local
        write = stream.Signature(LocalWrite(local))
        events = {"vmem_events": Out(ECCEvents()), "amem_events": Out(ECCEvents())} if config.ecc else {}
        super().__init__(
            events
            | {
                "vector_a": In(vmem_port(local)),
                "vector_b": In(vmem_port(local)),
                "dma_v": In(vmem_port(local)),
                "matmul_a": In(word_port(local)),
                "matmul_meta": In(meta_port(local)),
                "dma_a": In(block_port(local)),
                "w_vector": In(write),
                "w_matmul": In(write),
                "w_bus": In(write),
                "moved": Out(1),
                "clear": In(1),
                "clearing": Out(1),
            }
        )
        assert BankedMemory.LATENCY == ActivationMemory.LATENCY == self.LATENCY

    def elaborate(self, platform):
        m = Module()
        config, local = self.config, self.config.local
        writes = (self.w_vector, self.w_matmul, self.w_bus)
        reads = (self.vector_a, self.vector_b, self.dma_v, self.matmul_a, self.matmul_meta, self.dma_a)
        transfers = [port.valid & port.ready for port in (*writes, *(port.req for port in reads))]
        m.d.comb += self.moved.eq(Cat(*transfers, self.clearing).any())
        vmem = place(
            m,
            "vmem",
            BankedMemory(
                rows=config.vmem_rows,
                width=local.row_width,
                granularity=32,
                banks=config.vmem_banks,
                read_ports=3,
                write_ports=len(writes),
                ecc=config.ecc,
            ),
        )
        amem = place(m, "amem", ActivationMemory(local, blocks=config.amem_blocks, write_ports=len(writes)))
        m.d.comb += [
            vmem.clear.eq(self.clear),
            amem.clear.eq(self.clear),
            self.clearing.eq(vmem.clearing | amem.clearing),
        ]
        if config.ecc:
            m.d.comb += [self.vmem_events.eq(vmem.events), self.amem_events.eq(amem.events)]
        for inside, port in (
            (vmem.read[0], self.vector_a),
            (vmem.read[1], self.vector_b),
            (vmem.read[2], self.dma_v),
            (amem.word, self.matmul_a),
            (amem.meta, self.matmul_meta),
            (amem.block, self.dma_a),
        ):
            connect(m, flipped(port), inside)
        for v, a, port in zip(vmem.write, amem.write, writes):
            space = port.payload.space
            m.d.comb += [
                v.valid.eq(port.valid & ~space),
                v.payload.addr.eq(port.payload.addr[: local.vmem_addr_width]),
                v.payload.mask.eq(port.payload.mask),
                v.payload.data.eq(port.payload.data.row),
                a.valid.eq(port.valid & space),
                a.payload.eq(port.payload),
                port.ready.eq(Mux(space, a.ready, v.ready)),
            ]
        return m
