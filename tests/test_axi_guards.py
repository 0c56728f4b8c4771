"""AXIReadGuard and AXIWriteGuard: all passes at once; after a cut what was begun ends, and nothing of it
comes back."""

import random

import pytest

from poblano.axi.read_guard import AXIReadGuard
from poblano.axi.signature import AXIConfig
from poblano.axi.write_guard import AXIWriteGuard
from tb.common.axi import ReadMaster, ReadMemory, WriteMaster, WriteMemory, beat_at
from tb.common.streams import simulate

BEAT = 4
CONFIG = AXIConfig(addr_width=16, data_width=8 * BEAT, id_width=2)


@pytest.mark.parametrize("stall, memory_stall", [(0.0, 0.0), (0.2, 0.6), (0.7, 0.1)])
@pytest.mark.parametrize("writes", [False, True])
def test_passes(writes, stall, memory_stall):
    rng = random.Random(f"{writes} {stall}")
    options = dict(beat_bytes=BEAT, rng=rng)
    bursts = [(64 * n, rng.randint(1, 16)) for n in rng.sample(range(256), 60)]
    if writes:
        dut = AXIWriteGuard(CONFIG, outstanding=4, ahead=4, longest=16)
        master, memory = WriteMaster, WriteMemory
    else:
        dut, master, memory = AXIReadGuard(CONFIG, outstanding=4), ReadMaster, ReadMemory
    master = master(dut.i, bursts, ids=4, stall=stall, **options)
    memory = memory(dut.o, has=lambda address: True, stall=memory_stall, **options)

    async def bench(ctx):
        while not master.done:
            await ctx.tick()

    simulate(dut, bench, background=[memory.run, master.run])
    assert memory.bursts == [at for at, _ in bursts]
    if writes:
        places = {at + BEAT * k for at, n in bursts for k in range(n)}
        assert memory.written == {at: beat_at(at) for at in places}


def test_cut_read():
    """Of two bursts in flight nothing comes back, and the next begins when they are answered."""
    dut = AXIReadGuard(CONFIG, outstanding=2)

    async def bench(ctx):
        ctx.set(dut.o.ar.ready, 1)
        ctx.set(dut.i.ar.valid, 1)
        ctx.set(dut.i.r.ready, 1)
        await ctx.tick()
        await ctx.tick()
        assert not ctx.get(dut.o.ar.valid)  # no more than two
        ctx.set(dut.cut, 1)
        await ctx.tick()
        ctx.set(dut.cut, 0)
        ctx.set(dut.o.r.valid, 1)
        for last in (0, 1, 1):
            assert not ctx.get(dut.o.ar.valid) and not ctx.get(dut.i.r.valid) and ctx.get(dut.o.r.ready)
            ctx.set(dut.o.r.payload.last, last)
            await ctx.tick()
        ctx.set(dut.o.r.valid, 0)
        assert ctx.get(dut.o.ar.valid)
        await ctx.tick()
        ctx.set(dut.o.r.valid, 1)
        assert ctx.get(dut.i.r.valid)

    simulate(dut, bench)


def test_cut_write():
    """An address and a beat that were offered stay; the beats that are owed have no strobes; then the next
    burst."""
    dut = AXIWriteGuard(CONFIG, outstanding=4, ahead=4, longest=16)

    async def bench(ctx):
        ctx.set(dut.i.aw.payload, {"id": 1, "addr": 64, "len": 2})
        ctx.set(dut.i.aw.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.w.payload, {"data": 5, "strb": 15, "last": 0})
        ctx.set(dut.i.w.valid, 1)
        ctx.set(dut.cut, 1)
        await ctx.tick()
        ctx.set(dut.cut, 0)
        ctx.set(dut.i.aw.payload, {"id": 0, "addr": 128, "len": 0})
        ctx.set(dut.i.w.payload, {"data": 9, "strb": 15, "last": 1})
        for _ in range(3):
            address, beat = ctx.get(dut.o.aw.payload), ctx.get(dut.o.w.payload)
            assert ctx.get(dut.o.aw.valid) and (address.id, address.addr, address.len) == (1, 64, 2)
            assert ctx.get(dut.o.w.valid) and (beat.data, beat.strb, beat.last) == (5, 15, 0)
            assert not ctx.get(dut.i.aw.ready) and not ctx.get(dut.i.w.ready)
            await ctx.tick()
        ctx.set(dut.o.aw.ready, 1)
        ctx.set(dut.o.w.ready, 1)
        await ctx.tick()
        for last in (0, 1):
            beat = ctx.get(dut.o.w.payload)
            assert ctx.get(dut.o.w.valid) and (beat.strb, beat.last) == (0, last)
            await ctx.tick()
        assert not ctx.get(dut.o.w.valid) and not ctx.get(dut.o.aw.valid)
        ctx.set(dut.o.b.valid, 1)
        assert ctx.get(dut.o.b.ready) and not ctx.get(dut.i.b.valid)
        await ctx.tick()
        ctx.set(dut.o.b.valid, 0)
        assert ctx.get(dut.o.aw.valid) and ctx.get(dut.o.aw.payload).addr == 128

    simulate(dut, bench)
