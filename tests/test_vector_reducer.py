"""Reducer and Argmax against the reference: rows of all lengths, random stalls, latency and rate, resets."""

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.config import BLOCK
from poblano.formats.square import FloatSquare
from poblano.isa.vector_ops import AluOp, Reduce
from poblano.vector.alu_reference import alu
from poblano.vector.argmax import Argmax
from poblano.vector.reducer import Reducer, SumOrMaximum
from poblano.vector.reference import ARGMAX_START, argmax, reduce_max, reduce_rows, reduce_squares, reduce_sum
from poblano.vector.walk import row_group

KINDS = (Reduce.SUM, Reduce.SUM_SQUARES, Reduce.MAXIMUM)
LANES = [2, 8, 32, pytest.param(4, marks=pytest.mark.slow), pytest.param(16, marks=pytest.mark.slow)]


def bits(values):
    return np.float32(values).view(np.uint32).tolist()


def simulate(dut, beats, expected, *, inputs=None, gaps=(0.0, 0.0), resets=(), seed=0):
    """``beats``, numbers and whether the row and the block are the last, in; results compared; returns the
    cycles of beats and results."""
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
                data, last_row, last_block = beats[at]
                ctx.set(dut.i.payload, {"data": bits(data), "last_row": last_row, "last_block": last_block})
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


def random_rows(rng, count, blocks, special=False):
    """float32 (count, 32 * blocks); with ``special`` some rows with infinities, NaNs, zeros of both signs, or
    nothing else than these."""
    rows = rng.normal(0, 1, (count, BLOCK * blocks)) * 2.0 ** rng.integers(-12, 12, (count, BLOCK * blocks))
    rows = rows.astype(np.float32)
    if special:
        for row in rows[1::2]:
            row[rng.integers(0, len(row))] = rng.choice([np.inf, -np.inf, np.nan, 1e-45, 3e38])
        rows[2::8] = -0.0
        rows[4::8] = -np.inf
    return rows


class Walked:
    """Commands, arrays of rows, as the unit walks through them: ``beats`` (numbers, last row of the group,
    last block of the row), and when an adder that lacks nothing takes them, ``cycles``; the beats that end
    rows, ``ends``, in the order of rows."""

    def __init__(self, commands, lanes, reduce):
        group = 1 if reduce == Reduce.MAXIMUM else row_group(lanes)
        self.beats, self.cycles, self.ends = [], [], []
        cycle, parts = 0, BLOCK // lanes
        for rows in commands:
            blocks = rows.shape[1] // BLOCK
            for first in range(0, len(rows), group):
                together = rows[first : first + group]
                for block in range(blocks):
                    start = cycle
                    for n, row in enumerate(together):
                        numbers = row[BLOCK * block : BLOCK * (block + 1)].reshape(-1, lanes)
                        last = n == len(together) - 1, block == blocks - 1
                        self.beats.extend((beat, *last) for beat in numbers)
                        self.cycles.extend(range(cycle, cycle + parts))
                        cycle += parts
                        if block == blocks - 1:
                            self.ends.append(len(self.beats) - 1)
                    if block < blocks - 1:  # what goes around in the adder is not back before
                        cycle = max(cycle, start + group * parts)


def expected_of(commands, reduce):
    return bits(np.concatenate([reduce_rows(reduce, rows) for rows in commands]))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("reduce", KINDS, ids=lambda kind: kind.name)
def test_rows(lanes, reduce):
    """Commands back to back: a beat a cycle if their rows are a multiple of a group's, and the latency that
    the reducer states."""
    rng = np.random.default_rng(lanes)
    sizes = [(1, 1), (4, 2), (1, 3), (8, 1), (3, 2), (2, 4)]
    commands = [random_rows(rng, *size, special=True) for size in sizes]
    dut, walked = Reducer(lanes), Walked(commands, lanes, reduce)
    sent, got = simulate(dut, walked.beats, expected_of(commands, reduce), inputs={"reduce": reduce})
    if reduce is Reduce.SUM_SQUARES:  # squares in front of the adder are accepted earlier
        assert all(early <= cycle for early, cycle in zip(sent, walked.cycles))
    else:
        assert sent == walked.cycles
    assert got == [walked.cycles[end] + dut.latency(reduce) for end in walked.ends]


@pytest.mark.parametrize("lanes", [8, 16, 32])
def test_rate(lanes):
    """A beat a cycle: rows * blocks * 32 / lanes cycles, and a constant."""
    rng = np.random.default_rng(1)
    for rows, blocks in ((row_group(lanes), 5), (8, 2)):
        commands = [random_rows(rng, rows, blocks)]
        dut, walked = Reducer(lanes), Walked(commands, lanes, Reduce.SUM)
        inputs = {"reduce": Reduce.SUM}
        _, got = simulate(dut, walked.beats, expected_of(commands, Reduce.SUM), inputs=inputs)
        assert got[-1] == rows * blocks * BLOCK // lanes - 1 + dut.latency(Reduce.SUM)


@pytest.mark.parametrize("lanes", [2, 8, pytest.param(16, marks=pytest.mark.slow), 32])
@pytest.mark.parametrize("gaps", [(0.4, 0.0), (0.1, 0.8), (0.3, 0.3)])
def test_stalls(lanes, gaps):
    """Random sizes, 1 to 9 rows of 1 to 5 blocks, with gaps before beats and results that wait."""
    rng = np.random.default_rng([7, lanes])
    for reduce in KINDS:
        most = 9 if lanes > 2 else 3
        sizes = [(int(rng.integers(1, most + 1)), int(rng.integers(1, 6))) for _ in range(4)]
        commands = [random_rows(rng, *size) for size in sizes]
        walked = Walked(commands, lanes, reduce)
        expected = expected_of(commands, reduce)
        simulate(Reducer(lanes), walked.beats, expected, inputs={"reduce": reduce}, gaps=gaps)


@pytest.mark.parametrize("lanes", [2, 8, 32])
@pytest.mark.parametrize("reduce", [Reduce.SUM, Reduce.SUM_SQUARES], ids=lambda kind: kind.name)
def test_reset(lanes, reduce):
    rng = np.random.default_rng(8)
    commands = [random_rows(rng, *size) for size in ((2, 2), (1, 1), (5, 3))]
    simulate(
        Reducer(lanes),
        Walked(commands, lanes, reduce).beats,
        expected_of(commands, reduce),
        inputs={"reduce": reduce},
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


def test_squares():
    """The same bits as a multiplication, in a command of its own, and a sum."""
    x = random_rows(np.random.default_rng(3), 200, 3, special=True)
    squares = reduce_sum(alu(AluOp.MUL, x, x))
    np.testing.assert_array_equal(reduce_squares(x).view(np.uint32), squares.view(np.uint32))


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
    assert Reducer(8).latency(Reduce.SUM) == 6 * SumOrMaximum.LATENCY
    assert Reducer(8).latency(Reduce.SUM_SQUARES) == 6 * SumOrMaximum.LATENCY + FloatSquare.LATENCY
    assert Reducer(8).latency(Reduce.MAXIMUM) == 4
    assert [row_group(lanes) for lanes in (2, 4, 8, 16, 32)] == [1, 1, 1, 2, 4]
