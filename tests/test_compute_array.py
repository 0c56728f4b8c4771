"""PE and systolic array in Amaranth's simulator: every product, every shape, random gaps and stalls, exact periods."""

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.compute.array import SystolicArray
from poblano.compute.pe import PE
from poblano.config import ArrayConfig
from tb.common.bulk import build

SHAPES = [(1, 3), (2, 2), (4, 3), (4, 4), (8, 8), (8, 16)]
LARGE = [(16, 16), (32, 32), (64, 4)]


def test_every_product():
    """All 65,536 INT8 products (INT4 weights among them), each weight loaded through the shadow register."""
    dut = build(PE(sum_width=21, transpose=True), latency=0)
    a, w = (x.ravel() for x in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    rng = np.random.default_rng(0)
    total = rng.integers(-(1 << 20) + (1 << 14), (1 << 20) - (1 << 14), a.size)
    count = a.size
    # The weight of product n passes in cycle n, becomes active with the activation in n + 1; the sum is there in n + 3.
    left = rng.integers(0, 2, count)
    noise = rng.integers(0, 256, count)
    ones = np.ones(count, np.uint8)
    inputs = {
        "i_w": np.where(left, noise, w), "i_left": np.where(left, w, noise), "i_across": left,
        "i_capture": 1 - left, "i_capture_down": left, "i_swap": np.concatenate([[0], ones[:-1]]),
        "i_a": np.concatenate([[0], a[:-1]]), "i_sum": np.concatenate([[0, 0], total[:-2]]),
    }
    inputs = {k: np.concatenate([v, [0] * 3]) for k, v in inputs.items()}
    inputs["i_a"][count], inputs["i_swap"][count] = a[-1], 1
    inputs["i_sum"][count:count + 2] = total[-2:]
    inputs = {k: v.astype(np.int32 if k == "i_sum" else np.int8) for k, v in inputs.items()}
    for stall in (0, 3):
        got = dut(**inputs, stall=stall)["o_sum"].astype(np.int64)[3:count + 3]
        got = (got ^ (1 << 20)) - (1 << 20)
        assert np.array_equal(got, total + a * w)


class Tile:
    """A weight tile and the activations that it meets."""

    def __init__(self, rng, config, count, transpose):
        self.w = rng.integers(-128, 128, (config.rows, config.cols))
        self.a = rng.integers(-128, 128, (count, config.rows))
        if rng.integers(0, 4) == 0:
            self.w[:] = -128
            self.a[:] = -128
        self.transpose = transpose
        segment = config.rows // config.segments
        self.sums = np.einsum("msr,src->msc", self.a.reshape(count, config.segments, segment),
                              self.w.reshape(config.segments, segment, config.cols))

    def items(self):
        return [row.tolist() for row in (self.w.T if self.transpose else self.w)]


def simulate(dut, tiles, *, gaps=(0.0, 0.0, 0.0), seed=0):
    """Runs the tiles through; returns the cycle of each activation's transfer and of each result's."""
    rng = np.random.default_rng(seed)
    config = dut.config
    size = max(config.rows, config.cols)
    sent, got = [], []
    cycle = 0

    async def drive(ctx, port, values, gap):
        for value in values:
            while rng.random() < gap:
                await ctx.tick()
            ctx.set(port.payload, value)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)
            if port is dut.a:
                sent.append(cycle)

    async def count(ctx):
        nonlocal cycle
        async for _ in ctx.tick():
            cycle += 1

    async def weights(ctx):
        await drive(ctx, dut.w, [{"data": item + [int(x) for x in rng.integers(-128, 128, size - len(item))], "transpose": t.transpose}
                                 for t in tiles for item in t.items()], gaps[0])

    async def activations(ctx):
        await drive(ctx, dut.a, [{"data": row.tolist(), "first": n == 0} for t in tiles for n, row in enumerate(t.a)], gaps[1])

    async def results(ctx):
        for tile in tiles:
            for row in tile.sums:
                ctx.set(dut.o.ready, 0)
                while rng.random() < gaps[2]:
                    await ctx.tick()
                ctx.set(dut.o.ready, 1)
                payload, = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
                got.append(cycle)
                assert [[payload[s][c] for c in range(config.cols)] for s in range(config.segments)] == row.tolist()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_process(count)
    simulator.add_testbench(weights, background=True)
    simulator.add_testbench(activations, background=True)
    simulator.add_testbench(results)
    simulator.run()
    return sent, got


def check_shape(rows, cols, transpose=True, tiles=8, seed=0):
    config = ArrayConfig(rows=rows, cols=cols)
    rng = np.random.default_rng(seed)
    for gaps in ((0.0, 0.0, 0.0), (0.3, 0.3, 0.3), (0.0, 0.5, 0.2)):
        work = [Tile(rng, config, int(rng.choice([1, 2, rows, rows + 1])), transpose and bool(rng.integers(0, 2)))
                for _ in range(tiles)]
        simulate(SystolicArray(config, transpose=transpose), work, gaps=gaps, seed=seed)


@pytest.mark.parametrize("rows,cols", SHAPES)
def test_shapes(rows, cols):
    check_shape(rows, cols)


@pytest.mark.parametrize("rows,cols", [(2, 2), (8, 4)])
def test_rows_only(rows, cols):
    check_shape(rows, cols, transpose=False)


@pytest.mark.parametrize("rows,cols", [pytest.param(r, c, marks=() if r == 16 else pytest.mark.slow) for r, c in LARGE])
def test_large(rows, cols):
    check_shape(rows, cols, tiles=3)


@pytest.mark.parametrize("rows,cols", [(1, 3), (4, 4), (8, 3), (4, 8)])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("extra", [-100, 0, 3])
def test_period(rows, cols, transpose, extra):
    """A tile takes max(activations, items) cycles, and its sums come rows + cols cycles after the activations."""
    config = ArrayConfig(rows=rows, cols=cols)
    items = cols if transpose else rows
    count = max(1, items + extra)
    rng = np.random.default_rng(1)
    sent, got = simulate(SystolicArray(config), [Tile(rng, config, count, transpose) for _ in range(5)])
    first = sent[::count]
    assert all(b - a == max(count, items) for a, b in zip(first, first[1:]))
    assert all(b - a == config.rows + config.cols for a, b in zip(sent, got))


def test_reset():
    """A reset in the middle of everything: the array forgets it."""
    config = ArrayConfig(rows=4, cols=4)
    reset = Signal()
    array = SystolicArray(config)
    rng = np.random.default_rng(3)

    async def bench(ctx):
        for n in range(12):
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert not ctx.get(array.o.valid) and not ctx.get(array.loaded)
            ctx.set(array.o.ready, 1)
            tile = Tile(rng, config, 3, bool(n & 1))
            for item in tile.items():
                ctx.set(array.w.payload, {"data": item, "transpose": tile.transpose})
                ctx.set(array.w.valid, 1)
                await ctx.tick().until(array.w.ready)
            ctx.set(array.w.valid, 0)
            for k, row in enumerate(tile.a):
                ctx.set(array.a.payload, {"data": row.tolist(), "first": k == 0})
                ctx.set(array.a.valid, 1)
                await ctx.tick().until(array.a.ready)
            ctx.set(array.a.valid, 0)
            for row in tile.sums:
                payload, = await ctx.tick().sample(array.o.payload).until(array.o.valid)
                assert [payload[0][c] for c in range(4)] == row[0].tolist()
            # Something in flight for the next reset: a part of a tile, and an activation.
            ctx.set(array.w.valid, 1)
            ctx.set(array.a.valid, 1)
            for _ in range(int(rng.integers(1, 9))):
                await ctx.tick()
            ctx.set(array.w.valid, 0)
            ctx.set(array.a.valid, 0)

    simulator = Simulator(ResetInserter(reset)(array))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
