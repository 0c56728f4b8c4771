"""Broadcast: each consumer gets the payloads that are for it, once and in order, however they stall."""

import random

from amaranth.lib import data
import pytest

from poblano.stream.broadcast import Broadcast
from tb.common.streams import receive, simulate

WORD = data.StructLayout({"number": 12, "more": 4})


def run(count, *, masks, stall, take):
    dut = Broadcast(shape=WORD, count=count)
    rng = random.Random(f"{count} {stall}")
    got = [[] for _ in range(count)]
    cycles = 0

    async def source(ctx):
        nonlocal cycles
        for number, mask in enumerate(masks):
            while rng.random() < stall:
                await ctx.tick()
                cycles += 1
            ctx.set(dut.i.payload, {"number": number, "more": number % 16})
            if mask is not None:
                ctx.set(dut.to, mask)
            ctx.set(dut.i.valid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.i.ready)
                cycles += 1
            # By now all that it is for have it.
            for consumer in range(count):
                if mask is None or mask >> consumer & 1:
                    assert got[consumer][-1].number == number
            ctx.set(dut.i.valid, 0)

    wanted = [[n for n, mask in enumerate(masks) if mask is None or mask >> c & 1] for c in range(count)]
    simulate(
        dut,
        *(
            receive(port, len(wanted[c]), got[c], rng=random.Random(c), stall=take)
            for c, port in enumerate(dut.o)
        ),
        source,
    )
    assert [[payload.number for payload in payloads] for payloads in got] == wanted
    assert all(payload.more == payload.number % 16 for payloads in got for payload in payloads)
    return cycles


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("stall,take", [(0.0, 0.5), (0.5, 0.0), (0.3, 0.3)])
def test_masks(count, stall, take):
    rng = random.Random(count)
    run(count, masks=[rng.randrange(1 << count) for _ in range(150)], stall=stall, take=take)


def test_one_a_cycle_to_all():
    """Without ``to``, every payload goes to all; with no stalls one a cycle."""
    assert run(3, masks=[None] * 50, stall=0.0, take=0.0) == 50


def test_to_none_completes_at_once():
    assert run(2, masks=[0] * 20, stall=0.0, take=1.0) == 20
