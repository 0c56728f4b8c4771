"""BroadcastBus: each addressed tile gets each transfer once, in each source's order; completion;
throughput; fairness."""

import random

from amaranth.sim import Simulator
import pytest

from poblano.bus.broadcast import BroadcastBus
from tb.memory.configs import CONFIGS


def run(config, *, count, offer, take):
    """Random transfers; returns the cycles they took. ``offer`` and ``take`` are probabilities."""
    sources, tiles = 2 * config.tiles + 1, config.tiles
    dut = BroadcastBus(config.tile.local, sources=sources, tiles=tiles)
    rng = random.Random(f"{config.name} {offer} {take}")
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        todo = [
            [
                {
                    "tiles": rng.randrange(1 << tiles),
                    "write": {
                        "space": rng.getrandbits(1),
                        "addr": i % 64,
                        "mask": rng.getrandbits(2),
                        "data": {"row": [s << 16 | i]},
                    },
                }
                for i in range(count)
            ]
            for s in range(sources)
        ]
        sent, got = [0] * sources, [[[] for _ in range(sources)] for _ in range(tiles)]
        offering, waited = [False] * sources, [0] * sources
        while sum(sent) < count * sources:
            for s, port in enumerate(dut.i):
                if not offering[s] and sent[s] < count and rng.random() < offer:
                    offering[s], waited[s] = True, 0
                ctx.set(port.valid, offering[s])
                if offering[s]:
                    ctx.set(port.payload, todo[s][sent[s]])
            ready = [rng.random() < take for _ in range(tiles)]
            for t, port in enumerate(dut.o):
                ctx.set(port.ready, ready[t])
            for t, port in enumerate(dut.o):
                if ready[t] and ctx.get(port.valid):
                    write = ctx.get(port.payload)
                    source, i = divmod(write.data.row[0], 1 << 16)
                    expected = todo[source][i]
                    assert expected["tiles"] >> t & 1 and i == sent[source]
                    assert all(write[name] == expected["write"][name] for name in ("space", "addr", "mask"))
                    assert write.data.as_bits() == source << 16 | i
                    got[t][source].append(i)
            done = [s for s, port in enumerate(dut.i) if offering[s] and ctx.get(port.ready)]
            assert len(done) <= 1
            for s in done:
                for t in range(tiles):
                    assert (got[t][s][-1:] == [sent[s]]) == bool(todo[s][sent[s]]["tiles"] >> t & 1), (
                        "completed too early"
                    )
                sent[s] += 1
                offering[s] = False
                for other in range(sources):
                    waited[other] += offering[other]
                    assert waited[other] < sources
            await ctx.tick()
            cycles += 1
        for t in range(tiles):
            for s in range(sources):
                assert got[t][s] == [i for i in range(count) if todo[s][i]["tiles"] >> t & 1]

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


@pytest.mark.parametrize("name", ["narrow", "desk", "wide"])
def test_random_stalls(name):
    for offer, take in ((0.5, 0.5), (1.0, 0.3), (0.1, 1.0)):
        run(CONFIGS[name], count=10, offer=offer, take=take)


def test_a_transfer_a_cycle():
    assert run(CONFIGS["desk"], count=20, offer=1.0, take=1.0) == 20 * 5
