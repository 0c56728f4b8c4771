"""KVBuffer: bursts at the end of memory, with pauses, of several ids, and at full rate."""

import random

import pytest

from poblano.axi.signature import AXIConfig
from poblano.memory.kv_buffer import KVBuffer
from tb.common.axi import ReadMaster, WriteMaster
from tb.common.streams import simulate

SIZE, BEAT = 4096, 8
CONFIG = AXIConfig(addr_width=20, data_width=8 * BEAT, id_width=3)
LOW = (1 << 20) - SIZE


def masters(dut, bursts, *, ids, stall=0.0, seed=0):
    options = dict(ids=ids, beat_bytes=BEAT, rng=random.Random(seed), stall=stall)
    return WriteMaster(dut.axi.write, bursts, **options), ReadMaster(dut.axi.read, bursts, **options)


@pytest.mark.parametrize("stall", [0.0, 0.4, 0.8])
def test_all_that_was_written_is_read(stall):
    dut = KVBuffer(CONFIG, size=SIZE)
    rng = random.Random(stall)
    starts = [LOW + 64 * n for n in range(SIZE // 64)]
    rng.shuffle(starts)
    write, read = masters(dut, [(at, rng.randint(1, 8)) for at in starts], ids=4, stall=stall)

    async def reads(ctx):
        while not write.done:
            await ctx.tick()
        await read.run(ctx)

    async def ends(ctx):
        while not read.done:
            await ctx.tick()

    simulate(dut, ends, background=[write.run, reads])


@pytest.mark.parametrize("beats", [1, 4])
def test_a_beat_a_cycle_each_way(beats):
    """Reads and writes of short bursts at once."""
    dut, count = KVBuffer(CONFIG, size=SIZE), 64
    taken = {"w": [], "r": []}

    async def bench(ctx):
        write, read = dut.axi.write, dut.axi.read
        for channel in (write.aw, read.ar):
            ctx.set(channel.payload, {"id": 5, "addr": LOW, "len": beats - 1})
            ctx.set(channel.valid, 1)
        ctx.set(write.w.payload, {"data": 1, "strb": 255, "last": 1})
        for signal in (write.w.valid, write.b.ready, read.r.ready):
            ctx.set(signal, 1)
        for _ in range(count):
            *_, w, r = await ctx.tick().sample(write.w.ready, read.r.valid)
            taken["w"].append(w)
            taken["r"].append(r)

    simulate(dut, bench)
    assert all(taken["w"][1:]) and all(taken["r"][2:])
