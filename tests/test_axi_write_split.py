"""AXIWriteSplit: addresses and data go to their home, answers of all homes come back; data of one home at a
time."""

import random

import pytest

from poblano.axi.homes import HomesConfig
from poblano.axi.signature import AXIConfig
from poblano.axi.write_split import AXIWriteSplit
from tb.common.axi import WriteMaster, WriteMemory, beat_at
from tb.common.streams import simulate

SIZE, BEAT = 4096, 4
CONFIG = AXIConfig(addr_width=16, data_width=8 * BEAT, id_width=3)


def in_home(number):
    return lambda address: address // SIZE == number


def random_bursts(rng, homes, count):
    """Bursts that do not overlap, each in a home."""
    places = [64 * n for n in range(homes * SIZE // 64)]
    return [(at, rng.randint(1, 16)) for at in rng.sample(places, count)]


@pytest.mark.parametrize("homes", [2, 4])
@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("stall, memory_stall", [(0.0, 0.0), (0.2, 0.6), (0.8, 0.1)])
def test_bursts(homes, ahead, stall, memory_stall):
    rng = random.Random(f"{homes} {ahead} {stall}")
    dut = AXIWriteSplit(CONFIG, homes=HomesConfig(count=homes, size=SIZE), ahead=ahead)
    bursts = random_bursts(rng, homes, 40)
    master = WriteMaster(dut.i, bursts, ids=8, beat_bytes=BEAT, rng=rng, stall=stall)
    memories = [
        WriteMemory(port, has=in_home(n), beat_bytes=BEAT, rng=rng, stall=memory_stall)
        for n, port in enumerate(dut.o)
    ]

    async def bench(ctx):
        while not master.done:
            await ctx.tick()

    simulate(dut, bench, background=[master.run, *(memory.run for memory in memories)])
    expected = {at + BEAT * k: beat_at(at + BEAT * k) for at, n in bursts for k in range(n)}
    written = {}
    for memory in memories:
        written |= memory.written
    assert written == expected
    assert sorted(at for memory in memories for at in memory.bursts) == sorted(at for at, _ in bursts)


def test_waits_for_data():
    """An address for another home waits for the data of those before; one for the same home for room."""
    dut = AXIWriteSplit(CONFIG, homes=HomesConfig(count=2, size=SIZE), ahead=2)
    aw, w = dut.i.aw, dut.i.w

    async def bench(ctx):
        for port in dut.o:
            ctx.set(port.aw.ready, 1)
            ctx.set(port.w.ready, 1)
        ctx.set(aw.valid, 1)
        assert ctx.get(dut.o[0].aw.valid) and ctx.get(aw.ready)
        ctx.set(aw.payload.addr, SIZE)
        assert ctx.get(dut.o[1].aw.valid) and ctx.get(aw.ready)
        await ctx.tick()
        ctx.set(aw.payload.addr, 64)
        ctx.set(w.valid, 1)
        for _ in range(3):  # beats that are not the last
            assert not ctx.get(dut.o[0].aw.valid) and not ctx.get(aw.ready)
            assert ctx.get(dut.o[1].w.valid) and not ctx.get(dut.o[0].w.valid) and ctx.get(w.ready)
            await ctx.tick()
        ctx.set(w.payload.last, 1)
        await ctx.tick()
        assert ctx.get(dut.o[0].aw.valid) and ctx.get(aw.ready) and not ctx.get(w.ready)
        await ctx.tick()
        ctx.set(w.valid, 0)
        assert ctx.get(aw.ready)
        await ctx.tick()
        assert not ctx.get(aw.ready)  # two without data

    simulate(dut, bench)
