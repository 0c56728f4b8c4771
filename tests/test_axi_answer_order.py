"""AnswerOrder: answers that come in any order are given in the order of their bursts, each once."""

import random

import pytest

from poblano.axi.answer_order import AnswerOrder
from tb.common.streams import receive, simulate

COUNT = 200


@pytest.mark.parametrize("outstanding", [1, 4, 16])
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_order(outstanding, stall):
    dut = AnswerOrder(outstanding=outstanding)
    rng = random.Random(f"{outstanding} {stall}")
    bad = [rng.randrange(2) for _ in range(COUNT)]
    got = []

    async def answer(ctx):
        waiting, begun = [], 0
        for _ in range(100 * COUNT):
            while begun < min(COUNT, len(got) + outstanding):
                waiting.append(begun)
                begun += 1
            gives = bool(waiting) and rng.random() >= stall
            ctx.set(dut.valid, gives)
            if gives:
                burst = waiting.pop(rng.randrange(len(waiting)))
                ctx.set(dut.id, burst % outstanding)
                ctx.set(dut.bad, bad[burst])
            await ctx.tick()

    simulate(dut, receive(dut.o, COUNT, got, rng=rng, stall=stall), background=[answer])
    assert got == bad
