"""AXIReadSplit: each burst goes to its home, and the homes' beats come back mixed, none lost or changed."""

import random

import pytest

from poblano.axi.homes import HomesConfig
from poblano.axi.read_split import AXIReadSplit
from poblano.axi.signature import AXIConfig
from tb.common.axi import ReadMaster, ReadMemory
from tb.common.streams import simulate

SIZE, BEAT = 4096, 4
CONFIG = AXIConfig(addr_width=16, data_width=8 * BEAT, id_width=3)


def in_home(number):
    return lambda address: address // SIZE == number


@pytest.mark.parametrize("homes", [2, 4])
@pytest.mark.parametrize("stall, memory_stall", [(0.0, 0.0), (0.2, 0.6), (0.8, 0.1)])
def test_bursts(homes, stall, memory_stall):
    rng = random.Random(f"{homes} {stall}")
    dut = AXIReadSplit(CONFIG, homes=HomesConfig(count=homes, size=SIZE))
    bursts = [(BEAT * rng.randrange(homes * SIZE // BEAT - 8), rng.randint(1, 8)) for _ in range(60)]
    bursts = [(at, n) for at, n in bursts if at // SIZE == (at + BEAT * n - 1) // SIZE]
    master = ReadMaster(dut.i, bursts, ids=8, beat_bytes=BEAT, rng=rng, stall=stall)
    memories = [
        ReadMemory(port, has=in_home(n), beat_bytes=BEAT, rng=rng, stall=memory_stall)
        for n, port in enumerate(dut.o)
    ]

    async def bench(ctx):
        while not master.done:
            await ctx.tick()

    simulate(dut, bench, background=[master.run, *(memory.run for memory in memories)])
    assert sorted(at for memory in memories for at in memory.bursts) == sorted(at for at, _ in bursts)


def test_homes_take_turns():
    """While several homes have beats, a beat waits for at most one of each other home."""
    homes = 4
    dut = AXIReadSplit(CONFIG, homes=HomesConfig(count=homes, size=SIZE))

    async def bench(ctx):
        ctx.set(dut.i.r.ready, 1)
        for n, port in enumerate(dut.o):
            ctx.set(port.r.valid, 1)
            ctx.set(port.r.payload, {"id": n, "data": n, "resp": 0, "last": 0})
        came = []
        for _ in range(5 * homes):
            _, _, valid, beat = await ctx.tick().sample(dut.i.r.valid, dut.i.r.payload)
            assert valid
            came.append(beat.data)
        for n in range(len(came) - homes):
            assert sorted(came[n : n + homes]) == list(range(homes))

    simulate(dut, bench)
