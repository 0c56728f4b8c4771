"""Skid and BypassFIFO: random traffic, full rate, delay."""

from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.stream.bypass import BypassFIFO
from poblano.stream.skid import Skid

KINDS = {"skid": (lambda: Skid(shape=16), 1), "bypass": (lambda: BypassFIFO(shape=16, depth=4), 0)}


def simulate(dut, count, gaps):
    """``count`` random items through ``dut``, compared; the cycles in which they come and leave."""
    rng = np.random.default_rng(2)
    items = rng.integers(0, 1 << 16, count).tolist()
    sent, got = [], []

    async def testbench(ctx):
        offered, cycle = False, 0
        while len(got) < count:
            offered = offered or (len(sent) < count and rng.random() >= gaps[0])
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.i.payload, items[len(sent)] if offered else int(rng.integers(0, 1 << 16)))
            ready = rng.random() >= gaps[1]
            ctx.set(dut.o.ready, ready)
            taken = offered and ctx.get(dut.i.ready)
            if ready and ctx.get(dut.o.valid):
                assert ctx.get(dut.o.payload) == items[len(got)]
                got.append(cycle)
            if taken:
                sent.append(cycle)
                offered = False
            await ctx.tick()
            cycle += 1
            assert cycle < 20 * count

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()
    return sent, got


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gaps", [(0.3, 0.3), (0.0, 0.6), (0.6, 0.0), (0.1, 0.1)])
def test_random(kind, gaps):
    simulate(KINDS[kind][0](), 300, gaps)


@pytest.mark.parametrize("kind", KINDS)
def test_rate_and_delay(kind):
    make, delay = KINDS[kind]
    sent, got = simulate(make(), 100, (0.0, 0.0))
    assert sent == list(range(100))
    assert got == [cycle + delay for cycle in sent]
