"""LaneALU against numpy: every pair of special patterns and random operands, operations changing every
cycle."""

from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.isa.vector_ops import AluOp
from poblano.vector.alu import LaneALU
from poblano.vector.alu_reference import alu
from tb.common.bulk import build

SPECIAL = np.array(
    [
        0,
        1,
        2,
        0x7FFFFF,
        0x800000,
        0x800001,
        0x3F800000,
        0x3F800001,
        0x3F7FFFFF,
        0x40000000,
        0x7F7FFFFF,
        0x7F800000,
        0x7F800001,
        0x7FC00000,
        0x7FFFFFFF,
        0x4B000001,
    ],
    np.uint32,
)
SPECIAL = np.concatenate([SPECIAL, SPECIAL | np.uint32(1 << 31)])


OTHERS = [op for op in AluOp if op is not AluOp.PASS]
"""Operations that may change every cycle."""


def operands(count, ops):
    """(op, a, b) with every operation of ``ops`` on every special pair, then random ones; some pairs equal or
    close."""
    ops = np.array(ops, np.uint8)
    op, a, b = (x.ravel() for x in np.meshgrid(ops, SPECIAL, SPECIAL, indexing="ij"))
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 1 << 32, (2, count), dtype=np.uint64).astype(np.uint32)
    kind = rng.integers(0, 4, count)
    y = np.where(
        kind == 0,
        x ^ (y & np.uint32(0x80000003)),
        np.where(kind == 1, x & np.uint32(0xFF800000) | y >> np.uint32(9), y),
    )
    op, a, b = np.concatenate([op, rng.choice(ops, count)]), np.concatenate([a, x]), np.concatenate([b, y])
    order = rng.permutation(len(op))
    return op[order], a[order], b[order]


def expected(op, a, b):
    result = np.zeros(len(op), np.uint32)
    for code in AluOp:
        mask = op == code
        result[mask] = alu(code, a[mask].view(np.float32), b[mask].view(np.float32)).view(np.uint32)
    return result


@pytest.mark.parametrize("ops, latency", [(OTHERS, LaneALU.LATENCY), ([AluOp.PASS], LaneALU.PASS_LATENCY)])
def test_bulk(ops, latency):
    """Each operation's result is the reference's, bit for bit."""
    op, a, b = operands(1 << 21, ops)
    actual = build(LaneALU(), latency=latency)(op=op, a=a, b=b, stall=4)["o"]
    wrong = np.flatnonzero(actual != expected(op, a, b))
    assert not len(wrong), [(AluOp(op[k]).name, hex(a[k]), hex(b[k]), hex(actual[k])) for k in wrong[:5]]


def test_pass_after_others():
    """A PASS takes a cycle as soon as the operations before it are out, and the other way round."""
    dut = LaneALU()
    rng = np.random.default_rng(9)

    async def testbench(ctx):
        ctx.set(dut.en, 1)
        for op in [op for other in OTHERS for op in (other, AluOp.PASS, other)]:
            latency = LaneALU.PASS_LATENCY if op is AluOp.PASS else LaneALU.LATENCY
            a, b = rng.normal(size=(2, 3)).astype(np.float32)
            ctx.set(dut.op, int(op))
            for k in range(3 + latency):
                if k < 3:
                    ctx.set(dut.a, int(a.view(np.uint32)[k]))
                    ctx.set(dut.b, int(b.view(np.uint32)[k]))
                if k >= latency:
                    assert ctx.get(dut.o) == alu(op, a, b).view(np.uint32)[k - latency]
                if k < 2 + latency:
                    await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def test_simulator():
    op, a, b = (x[:1000] for x in operands(1000, OTHERS))
    results = expected(op, a, b)
    dut = LaneALU()

    async def testbench(ctx):
        ctx.set(dut.en, 1)
        for k in range(len(op) + dut.LATENCY):
            if k < len(op):
                ctx.set(dut.op, int(op[k]))
                ctx.set(dut.a, int(a[k]))
                ctx.set(dut.b, int(b[k]))
            if k >= dut.LATENCY:
                assert ctx.get(dut.o) == results[k - dut.LATENCY]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize(
    "op, a, b, o",
    [
        (AluOp.MAX, -0.0, 0.0, 0.0),
        (AluOp.MAX, 0.0, -0.0, 0.0),
        (AluOp.MIN, 0.0, -0.0, -0.0),
        (AluOp.MIN, 5.0, -0.0, -0.0),
        (AluOp.MAX, -5.0, -0.0, -0.0),
        (AluOp.SUB, 3.0, 1.0, 2.0),
        (AluOp.RSUB, 3.0, 1.0, -2.0),
        (AluOp.MUL, -3.0, 0.0, -0.0),
        (AluOp.MAX, 1.0, np.nan, np.nan),
        (AluOp.MIN, np.nan, 1.0, np.nan),
        (AluOp.SUB, np.inf, np.inf, np.nan),
        (AluOp.PASS, 7.0, np.nan, 7.0),
    ],
)
def test_reference_by_hand(op, a, b, o):
    result = alu(op, np.float32([a]), np.float32([b]))
    assert result.view(np.uint32)[0] == np.float32([o]).view(np.uint32)[0]
