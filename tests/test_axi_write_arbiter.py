"""AXIWriteArbiter: bursts of all ports, data in the order of their addresses, answers in any order to their
ports."""

import random

import pytest

from poblano.axi.signature import AXIConfig
from poblano.axi.write_arbiter import AXIWriteArbiter
from tb.common.axi import WriteMaster, WriteMemory, beat_at
from tb.common.streams import simulate

BEAT = 4
CONFIG = AXIConfig(addr_width=16, data_width=8 * BEAT, id_width=2)


@pytest.mark.parametrize("ports, ahead", [(2, 4), (3, 1)])
@pytest.mark.parametrize("stall, memory_stall", [(0.0, 0.0), (0.2, 0.6), (0.7, 0.1)])
def test_bursts(ports, ahead, stall, memory_stall):
    rng = random.Random(f"{ports} {stall}")
    dut = AXIWriteArbiter(CONFIG, ports=ports, ahead=ahead)
    places = [64 * n for n in rng.sample(range(256), 25 * ports)]
    bursts = [[(at, rng.randint(1, 16)) for at in places[p::ports]] for p in range(ports)]
    options = dict(beat_bytes=BEAT, rng=rng)
    masters = [WriteMaster(port, bursts[p], ids=4, stall=stall, **options) for p, port in enumerate(dut.i)]
    memory = WriteMemory(dut.o, has=lambda address: True, stall=memory_stall, **options)

    async def bench(ctx):
        while not all(master.done for master in masters):
            await ctx.tick()

    simulate(dut, bench, background=[memory.run, *(master.run for master in masters)])
    everything = [burst for of_port in bursts for burst in of_port]
    assert memory.written == {at + BEAT * k: beat_at(at + BEAT * k) for at, n in everything for k in range(n)}
    assert sorted(memory.bursts) == sorted(at for at, _ in everything)


def test_ports_take_turns():
    dut = AXIWriteArbiter(CONFIG, ports=3, ahead=2)

    async def bench(ctx):
        ctx.set(dut.o.aw.ready, 1)
        ctx.set(dut.o.w.ready, 1)
        for p, port in enumerate(dut.i):
            ctx.set(port.aw.valid, 1)
            ctx.set(port.aw.payload.addr, p)
            ctx.set(port.w.valid, 1)
            ctx.set(port.w.payload, {"data": p, "strb": 15, "last": 1})
        addresses, beats = [], []
        for _ in range(30):
            _, _, valid, address, has_beat, beat = await ctx.tick().sample(
                dut.o.aw.valid, dut.o.aw.payload, dut.o.w.valid, dut.o.w.payload
            )
            addresses += [address.addr] * valid
            beats += [beat.data] * has_beat
        assert len(addresses) >= 28 and beats == addresses[: len(beats)] and len(beats) >= 28
        for n in range(len(addresses) - 3):
            assert sorted(addresses[n : n + 3]) == [0, 1, 2]

    simulate(dut, bench)
