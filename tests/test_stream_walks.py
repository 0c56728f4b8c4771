"""LoopWalk and RegionWalk against loops in Python, with stalls on both sides and no gap without."""

from itertools import product
import random

import pytest

from poblano.stream.loop_walk import LoopWalk
from poblano.stream.region_walk import RegionWalk
from tb.common.streams import receive, send, simulate


def walk(dut, commands, count, stalls):
    """What the walk gives for ``commands``, and the cycles that it takes."""
    got, cycles = [], 0

    async def clock(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    rng = random.Random(str(stalls))
    simulate(
        dut,
        send(dut.cmd, commands, rng=rng, stall=stalls[0]),
        receive(dut.o, count, got, rng=rng, stall=stalls[1]),
        background=[clock],
    )
    return got, cycles


STALLS = [(0.0, 0.0), (0.4, 0.2), (0.1, 0.5)]


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("fixed", [1, 3])
def test_loops(stalls, fixed):
    """Bounds from the command, and a fixed one; the command goes with each iteration."""
    fields = {"a": 3, "b": 4, "tag": 8}
    dut = LoopWalk(fields=fields, loops={"x": "a", "y": fixed, "z": "b"})
    rng = random.Random(fixed)
    commands = [
        {"a": rng.choice([1, 1, 2, 7]), "b": rng.choice([1, 2, 5, 15]), "tag": rng.getrandbits(8)}
        for _ in range(20)
    ]
    expected = []
    for command in commands:
        bounds = (command["a"], fixed, command["b"])
        for index in product(*map(range, bounds)):
            ends = [i == bound - 1 for i, bound in zip(index, bounds)]
            expected.append((command, index, tuple(i == 0 for i in index), tuple(ends)))
    got, cycles = walk(dut, commands, len(expected), stalls)
    for payload, (command, index, first, last) in zip(got, expected, strict=True):
        assert all(payload.command[name] == value for name, value in command.items())
        names = [name for name in "xyz" if not (name == "y" and fixed == 1)]
        assert [payload.index[name] for name in names] == [index["xyz".index(name)] for name in names]
        assert tuple(payload.first[name] for name in "xyz") == first
        assert tuple(payload.last[name] for name in "xyz") == last
    if stalls == (0.0, 0.0):
        assert cycles == 1 + len(expected), "the first comes a cycle after its command, and there is no gap"


@pytest.mark.parametrize("stalls", STALLS)
def test_regions(stalls):
    width = 8
    dut = RegionWalk(width=width)
    rng = random.Random(3)
    commands = [
        {
            "base": rng.getrandbits(width),
            "stride": rng.getrandbits(width),
            "rows": rng.choice([1, 1, 2, 5]),
            "count": rng.choice([1, 2, 17]),
        }
        for _ in range(25)
    ]
    expected = [
        (
            (c["base"] + row * c["stride"] + item) % (1 << width),
            row == c["rows"] - 1 and item == c["count"] - 1,
        )
        for c in commands
        for row in range(c["rows"])
        for item in range(c["count"])
    ]
    got, cycles = walk(dut, commands, len(expected), stalls)
    assert [(payload.index, bool(payload.last)) for payload in got] == expected
    if stalls == (0.0, 0.0):
        assert cycles == 1 + len(expected)
