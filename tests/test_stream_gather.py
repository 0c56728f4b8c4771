"""Gather: whole payloads and parts of them in turn, under random stalls."""

import random

import pytest

from poblano.stream.gather import Gather
from tb.common.streams import receive, send, simulate

WIDTH = 6


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("stalls", [0.0, 0.5])
def test_parts_and_whole_payloads(count, stalls):
    dut = Gather(width=WIDTH, count=count)
    rng = random.Random(count)
    word = lambda: [rng.getrandbits(WIDTH) for _ in range(count)]
    given, wanted = [], []
    for _ in range(60):
        if rng.random() < 0.5:
            given.append({"word": word(), "parts": 0})
            wanted.append(given[-1]["word"])
            continue
        words = [word() for _ in range(count)]
        given += [{"word": each, "parts": 1} for each in words]
        wanted.append([words[n][n] for n in range(count)])
    got = []
    simulate(
        dut,
        send(dut.i, given, rng=rng, stall=stalls),
        receive(dut.o, len(wanted), got, rng=rng, stall=stalls),
    )
    assert [list(beat) for beat in got] == wanted
