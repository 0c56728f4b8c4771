"""LocalMemories: all ports at once; every space, port and segment; contents survive a reset."""

import random

from amaranth.hdl import ResetInserter, Signal, Value
from amaranth.sim import Simulator
import pytest

from poblano.memory.local import LocalMemories
from tb.memory.configs import CONFIGS


@pytest.mark.parametrize("name", ["narrow", "desk", "wide"])
def test_random(name):
    config = CONFIGS[name]
    tile = config.tile
    segments = tile.array.segments
    dut = LocalMemories(tile)
    reset = Signal()
    rng = random.Random(name)

    async def bench(ctx):
        vmem = [0] * tile.vmem_rows
        blocks, metas = [0] * tile.amem_blocks, [0] * tile.amem_blocks
        word = lambda at: sum(blocks[at * segments + s] << 256 * s for s in range(segments))
        meta = lambda at: sum(metas[at * segments + s] << 45 * s for s in range(segments))
        row = lambda at: vmem[at]
        block = lambda at: blocks[at] | metas[at] << 256
        ports = [
            (dut.vector_a, tile.vmem_rows, row),
            (dut.vector_b, tile.vmem_rows, row),
            (dut.dma_v, tile.vmem_rows, row),
            (dut.matmul_a, tile.amem_words, word),
            (dut.matmul_meta, tile.amem_words, meta),
            (dut.dma_a, tile.amem_blocks, block),
        ]
        writes = [dut.w_vector, dut.w_matmul, dut.w_bus]
        due = [{} for _ in ports]
        reading, waited = [None] * len(ports), [0] * len(ports)
        writing, waited_write = [None] * len(writes), [0] * len(writes)
        for cycle in range(330):
            ctx.set(reset, cycle % 100 == 70)
            if cycle % 100 == 71:
                due = [{} for _ in ports]
                waited, waited_write = [0] * len(ports), [0] * len(writes)  # turns start afresh
            for p, (port, depth, _) in enumerate(ports):
                if reading[p] is None and rng.random() < 0.8:
                    reading[p], waited[p] = rng.randrange(min(depth, 16)), 0
                ctx.set(port.req.valid, reading[p] is not None)
                ctx.set(port.req.payload, reading[p] or 0)
            for p, port in enumerate(writes):
                if writing[p] is None and rng.random() < 0.6:
                    space = rng.getrandbits(1)
                    writing[p] = {
                        "space": space,
                        "addr": rng.randrange(16),
                        "mask": rng.getrandbits(tile.lanes),
                        "data": rng.getrandbits(301 if space else 32 * tile.lanes),
                    }
                    waited_write[p] = 0
                ctx.set(port.valid, writing[p] is not None)
                if writing[p]:
                    for field, value in writing[p].items():
                        ctx.set(Value.cast(port.payload[field]), value)
            for p, (port, _, read) in enumerate(ports):
                assert ctx.get(port.valid) == (cycle in due[p]), (cycle, p)
                if cycle in due[p]:
                    got = ctx.get(port.data)
                    assert (got if isinstance(got, int) else got.as_bits()) == due[p].pop(cycle)
                if reading[p] is not None:
                    if ctx.get(port.req.ready):
                        due[p][cycle + dut.LATENCY] = read(reading[p])
                        reading[p] = None
                    else:
                        waited[p] += 1
                        assert waited[p] <= 2
            for p, port in enumerate(writes):
                if not writing[p]:
                    continue
                if not ctx.get(port.ready):
                    waited_write[p] += 1
                    assert waited_write[p] <= 2
                    continue
                w, writing[p] = writing[p], None
                if w["space"]:
                    blocks[w["addr"]], metas[w["addr"]] = w["data"] & (1 << 256) - 1, w["data"] >> 256
                else:
                    for lane in range(tile.lanes):
                        if w["mask"] >> lane & 1:
                            field = 0xFFFFFFFF << 32 * lane
                            vmem[w["addr"]] = vmem[w["addr"]] & ~field | w["data"] & field
            await ctx.tick()

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
