"""LocalMemories: all ports at once; every space, port and segment; contents survive a reset."""

from dataclasses import replace
import random

from amaranth.hdl import Fragment, ResetInserter, Signal, Value
from amaranth.sim import Simulator
import pytest

from poblano.memory.local import LocalMemories
from tb.common.flips import single_flips
from tb.memory.configs import CONFIGS


class Contents:
    """What the memories hold, as integers."""

    def __init__(self, tile):
        self.lanes, self.segments = tile.lanes, tile.array.segments
        self.vmem = [0] * tile.vmem_rows
        self.blocks, self.metas = [0] * tile.amem_blocks, [0] * tile.amem_blocks

    def word(self, at):
        return sum(self.blocks[at * self.segments + s] << 256 * s for s in range(self.segments))

    def meta(self, at):
        return sum(self.metas[at * self.segments + s] << 45 * s for s in range(self.segments))

    def row(self, at):
        return self.vmem[at]

    def block(self, at):
        return self.blocks[at] | self.metas[at] << 256

    def write(self, space, addr, mask, data):
        if space:
            self.blocks[addr], self.metas[addr] = data & (1 << 256) - 1, data >> 256
            return
        for lane in range(self.lanes):
            if mask >> lane & 1:
                field = 0xFFFFFFFF << 32 * lane
                self.vmem[addr] = self.vmem[addr] & ~field | data & field


class Reads:
    """A read port: random addresses below ``depth``, and what must come back in which cycle."""

    def __init__(self, port, depth, content, rng):
        self.port, self.depth, self.content, self.rng = port, min(depth, 16), content, rng
        self.address, self.due, self.waited = None, {}, 0

    def reset(self):
        self.due, self.waited = {}, 0

    def drive(self, ctx):
        if self.address is None and self.rng.random() < 0.8:
            self.address, self.waited = self.rng.randrange(self.depth), 0
        ctx.set(self.port.req.valid, self.address is not None)
        ctx.set(self.port.req.payload, self.address or 0)

    def check(self, ctx, cycle, latency):
        assert ctx.get(self.port.valid) == (cycle in self.due), cycle
        if cycle in self.due:
            got = ctx.get(self.port.data)
            assert (got if isinstance(got, int) else got.as_bits()) == self.due.pop(cycle)
        if self.address is None:
            return
        if ctx.get(self.port.req.ready):
            self.due[cycle + latency] = self.content(self.address)
            self.address = None
        else:
            self.waited += 1
            assert self.waited <= 2


class Writes:
    """A write port: random writes, which reach ``contents`` when they are taken."""

    def __init__(self, port, contents, rng):
        self.port, self.contents, self.rng = port, contents, rng
        self.write, self.waited = None, 0

    def reset(self):
        self.waited = 0

    def drive(self, ctx):
        if self.write is None and self.rng.random() < 0.6:
            space = self.rng.getrandbits(1)
            self.write = {
                "space": space,
                "addr": self.rng.randrange(16),
                "mask": self.rng.getrandbits(self.contents.lanes),
                "data": self.rng.getrandbits(301 if space else 32 * self.contents.lanes),
            }
            self.waited = 0
        ctx.set(self.port.valid, self.write is not None)
        if self.write:
            for field, value in self.write.items():
                ctx.set(Value.cast(self.port.payload[field]), value)

    def check(self, ctx):
        if not self.write:
            return
        if not ctx.get(self.port.ready):
            self.waited += 1
            assert self.waited <= 2
            return
        self.contents.write(**self.write)
        self.write = None


@pytest.mark.parametrize(
    "name,ecc",
    [("narrow", 0), ("desk", 0), ("wide", 0), ("narrow", 1), pytest.param("wide", 1, marks=pytest.mark.slow)],
)
def test_random(name, ecc):
    """All ports at once, with resets: contents, latency, and requesters that wait at most two cycles; with
    check bits and single flips in all memories too."""
    tile = replace(CONFIGS[name].tile, ecc=bool(ecc))
    dut = LocalMemories(tile)
    reset = Signal()
    rng = random.Random(name)
    contents = Contents(tile)
    reads = [
        Reads(port, depth, content, rng)
        for port, depth, content in (
            (dut.vector_a, tile.vmem_rows, contents.row),
            (dut.vector_b, tile.vmem_rows, contents.row),
            (dut.dma_v, tile.vmem_rows, contents.row),
            (dut.matmul_a, tile.amem_words, contents.word),
            (dut.matmul_meta, tile.amem_words, contents.meta),
            (dut.dma_a, tile.amem_blocks, contents.block),
        )
    ]
    writes = [Writes(port, contents, rng) for port in (dut.w_vector, dut.w_matmul, dut.w_bus)]

    async def bench(ctx):
        for cycle in range(330):
            ctx.set(reset, cycle % 100 == 70)
            for port in [*reads, *writes]:
                if cycle % 100 == 71:
                    port.reset()  # turns start afresh
                port.drive(ctx)
            for port in reads:
                port.check(ctx, cycle, dut.LATENCY)
            for port in writes:
                port.check(ctx)
            if ecc:
                assert not any(ctx.get(port.port.valid & port.port.failed) for port in reads)
                corrected.update(
                    name for name in ("vmem", "amem") if ctx.get(getattr(dut, f"{name}_events").corrected)
                )
            await ctx.tick()

    corrected = set()
    design = Fragment.get(ResetInserter(reset)(dut), None)
    simulator = Simulator(design)
    simulator.add_clock(1e-9)
    if ecc:
        flips = single_flips(design, random.Random(name), few=16)
        simulator.add_testbench(flips, background=True)
    simulator.add_testbench(bench)
    simulator.run()
    assert corrected == ({"vmem", "amem"} if ecc else set())
