"""Divider in Amaranth's simulator: every divisor, and the result's latency."""

import random

from amaranth.sim import Simulator

from poblano.control.divider import Divider


def test_divider():
    rng = random.Random(1)
    dut = Divider()
    pairs = [(a, b) for b in range(1, 256) for a in (1, b, b + 1, 2 * b, rng.randrange(1, 65536), 65535)]

    async def bench(ctx):
        for dividend, divisor in pairs:
            ctx.set(dut.dividend, dividend)
            ctx.set(dut.divisor, divisor)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.dividend, rng.randrange(65536))
            ctx.set(dut.divisor, rng.randrange(256))
            await ctx.tick().repeat(Divider.LATENCY)
            for _ in range(rng.choice((1, 1, 5))):
                assert ctx.get(dut.o) == -(-dividend // divisor), (dividend, divisor)
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
