"""Reducer and Argmax against the reference: rows of all lengths, random stalls, latency and rate, resets."""

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.config import BLOCK
from poblano.vector.argmax import Argmax
from poblano.vector.reducer import Reducer, SumOrMaximum
from poblano.vector.reference import ARGMAX_START, argmax, reduce_max, reduce_sum

LANES = [2, 8, 32, pytest.param(4, marks=pytest.mark.slow), pytest.param(16, marks=pytest.mark.slow)]


def bits(values):
    return np.float32(values).view(np.uint32).tolist()


def simulate(dut, beats, expected, *, inputs=None, gaps=(0.0, 0.0), resets=(), seed=0):
    """``beats``, pairs of numbers and ``last``, in; results compared; returns the cycles of last beats and
    results."""
    rng = np.random.default_rng(seed)
    reset = Signal()
    sent, got = [], []

    async def bench(ctx):
        for name, value in (inputs or {}).items():
            ctx.set(getattr(dut, name), value)
        at, offered, cycle = 0, False, 0
        while len(got) < len(expected):
            assert cycle < 40000
            if at < len(beats) and not offered and rng.random() >= gaps[0]:
                offered = True
                ctx.set(dut.i.payload, {"data": bits(beats[at][0]), "last": beats[at][1]})
            ctx.set(dut.i.valid, offered)
            ready = rng.random() >= gaps[1]
            ctx.set(dut.o.ready, ready)
            ctx.set(reset, cycle in resets)
            if cycle in resets:
                at, offered = 0, False
                sent.clear()
                got.clear()
            else:
                if offered and ctx.get(dut.i.ready):
                    offered, at = False, at + 1
                    sent.append(cycle)
                if ready and ctx.get(dut.o.valid):
                    assert ctx.get(dut.o.payload) == expected[len(got)], f"result {len(got)}"
                    got.append(cycle)
            await ctx.tick()
            cycle += 1

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return sent, got


def random_rows(rng, lengths, special):
    """Rows of ``lengths`` blocks; some with infinities, NaNs, zeros of both signs, and nothing else than
    these."""
    rows = [
        (rng.normal(0, 1, BLOCK * n) * 2.0 ** rng.integers(-12, 12, BLOCK * n)).astype(np.float32)
        for n in lengths
    ]
    if special:
        for row in rows[1::2]:
            row[rng.integers(0, len(row))] = rng.choice([np.inf, -np.inf, np.nan, 1e-45, 3e38])
        rows[2][:] = -0.0
        rows[4][:] = -np.inf
    return rows


def row_beats(rows, lanes):
    return [
        (beat, k >= len(row) - BLOCK)
        for row in rows
        for k, beat in zip(range(0, len(row), lanes), row.reshape(-1, lanes))
    ]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("maximum", [0, 1])
def test_rows(lanes, maximum):
    """Rows back to back: a beat every interval, and the latency that the reducer states."""
    rng = np.random.default_rng(lanes)
    lengths = [1, 1, 2, 1, 3, 1, 4, 2]
    rows = random_rows(rng, lengths, special=True)
    expected = bits([(reduce_max if maximum else reduce_sum)(row) for row in rows])
    dut = Reducer(lanes)
    sent, got = simulate(dut, row_beats(rows, lanes), expected, inputs={"maximum": maximum})
    assert dut.interval == {16: 2, 32: 4}.get(lanes, 1)
    assert sent == [dut.interval * k for k in range(len(sent))]
    ends = np.cumsum(lengths) * (BLOCK // lanes) - 1
    assert got == [sent[end] + Reducer.LATENCY for end in ends]


@pytest.mark.parametrize("lanes", [2, 8, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("gaps", [(0.4, 0.0), (0.1, 0.8), (0.3, 0.3)])
def test_stalls(lanes, gaps):
    rng = np.random.default_rng(7)
    rows = random_rows(rng, rng.integers(1, 4, 8), special=False)
    simulate(
        Reducer(lanes),
        row_beats(rows, lanes),
        bits([reduce_sum(row) for row in rows]),
        inputs={"maximum": 0},
        gaps=gaps,
    )


@pytest.mark.parametrize("lanes", [2, 8])
def test_reset(lanes):
    rng = np.random.default_rng(8)
    rows = random_rows(rng, [2, 1, 3], special=False)
    simulate(
        Reducer(lanes),
        row_beats(rows, lanes),
        bits([reduce_sum(row) for row in rows]),
        inputs={"maximum": 0},
        gaps=(0.1, 0.1),
        resets=(5, 6, 29, 55, 75),
    )


def test_order():
    """The reference adds 32 partial sums, then neighbours: not what a loop or numpy's sum gives."""
    x = np.zeros(64, np.float32)
    x[[0, 32, 1]] = 2.0**24, 1, 1
    assert reduce_sum(x) == 2.0**24
    x[[32, 33]] = 0, 1
    assert reduce_sum(x) == 2.0**24 + 2
    assert np.signbit(reduce_max(np.full(32, -0.0, np.float32)))


@pytest.mark.parametrize("lanes", LANES)
def test_argmax(lanes):
    """Searches that go on: ties, numbers that are all NaN, indices that wrap, a reset between."""
    rng = np.random.default_rng(lanes)
    dut = Argmax(lanes)
    reset = Signal()
    searches = [
        (False, 5, np.full(32, np.nan)),
        (False, 9, np.full(32, -np.inf)),
        (False, 0xFFFFFFF0, rng.integers(-3, 3, 96)),
        (False, 7, rng.integers(-3, 3, 96)),
        (True, 7, np.full(32, np.nan)),
        (True, 1, rng.integers(-2, 1, 64) * 0.0),
        (True, 100, np.where(rng.random(64) < 0.5, np.nan, rng.integers(0, 2, 64))),
        (False, 3, np.full(32, 9)),
    ]

    async def bench(ctx):
        for _ in range(2):
            best = ARGMAX_START
            for fresh, index, x in searches:
                x = np.float32(x)
                best = argmax(x, index, ARGMAX_START if fresh else best)
                ctx.set(dut.fresh, fresh)
                ctx.set(dut.index, index)
                for k in range(0, len(x), lanes):
                    ctx.set(dut.i.payload, {"data": bits(x[k : k + lanes]), "last": k + lanes == len(x)})
                    ctx.set(dut.i.valid, 1)
                    assert ctx.get(dut.i.ready)
                    await ctx.tick()
                    ctx.set(dut.i.valid, 0)
                    if rng.random() < 0.3:
                        await ctx.tick()
                results = []
                while len(results) < 2:
                    assert not ctx.get(dut.i.ready)
                    ctx.set(dut.o.ready, int(rng.integers(0, 2)))
                    if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                        results.append(ctx.get(dut.o.payload))
                    await ctx.tick()
                assert results == [bits([best[0]])[0], best[1]]
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, {"data": bits([100.0] * lanes), "last": 0})
            await ctx.tick().repeat(2)
            ctx.set(dut.i.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("component", [Reducer, Argmax])
@pytest.mark.parametrize("lanes", [1, 12, 64])
def test_lanes(component, lanes):
    with pytest.raises(ValueError, match=f"lanes must be a power of two from 2 to 32, not {lanes}"):
        component(lanes)


def test_latency():
    assert Reducer.LATENCY == 6 * SumOrMaximum.LATENCY
