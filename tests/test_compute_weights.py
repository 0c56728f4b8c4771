"""Weight loader in Amaranth's simulator: items and scales of random streams, and one item a cycle across
the scales."""

from dataclasses import replace

from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.compute.reference import pack_weights
from poblano.config import BLOCK
from poblano.formats import float32_reference as reference
from poblano.formats.element import operand_layout
from poblano.formats.float32_reference import float16_to_float32
from poblano.isa.weight_stream import Element, ScaleFormat
from tb.common.operands import item_operands, operand, packed
from tb.common.units import weight_loader
from tb.compute.configs import CONFIGS

powers = np.append(np.ldexp(np.float32(1), np.arange(-127, 128)), reference.NAN).astype(np.float32)
"""The value of each E8M0 code."""


class Load:
    """A command with its stream, its items and its scales by step."""

    def __init__(self, rng, config, *, steps, groups, element, scale, minimum, transpose):
        array = config.tile.array
        blocks, n = steps * array.segments, groups * array.cols
        low = -(1 << element.format.bits - 1) if element in (Element.S8, Element.S4) else 0
        w_q = rng.integers(low, low + (1 << element.format.bits), (BLOCK * blocks, n))
        arithmetic, dual = array.arithmetic, array.fp4_rate == 2 and element.bits == 4
        layout = operand_layout(arithmetic.weights, arithmetic.special_bits)
        known = {int(q): operand(element, int(q) & 255, layout) for q in np.unique(w_q)}
        halves = lambda: (
            rng.integers(0, 0x7C00, (blocks, n)).astype(np.uint16).view(np.float16)
        )  # subnormals included
        w_scale = {
            ScaleFormat.NONE: lambda: None,
            ScaleFormat.F16: lambda: float16_to_float32(halves()),
            ScaleFormat.F32: lambda: rng.normal(0, 1, (blocks, n)).astype(np.float32),
            ScaleFormat.E8M0: lambda: powers[rng.integers(0, 256, (blocks, n))],
        }[scale]()
        w_min = float16_to_float32(halves()) if minimum else None
        stream = pack_weights(w_q, w_scale, w_min, config, element, scale, transpose)
        size = config.stream_bytes
        self.words = [int.from_bytes(stream[k : k + size], "little") for k in range(0, len(stream), size)]
        self.command = {
            "element": int(element),
            "scale": int(scale),
            "minimum": int(minimum),
            "transpose": int(transpose),
            "steps": steps,
            "groups": groups,
        }
        self.items, self.scales = (
            [],
            [],
        )  # (transpose, values); (scales, minima) of each step, [segment][column]
        for g in range(groups):
            cols = slice(g * array.cols, (g + 1) * array.cols)
            for k in range(steps):
                part = w_q[k * BLOCK * array.segments : (k + 1) * BLOCK * array.segments, cols]
                if transpose:
                    part = (
                        part.reshape(array.passes, array.rows, array.cols)
                        .transpose(0, 2, 1)
                        .reshape(-1, array.rows)
                    )
                part = item_operands([[known[q] for q in row] for row in part.tolist()], array.fp4_rate, dual)
                self.items += [
                    (int(transpose), part[k : k + array.load_rows])
                    for k in range(0, len(part), array.load_rows)
                ]
                rows = slice(k * array.segments, (k + 1) * array.segments)
                self.scales.append(
                    [
                        None if x is None else (x[rows, cols].view(np.uint32) >> 13).tolist()
                        for x in (w_scale, w_min)
                    ]
                )


def random_load(rng, config, **kwargs):
    arithmetic = config.tile.array.arithmetic
    element = kwargs.get("element", arithmetic.weights[int(rng.integers(len(arithmetic.weights)))])
    return Load(
        rng,
        config,
        **(
            {
                "steps": int(rng.integers(1, 4)),
                "groups": int(rng.integers(1, 3)),
                "element": element,
                "scale": ScaleFormat(int(rng.integers(0, 3 + (element in arithmetic.mx_weights)))),
                "minimum": bool(rng.integers(0, 2)),
                "transpose": element.bits == 8 and bool(rng.integers(0, 2)),
            }
            | kwargs
        ),
    )


def simulate(config, loads, *, gaps, seed=0, drain_after=0):
    """Runs the commands; returns the cycle of each item. Scales are drained once ``drain_after`` more items
    are out."""
    rng = np.random.default_rng(seed)
    dut = weight_loader(config)
    array, lanes = config.tile.array, config.tile.scalers
    layout = array.arithmetic.weight_operand
    at, cycle = [], 0

    async def count(ctx):
        nonlocal cycle
        async for _ in ctx.tick():
            cycle += 1

    async def send(ctx, port, values, gap):
        for value in values:
            while rng.random() < gap:
                await ctx.tick()
            ctx.set(port.payload, value)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

    async def commands(ctx):
        await send(ctx, dut.cmd, [load.command for load in loads], gaps[0])

    async def words(ctx):
        await send(ctx, dut.i, [word for load in loads for word in load.words], gaps[0])

    async def items(ctx):
        for load in loads:
            for transpose, values in load.items:
                ctx.set(dut.o.ready, 0)
                while rng.random() < gaps[1]:
                    await ctx.tick()
                ctx.set(dut.o.ready, 1)
                (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
                at.append(cycle)
                assert payload.transpose == transpose
                for b, row in enumerate(values):
                    for k, want in enumerate(row):
                        got = payload.data[b][k]
                        # Of a special, that alone counts, and an infinity's sign.
                        same = got.as_bits() == packed(layout, want)
                        special = want["special"] and got["special"] == want["special"]
                        assert same or special, f"item {len(at) - 1} [{b}][{k}]: {got}, not {want}"
        ctx.set(dut.o.ready, 0)

    async def scales(ctx):
        need = 0
        for load in loads:
            for step, pair in enumerate(load.scales):
                need += len(load.items) // len(load.scales)
                while len(at) < need + (0 if step == len(load.scales) - 1 else drain_after):
                    await ctx.tick()
                for j in range(array.cols // lanes):
                    while rng.random() < gaps[1]:
                        await ctx.tick()
                    ctx.set(dut.scales.en, 1)
                    ctx.set(dut.scales.part, j)
                    ctx.set(dut.scales.release, j == array.cols // lanes - 1)
                    await ctx.tick()
                    ctx.set(dut.scales.en, 0)
                    for what, values, port in zip(
                        ("scales", "minima"), pair, (dut.scales.scales, dut.scales.minima)
                    ):
                        if values is not None:
                            got = [[ctx.get(scale.as_value()) for scale in segment] for segment in port]
                            want = [row[j * lanes : (j + 1) * lanes] for row in values]
                            assert got == want, f"{what} of step {step}, part {j}: {got}, not {want}"

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_process(count)
    for bench in (commands, words):
        simulator.add_testbench(bench, background=True)
    for bench in (items, scales):
        simulator.add_testbench(bench)
    simulator.run()
    return at


@pytest.mark.parametrize(
    "name",
    [
        "nano",
        "row",
        "least",
        "four",
        "eight",
        pytest.param("segments", marks=pytest.mark.slow),
        pytest.param("wide", marks=pytest.mark.slow),
        pytest.param("desk", marks=pytest.mark.slow),
    ],
)
def test_random(name):
    """Items, scales and minima are those of the stream, step after step, whatever stalls."""
    config = CONFIGS[name]
    rng = np.random.default_rng(1)
    for gaps in ((0.0, 0.0), (0.4, 0.2), (0.1, 0.5)):
        simulate(config, [random_load(rng, config) for _ in range(6)], gaps=gaps)


@pytest.mark.parametrize("name", ["nano", pytest.param("desk", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind",
    [
        {"element": Element.U4, "scale": ScaleFormat.F16, "minimum": True, "transpose": False},
        {"element": Element.S8, "scale": ScaleFormat.F16, "minimum": True, "transpose": False},
        {"element": Element.S8, "scale": ScaleFormat.F32, "minimum": False, "transpose": True},
    ],
)
def test_one_item_a_cycle(name, kind):
    """Across steps, groups and commands, with scales drained as late as the array and the accumulator do
    it."""
    config = CONFIGS[name]
    one_row = replace(config.tile.array, load_rows=1)  # of more, the stream's words bring less than an item
    config = replace(config, tile=replace(config.tile, array=one_row))
    assert config.stream_bytes == 2 * config.tile.array.cols
    rng = np.random.default_rng(2)
    latency = config.tile.array.rows + config.tile.array.cols
    at = simulate(
        config,
        [random_load(rng, config, **kind, steps=3, groups=2) for _ in range(2)],
        gaps=(0.0, 0.0),
        drain_after=latency,
    )
    assert at[-1] - at[0] == len(at) - 1
