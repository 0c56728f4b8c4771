"""Accumulator in Amaranth's simulator, with segments and passes, fed with block sums directly."""

from dataclasses import replace
from fractions import Fraction
import random

from amaranth.hdl import Fragment
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.compute.accumulator import Accumulator
from poblano.config import ArrayConfig, ChipConfig, MemoryConfig, TileConfig
from poblano.formats.float32_reference import float_add, float_multiply
from poblano.formats.scale_reference import read_scale
from tb.common.flips import single_flips
from tb.compute.configs import CONFIGS

SMALL = {
    "segments": ChipConfig(
        tiles=1,
        tile=TileConfig(array=ArrayConfig(rows=64, cols=32), lanes=2, tokens=4),
        memory=MemoryConfig(data_width=64, bandwidth=Fraction(8)),
    ),
    "one_part": ChipConfig(
        tiles=1,
        tile=TileConfig(array=ArrayConfig(rows=8, cols=4), lanes=4, tokens=4),
        memory=MemoryConfig(data_width=64, bandwidth=Fraction(8)),
    ),
    "one_item": ChipConfig(
        tiles=1,
        tile=TileConfig(array=ArrayConfig(rows=4, cols=4, load_rows=4), lanes=2, tokens=4),
        memory=MemoryConfig(data_width=64, bandwidth=Fraction(8)),
    ),
    "nano": CONFIGS["nano"],
}


class Work:
    """A command, what goes in, and the results."""

    def __init__(self, rng, config, *, rows, steps, groups, scaled, minimum, interleaved=False):
        array = config.tile.array
        segments, cols = array.segments, array.cols
        order = lambda values: values.swapaxes(0, 1) if interleaved else values  # of (group, step, ..)
        self.command = {
            "rows": rows,
            "steps": steps,
            "passes": array.passes,
            "groups": groups,
            "outer": 1 if interleaved else groups,
            "inner": groups if interleaved else 1,
            "scaled": int(scaled),
            "minimum": int(minimum),
        }
        shape = (groups, steps, rows, segments)
        sums = (
            rng.integers(-(1 << 18), 1 << 18, (groups, steps, array.passes, rows, segments, cols))
            // array.passes
        )
        scale = rng.normal(0, 1, shape).astype(np.float32)
        total = rng.integers(-4096, 4096, shape)
        d = rng.normal(0, 1, (groups, steps, segments, cols)).astype(np.float32)
        d, low = read_scale(d), read_scale(rng.normal(0, 100, d.shape))
        # As from the array, a pass takes at least as many cycles as a tile has items: None is an idle one.
        self.sums = [
            beat and [[{"value": x} for x in row] for row in beat]
            for pass_ in order(sums).reshape(-1, rows, segments, cols).tolist()
            for beat in pass_ + [None] * (array.items - rows)
        ]
        self.meta = [
            [{"scale": int(s), "sum": int(x)} for s, x in zip(a, b)]
            for a, b in zip(
                order(scale).view(np.uint32).reshape(-1, segments), order(total).reshape(-1, segments)
            )
        ]
        self.scales = list(
            zip(*((order(x).view(np.uint32) >> 13).reshape(-1, segments, cols).tolist() for x in (d, low)))
        )
        acc = np.zeros((groups, rows, cols), np.float32)
        for k in range(steps):
            for s in range(segments):
                u = sums[:, k, :, :, s].sum(1).astype(np.float32)  # (group, row, column)
                if scaled:
                    u = float_multiply(u, d[:, None, k, s])
                if minimum:
                    u = float_add(
                        u, float_multiply(total[:, k, :, s, None].astype(np.float32), low[:, None, k, s])
                    )
                acc = float_add(acc, float_multiply(read_scale(scale[:, k, :, s, None]), u))
        self.results = acc.view(np.uint32).reshape(-1, config.tile.scalers).tolist()


def simulate(config, works, *, gaps, seed=0, flips=False):
    """Returns the cycle of each result. ``flips``: memories have check bits, and bits of them flip."""
    rng = np.random.default_rng(seed)
    dut = Accumulator(replace(config.tile, ecc=flips))
    lanes = config.tile.scalers
    at, cycle = [], 0

    async def count(ctx):
        nonlocal cycle
        async for _ in ctx.tick():
            cycle += 1

    def sender(port, values, gap):
        async def bench(ctx):
            for value in values:
                while rng.random() < gap:
                    await ctx.tick()
                if value is None:
                    await ctx.tick()
                    continue
                ctx.set(port.payload, value)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)

        return bench

    async def scale_store(ctx):
        steps = iter([pair for work in works for pair in work.scales])
        scales, minima = next(steps)
        async for _, _, en, part, release in ctx.tick().sample(
            dut.scales.en, dut.scales.part, dut.scales.release
        ):
            if en:
                columns = slice(part * lanes, (part + 1) * lanes)
                for port, values in (dut.scales.scales, scales), (dut.scales.minima, minima):
                    for s, row in enumerate(values):
                        for lane, value in enumerate(row[columns]):
                            ctx.set(port[s][lane].as_value(), value)
                if release:
                    scales, minima = next(steps, (None, None))

    async def results(ctx):
        for work in works:
            for expected in work.results:
                ctx.set(dut.o.ready, 0)
                while rng.random() < gaps[2]:
                    await ctx.tick()
                ctx.set(dut.o.ready, 1)
                (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
                at.append(cycle)
                got = [payload[k] for k in range(lanes)]
                assert got == expected, f"sum {len(at) - 1} of {work.command}: {got}, not {expected}"

    async def watch(ctx):
        async for _, _, events in ctx.tick().sample(dut.events):
            assert not events.failed
            corrected.append(events.corrected)

    design, corrected = Fragment.get(dut, None), []
    simulator = Simulator(design)
    simulator.add_clock(1e-9)
    if flips:
        simulator.add_testbench(single_flips(design, random.Random(seed)), background=True)
        simulator.add_testbench(watch, background=True)
    simulator.add_process(count)
    simulator.add_process(scale_store)
    simulator.add_testbench(sender(dut.cmd, [w.command for w in works], gaps[0]), background=True)
    simulator.add_testbench(sender(dut.sums, [x for w in works for x in w.sums], gaps[0]), background=True)
    simulator.add_testbench(sender(dut.meta, [x for w in works for x in w.meta], gaps[1]), background=True)
    simulator.add_testbench(results)
    simulator.run()
    assert not flips or sum(corrected) > 3
    return at


@pytest.mark.parametrize(
    "name", [n if n in ("nano", "one_item") else pytest.param(n, marks=pytest.mark.slow) for n in SMALL]
)
@pytest.mark.parametrize("gaps", [(0.0, 0.0, 0.0), (0.3, 0.5, 0.3), (0.0, 0.0, 0.8)])
def test_random(name, gaps):
    """Each sum is the reference's: of all steps, segments and passes of a row, with scales and minima."""
    config = SMALL[name]
    rng = np.random.default_rng(1)
    works = [
        Work(
            rng,
            config,
            rows=int(rng.integers(1, config.tile.tokens // groups + 1)),
            steps=int(rng.integers(1, 4)),
            groups=groups,
            scaled=bool(n & 1),
            minimum=bool(n & 2),
            interleaved=groups > 1 and bool(n & 1),
        )
        for n, groups in enumerate((1, 2, 4, 3, 2, 4))
    ]
    simulate(config, works, gaps=gaps)


@pytest.mark.parametrize(
    "name", [n if n == "one_item" else pytest.param(n, marks=pytest.mark.slow) for n in SMALL]
)
@pytest.mark.parametrize("gaps", [(0.3, 0.5, 0.3), (0.0, 0.0, 0.0)])
def test_flips(name, gaps):
    """The same with a flipped bit in many words of block sums and totals."""
    config, rng = SMALL[name], np.random.default_rng(4)
    tokens = config.tile.tokens
    shapes = ((tokens, 3, 1), (1, 3, 2), (2, 2, 2))
    works = [
        Work(rng, config, rows=rows, steps=steps, groups=groups, scaled=True, minimum=True, interleaved=turns)
        for rows, steps, groups in shapes
        for turns in (False, rows * groups <= tokens)
    ]
    simulate(config, works, gaps=gaps, flips=True)


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("groups, interleaved", [(20, False), (4, True)])
@pytest.mark.parametrize("name", ["one_part", "one_item", "nano"])
def test_short_steps(name, groups, interleaved, flips):
    """Steps of one token that pile up behind blocked results: the recurrence holds the next one back."""
    config = SMALL[name]
    rng = np.random.default_rng(2)
    simulate(
        config,
        [
            Work(
                rng,
                config,
                rows=1,
                steps=3,
                groups=groups,
                scaled=True,
                minimum=True,
                interleaved=interleaved,
            )
        ],
        gaps=(0.0, 0.0, 0.995),
        flips=flips,
    )


@pytest.mark.parametrize("passes", [2, 4])
def test_drain_without_gaps(passes):
    """Where the drain takes as long as the sums come in, there is a result every cycle, step after step."""
    config = ChipConfig(
        tiles=1,
        tile=TileConfig(array=ArrayConfig(rows=32 // passes, cols=4 * passes), lanes=4, tokens=32),
        memory=MemoryConfig(data_width=64, bandwidth=Fraction(4)),
    )
    rng = np.random.default_rng(3)
    at = simulate(
        config,
        [Work(rng, config, rows=32 // passes, steps=1, groups=4, scaled=True, minimum=False)],
        gaps=(0.0, 0.0, 0.0),
    )
    assert at[-1] - at[0] == len(at) - 1
