"""cocotb bench of :class:`MatmulUnit`: random commands with random stalls against the reference, cycles,
resets."""

import os

import cocotb
import numpy as np

from poblano.isa.errors import ErrorCode
from poblano.isa.weight_stream import Element, ScaleFormat, step_bytes
from tb.compute.driver import ARITHMETIC, ARRAY, CONFIG, OWN, TILE, start

COUNT = int(os.environ.get("COUNT", "12"))


@cocotb.test()
async def random_commands(dut):
    """Random commands back to back; results, addresses, order and completions, with and without stalls."""
    b = await start(dut, "random")
    for stall in (
        dict.fromkeys(b.stall, 0.0),
        {"a": 0.3, "meta": 0.3, "weights": 0.3, "local": 0.4, "bus": 0.4},
        {"a": 0.5, "meta": 0.7, "weights": 0.0, "local": 0.1, "bus": 0.1},
        {"a": 0.0, "meta": 0.0, "weights": 0.7, "local": 0.0, "bus": 0.8},
    ):
        await b.reset()
        b.stall = stall
        for _ in range(COUNT):
            b.add_random()
        await b.run()
        b.finished()


@cocotb.test()
async def special_values(dut):
    """Infinities, NaNs, subnormals and zeros in scales and minima."""
    b = await start(dut, "special")
    at = b.rng.random(len(b.a_scale)) < 0.1
    b.a_scale[at] = b.rng.choice(np.array([0, -0.0, np.inf, np.nan, 1e-44, 3e38], np.float32), len(at))[at]
    for _ in range(COUNT):
        b.add_random(rows=min(3, TILE.tokens), special=True)
    await b.run()
    b.finished()


@cocotb.test()
async def output_blocked(dut):
    """Nothing is lost while no result is accepted for a long time, and weights of later commands wait."""
    b = await start(dut, "blocked")
    for tiles in (1 << OWN, (1 << CONFIG.tiles) - 1, 1 << OWN):
        b.add(rows=TILE.tokens, steps=1, groups=2, tiles=tiles)
        b.add(rows=1, steps=2, groups=3, scale=ScaleFormat.F16, tiles=tiles)
    b.stall["local"] = b.stall["bus"] = 1.0
    await b.run(until=600 + 4 * TILE.tokens * ARRAY.passes)
    assert b.stalls[1] > 100
    b.stall["local"] = b.stall["bus"] = 0.0
    await b.run()
    b.finished()
    # Short steps that have piled up behind a blocked result must not follow each other too closely.
    for rows in (1, 2):
        await b.reset()
        b.add(rows=rows, steps=3, groups=8, scale=ScaleFormat.F16)
        b.stall["local"] = 1.0
        await b.run(until=24 * ARRAY.passes * max(ARRAY.rows, ARRAY.cols))
        b.stall["local"] = 0.0
        await b.run()
        b.finished()


@cocotb.test()
async def lengths(dut):
    """A command whose weights do not end where a STREAM does is an error, told when those before it are done
    and before it is."""
    b = await start(dut, "lengths")
    for wrong in range(4):
        await b.reset()
        for n in range(4):
            b.add(rows=1 + n, steps=1 + wrong % 2, groups=1 + n % 2, whole=n != wrong)
        b.wrong = True
        await b.run()
        assert b.errors == [(wrong, ErrorCode.LENGTH)], (wrong, b.errors)


@cocotb.test()
async def resets(dut):
    """A reset at any moment; what follows is as after the first."""
    b = await start(dut, "resets")
    for n in range(8):
        b.stall = dict.fromkeys(b.stall, 0.3 * (n & 1))
        for _ in range(4):
            b.add_random()
        await b.run(until=int(b.rng.integers(5, 400)))
        await b.reset()
        b.add_random(rows=2)
        b.add_random(rows=1)
        await b.run()
        b.finished()
        await b.reset()


@cocotb.test()
async def cycles(dut):
    """With weights and outputs always there a command takes the array's cycles, and the pipelines' once."""
    b = await start(dut, "cycles")
    parts = ARRAY.cols // TILE.scalers
    kinds = []
    for element in ARITHMETIC.weights:
        if element in (Element.S4, Element.U4):
            kinds.append({"element": element, "scale": ScaleFormat.F16, "minimum": True})
        elif element in ARITHMETIC.mx_weights:
            kinds.append({"element": element, "scale": ScaleFormat.E8M0})
        if element.bits == 8:
            kinds += [
                {"element": element, "scale": ScaleFormat.F16},
                {"element": element, "scale": ScaleFormat.F32, "transpose": True},
            ]
    for rows, steps, groups, kind in (
        (rows, steps, 3, kind) for kind in kinds for rows, steps in ((1, 6), (32, 2), (64, 2))
    ):
        items = (ARRAY.cols if kind.get("transpose") else ARRAY.rows) // ARRAY.load_rows
        period = (ARRAY.passes_4bit if kind["element"].bits == 4 else ARRAY.passes) * max(rows, items)
        words = -(
            -step_bytes(CONFIG, **{"minimum": False} | {k: v for k, v in kind.items() if k != "transpose"})
            // CONFIG.stream_bytes
        )
        recurrence = 2 + 4 * ARRAY.segments
        if (
            rows > TILE.tokens
            or rows * parts > period
            or words > period
            or recurrence > period
            or rows * ARRAY.cols // TILE.lanes >= steps * period
        ):
            continue
        for count in (1, 3):
            await b.reset()
            for _ in range(count):
                b.add(rows=rows, steps=steps, groups=groups, **kind)
            await b.run()
            b.finished()
            taken = b.done_at[-1] - b.offered_at[0]
            work = count * groups * steps * period
            bound = 2 * ARRAY.rows + ARRAY.cols + rows * ARRAY.cols // TILE.lanes + 80
            dut._log.info(
                f"rows {rows} steps {steps} groups {groups} {kind} x{count}: {taken} cycles, {work} of work, "
                f"bound +{bound}"
            )
            assert taken <= work + bound
