"""SpecialFunction: the reference against float64, the hardware against the reference bit for bit."""

from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.isa.vector_ops import SfuOp
from poblano.vector.sfu import SpecialFunction
from poblano.vector.sfu_reference import sfu
from tb.common.bulk import build

MILLION = 1 << 20
RNG = np.random.default_rng(6)


def edges():
    """Bit patterns: the two on either side of every exponent and of every boundary of a segment, in both
    signs."""
    exponents = np.arange(256, dtype=np.int64) << 23
    segments = np.concatenate(
        [
            (np.arange(120, 137)[:, None] << 23 | np.arange(128) << 16).ravel(),
            (np.arange(1, 512) / 32).astype(np.float32).view(np.uint32),
        ]
    )
    points = np.unique(
        (np.concatenate([exponents, segments])[:, None] + np.arange(-2, 3)).ravel() & 0x7FFFFFFF
    )
    special = [0x7F800001, 0x7FC00000, 0x7FFFFFFF]
    points = np.concatenate([points, special]).astype(np.uint32)
    return np.concatenate([points, points | np.uint32(1 << 31)])


def log_uniform(low, high, count=MILLION):
    """Numbers whose logarithm is uniform between those of 2**low and 2**high."""
    return np.exp2(RNG.uniform(low, high, count)).astype(np.float32)


def inputs(op):
    """Numbers over which errors of ``op`` are measured."""
    if op is SfuOp.EXP2:
        return np.concatenate([RNG.uniform(-126, 128, MILLION), RNG.uniform(-1, 1, MILLION)]).astype(
            np.float32
        )
    if op in (SfuOp.RECIPROCAL, SfuOp.RSQRT):
        mantissas = np.arange(1 << 24, dtype=np.uint32) + np.uint32(127 << 23)  # every one, in two octaves
        return np.concatenate([mantissas.view(np.float32), log_uniform(-126, 125.99)])
    return np.concatenate(
        [RNG.uniform(-20, 20, 2 * MILLION), log_uniform(-30, 7), -log_uniform(-30, 7)]
    ).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


LIMITS = {
    SfuOp.EXP2: (lambda x, o: o / np.exp2(x) - 1, 2**-22.8),
    SfuOp.RECIPROCAL: (lambda x, o: o * x - 1, 2**-23.2),
    SfuOp.RSQRT: (lambda x, o: o * np.sqrt(x) - 1, 2**-22.9),
    SfuOp.SIGMOID: (lambda x, o: o - sigmoid(x), 2**-21.7),
    SfuOp.SILU: (lambda x, o: (o - x * sigmoid(x)) / np.maximum(np.abs(x), 1), 2**-21.5),
}


@pytest.mark.parametrize("op", LIMITS, ids=lambda op: op.name)
def test_accuracy(op):
    error, limit = LIMITS[op]
    x = inputs(op)
    x = x[x < 128] if op is SfuOp.EXP2 else x
    measured = np.abs(error(x.astype(np.float64), sfu(op, x).astype(np.float64))).max()
    print(f"{op.name}: largest error 2**{np.log2(measured):.2f} over {len(x)} numbers")
    assert measured <= limit


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    "op, x, o",
    [
        (SfuOp.PASS, -0.0, -0.0),
        (SfuOp.PASS, 1e-42, 1e-42),
        (SfuOp.EXP2, 0.0, 1.0),
        (SfuOp.EXP2, -0.0, 1.0),
        (SfuOp.EXP2, 1e-45, 1.0),
        (SfuOp.EXP2, 10.0, 1024.0),
        (SfuOp.EXP2, -126.0, 2.0**-126),
        (SfuOp.EXP2, -127.0, 0.0),
        (SfuOp.EXP2, -128.0, 0.0),
        (SfuOp.EXP2, -INF, 0.0),
        (SfuOp.EXP2, 127.0, 2.0**127),
        (SfuOp.EXP2, 128.0, INF),
        (SfuOp.EXP2, INF, INF),
        (SfuOp.EXP2, NAN, NAN),
        (SfuOp.RECIPROCAL, 1.0, 1.0),
        (SfuOp.RECIPROCAL, -4.0, -0.25),
        (SfuOp.RECIPROCAL, 0.0, INF),
        (SfuOp.RECIPROCAL, -0.0, -INF),
        (SfuOp.RECIPROCAL, -1e-40, -INF),
        (SfuOp.RECIPROCAL, INF, 0.0),
        (SfuOp.RECIPROCAL, -INF, -0.0),
        (SfuOp.RECIPROCAL, 2.0**126, 2.0**-126),
        (SfuOp.RECIPROCAL, -(2.0**127), -0.0),
        (SfuOp.RECIPROCAL, 2.0**-126, 2.0**126),
        (SfuOp.RECIPROCAL, NAN, NAN),
        (SfuOp.RSQRT, 1.0, 1.0),
        (SfuOp.RSQRT, 4.0, 0.5),
        (SfuOp.RSQRT, 2.0**-126, 2.0**63),
        (SfuOp.RSQRT, 0.0, INF),
        (SfuOp.RSQRT, -0.0, INF),
        (SfuOp.RSQRT, -1e-40, INF),
        (SfuOp.RSQRT, -1.0, NAN),
        (SfuOp.RSQRT, INF, 0.0),
        (SfuOp.RSQRT, -INF, NAN),
        (SfuOp.RSQRT, NAN, NAN),
        (SfuOp.SIGMOID, 0.0, 0.5),
        (SfuOp.SIGMOID, -0.0, 0.5),
        (SfuOp.SIGMOID, 16.0, 1.0),
        (SfuOp.SIGMOID, -16.0, 0.0),
        (SfuOp.SIGMOID, INF, 1.0),
        (SfuOp.SIGMOID, -INF, 0.0),
        (SfuOp.SIGMOID, NAN, NAN),
        (SfuOp.SILU, -0.0, -0.0),
        (SfuOp.SILU, 100.0, 100.0),
        (SfuOp.SILU, -100.0, -0.0),
        (SfuOp.SILU, INF, INF),
        (SfuOp.SILU, -INF, -0.0),
        (SfuOp.SILU, NAN, NAN),
        (SfuOp.SILU, 3e38, 3e38),
    ],
)
def test_special_values(op, x, o):
    result = sfu(op, np.float32([x]))
    assert result.dtype == np.float32
    assert result.view(np.uint32)[0] == np.float32([o]).view(np.uint32)[0]


OTHERS = tuple(op for op in SfuOp if op is not SfuOp.PASS)
"""Functions that may change every cycle."""


def operations(count, ops=OTHERS):
    """(op, x): every function of ``ops`` of every edge, then random numbers of many kinds, in random
    order."""
    op, x = (v.ravel() for v in np.meshgrid(np.array(ops, np.uint8), edges(), indexing="ij"))
    each = count // 4
    random = np.concatenate(
        [
            RNG.integers(0, 1 << 32, each, dtype=np.uint64).astype(np.uint32),
            RNG.uniform(-20, 20, each).astype(np.float32).view(np.uint32),
            RNG.uniform(-130, 130, each).astype(np.float32).view(np.uint32),
            log_uniform(-40, 8, each).view(np.uint32)
            | RNG.integers(0, 2, each, dtype=np.uint32) << np.uint32(31),
        ]
    )
    op, x = (
        np.concatenate([op, RNG.choice(np.array(ops, np.uint8), len(random))]),
        np.concatenate([x, random]),
    )
    order = RNG.permutation(len(op))
    return op[order], x[order]


def expected(op, x):
    result = np.zeros(len(op), np.uint32)
    for code in SfuOp:
        result[op == code] = sfu(code, x[op == code].view(np.float32)).view(np.uint32)
    return result


@pytest.mark.parametrize(
    "product, ops, latency",
    [
        (True, OTHERS, SpecialFunction.LATENCY),
        (True, (SfuOp.PASS,), SpecialFunction.PASS_LATENCY),
        (False, OTHERS[:-1], SpecialFunction.STAGES),
    ],
    ids=["functions", "pass", "without product"],
)
def test_bulk(product, ops, latency):
    assert OTHERS[-1] is SfuOp.SILU
    op, x = operations(6 * MILLION, ops)
    o = expected(op, x)
    dut = build(SpecialFunction(product=product), latency=latency)
    for part, stall in ((slice(None), 0), (slice(500_000), 3)):
        actual = dut(op=op[part], x=x[part], stall=stall)["o"]
        wrong = np.flatnonzero(actual != o[part])
        assert not len(wrong), (
            len(wrong),
            [(SfuOp(op[k]).name, hex(x[k]), hex(actual[k]), hex(o[k])) for k in wrong[:6]],
        )


def test_simulator():
    op, x = (values[:1000] for values in operations(100))
    results = expected(op, x)
    dut = SpecialFunction()

    async def testbench(ctx):
        ctx.set(dut.en, 1)
        for k in range(len(op) + dut.LATENCY):
            if k < len(op):
                ctx.set(dut.op, int(op[k]))
                ctx.set(dut.x, int(x[k]))
            if k >= dut.LATENCY:
                assert ctx.get(dut.o) == results[k - dut.LATENCY]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()
