"""The order of beats and their addresses against loops in Python."""

from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.vector.walk import AddressWalk, RowWalk


def order(rows, blocks, parts, group):
    """(row, block, part) of each beat."""
    return [
        (row, block, part)
        for first in range(0, rows, group)
        for block in range(blocks)
        for row in range(first, min(first + group, rows))
        for part in range(parts)
    ]


def simulate(dut, testbench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def commands(rng, group, count=40):
    """(rows, blocks, share, together) of commands."""
    for _ in range(count):
        rows, blocks = (int(rng.integers(1, most)) for most in (10, 6))
        yield rows, blocks, int(rng.choice([1, 2, 3, 5, 255])), group > 1 and rng.random() < 0.7


@pytest.mark.parametrize("group, beats", [(1, 16), (1, 4), (2, 2), (4, 1)])
def test_rows(group, beats):
    """Commands back to back with random stalls: numbers, flags and where the next beat is."""
    rng = np.random.default_rng([group, beats])
    dut = RowWalk(group=group, beats=beats, shared=True)

    async def testbench(ctx):
        for rows, blocks, share, together in commands(rng, group):
            beat_order = order(rows, blocks, beats, group if together else 1)
            if group > 1:
                ctx.set(dut.together, together)
            for name, value in (("rows", rows), ("blocks", blocks), ("share", share)):
                ctx.set(getattr(dut, name), value)
            for n, (row, block, part) in enumerate(beat_order):
                ctx.set(dut.step, 0)
                while rng.random() < 0.2:
                    await ctx.tick()
                ctx.set(dut.step, 1)
                following = beat_order[n + 1] if n + 1 < len(beat_order) else None
                assert [ctx.get(value) for value in (dut.row, dut.block, dut.part)] == [row, block, part]
                group_ends = not together or row % group == group - 1 or row == rows - 1
                ends = part == beats - 1
                assert ctx.get(dut.last_part) == ends
                assert ctx.get(dut.last_block) == (block == blocks - 1)
                assert ctx.get(dut.last_row) == group_ends
                assert ctx.get(dut.last) == (following is None)
                assert ctx.get(dut.turn) == (row % share == share - 1)
                assert ctx.get(dut.next_row) == (ends and not group_ends)
                assert ctx.get(dut.next_block) == (ends and group_ends and block < blocks - 1)
                assert ctx.get(dut.next_group) == (ends and group_ends and block == blocks - 1)
                await ctx.tick()
            ctx.set(dut.step, 0)

    simulate(dut, testbench)


@pytest.mark.parametrize("group, beats", [(1, 4), (2, 2), (4, 1)])
@pytest.mark.parametrize("shared", [False, True])
def test_addresses(group, beats, shared):
    rng = np.random.default_rng([group, beats, shared])
    dut = AddressWalk(width=12, group=group, beats=beats, shared=shared)

    async def testbench(ctx):
        for rows, blocks, share, together in commands(rng, group):
            single = bool(rng.integers(0, 2))
            base, stride = (int(value) for value in rng.integers(0, 1 << 12, 2))
            ctx.set(dut.start, 1)
            ctx.set(dut.base, base)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.base, int(rng.integers(0, 1 << 12)))
            inputs = {"rows": rows, "blocks": blocks, "stride": stride, "single": single}
            inputs |= {"together": together} if group > 1 else {}
            inner = int(rng.choice([0, stride, rng.integers(0, 1 << 12)]))
            inputs |= {"share": share, "inner": inner} if shared else {}
            for name, value in inputs.items():
                ctx.set(getattr(dut, name), value)
            parts = 1 if single else beats
            for row, block, part in order(rows, blocks, parts, group if together else 1):
                ctx.set(dut.step, 0)
                while rng.random() < 0.2:
                    await ctx.tick()
                assert ctx.get(dut.active)
                turns = row // share if shared else row
                at = base + turns * stride + (row - turns) * inner
                assert ctx.get(dut.addr) == (at + block * parts + part) % (1 << 12)
                ctx.set(dut.step, 1)
                await ctx.tick()
            ctx.set(dut.step, 0)
            assert not ctx.get(dut.active)

    simulate(dut, testbench)
