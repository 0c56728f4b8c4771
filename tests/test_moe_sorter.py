"""The sorter of assignments against the numpy reference, with random pauses on both sides."""

import random

import numpy as np
import pytest

from poblano.config import ExpertsConfig
from poblano.moe.reference import routes
from poblano.moe.sorter import Sorter
from tb.common.streams import receive, send, simulate


class Table:
    """What is told of experts that have rows, in a testbench that goes on."""

    def __init__(self, dut):
        self.dut, self.found = dut, []

    async def bench(self, ctx):
        async for _, _, table in ctx.tick().sample(self.dut.table):
            if table.valid:
                routed = table.routed
                self.found.append((table.slot, routed.expert, routed.rows, routed.line))


def assignments(rng, config):
    """(rows, used) of experts: any, few, or the same ones for all."""
    rows, used = int(rng.integers(1, config.rows + 1)), int(rng.integers(1, config.used + 1))
    experts = int(rng.choice((used, config.experts, rng.integers(used, config.experts + 1))))
    return np.sort([rng.choice(experts, used, replace=False) for _ in range(rows)], -1), experts


@pytest.mark.parametrize("ecc", [False, True])
@pytest.mark.parametrize("config", [(2, 1, 3), (16, 2, 8), (256, 8, 20)])
def test_sorter(config, ecc):
    config = ExpertsConfig(**dict(zip(("experts", "used", "rows"), config)))
    dut = Sorter(config, ecc=ecc)
    rng, stalls = np.random.default_rng(config.experts), random.Random(config.experts)
    table = Table(dut)

    async def bench(ctx):
        for stall in (0, 0, 0.3, 0.6) * 4:
            experts, count = assignments(rng, config)
            weights = rng.integers(0, 1 << 32, experts.shape, dtype=np.uint32)
            line = int(rng.integers(1 << 19))
            ctx.set(dut.used, experts.shape[1])
            ctx.set(dut.experts, count)
            ctx.set(dut.line, line)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            payloads = [
                {"expert": int(e), "weight": int(w)} for e, w in zip(experts.ravel(), weights.ravel())
            ]
            await send(dut.i, payloads, rng=stalls, stall=stall)(ctx)
            table.found.clear()
            ctx.set(dut.sort, 1)
            await ctx.tick()
            ctx.set(dut.sort, 0)
            got = []
            await receive(dut.o, experts.size, got, rng=stalls, stall=stall)(ctx)
            assert ctx.get(dut.done)
            await ctx.tick()
            assert not ctx.get(dut.done)
            found = routes(experts, weights)
            assert table.found == [
                (slot, route.expert, len(route.rows), line + route.line) for slot, route in enumerate(found)
            ]
            memory = {
                4 * (line + route.line) + n: (int(row), int(weight))
                for route in found
                for n, (row, weight) in enumerate(zip(route.rows, route.weights))
            }
            assert {entry.pair: (entry.row, entry.weight) for entry in got} == memory
            assert [entry.row for entry in got] == np.repeat(
                np.arange(len(experts)), experts.shape[1]
            ).tolist()

    simulate(dut, bench, background=[table.bench])


def test_one_a_cycle():
    """Assignments and entries go through without a gap."""
    config = ExpertsConfig(experts=8, used=4, rows=32)
    dut, cycles = Sorter(config), {}

    async def bench(ctx):
        ctx.set(dut.used, 4)
        ctx.set(dut.experts, 8)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.i.valid, 1)
        for n in range(128):
            ctx.set(dut.i.payload, {"expert": n % 4 + n // 4 % 5, "weight": n})
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick()
        ctx.set(dut.sort, 1)
        await ctx.tick()
        ctx.set(dut.sort, 0)
        cycles["first"] = cycles["all"] = 0
        while not ctx.get(dut.done):
            cycles["first"] += not ctx.get(dut.o.valid)
            cycles["all"] += ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(dut, bench)
    assert cycles == {"first": 2 + 8 + 2, "all": 128}
