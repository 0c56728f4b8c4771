"""RoundRobin: one-hot, held until accepted, fair."""

import random

from amaranth.sim import Simulator
import pytest

from poblano.stream.round_robin import RoundRobin


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_grants_in_turn_and_holds(count):
    dut = RoundRobin(count=count)
    rng = random.Random(count)

    async def bench(ctx):
        requests, waited, last = 0, [0] * count, 0
        for _ in range(600):
            for i in range(count):
                if not requests >> i & 1 and rng.random() < 0.5:
                    requests |= 1 << i
                    waited[i] = 0
            accept = rng.random() < 0.6
            ctx.set(dut.request, requests)
            ctx.set(dut.accept, accept)
            grant = ctx.get(dut.grant)
            assert grant & ~requests == 0 and grant.bit_count() == bool(requests)
            assert not last or grant == last, "the grant moved before it was accepted"
            last = 0 if accept else grant
            if accept and grant:
                served = grant.bit_length() - 1
                for i in range(count):
                    if requests >> i & 1 and i != served:
                        waited[i] += 1
                        assert waited[i] < count
                requests &= ~grant
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


def test_count_is_quoted():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        RoundRobin(count=0)
