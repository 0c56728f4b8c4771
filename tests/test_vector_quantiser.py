"""Quantiser against the reference: special blocks, random stalls, latency and rate, reset in the middle."""

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.config import BLOCK
from poblano.vector.quantiser import Quantiser
from poblano.vector.reference import quantise

LANES = [2, 8, 32, pytest.param(4, marks=pytest.mark.slow), pytest.param(16, marks=pytest.mark.slow)]
LIMITS = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 2.0**-126, 2.0**-100, float(np.nextafter(np.float32(2.0**-100), np.float32(0))),
          2.0**126, 2.0**127, 3.4e38]


def special_blocks():
    """Blocks whose largest magnitude is at or beside a limit, one of zeros and one of ties; float32 (blocks, 32)."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, (len(LIMITS) + 2, BLOCK)).astype(np.float32)
    for block, limit in zip(x, LIMITS):
        block *= np.float32(abs(limit) if np.isfinite(limit) else 1)
        block[rng.integers(0, BLOCK)] = limit
    x[-2] = 0
    x[-1] = (127 - np.arange(BLOCK) / 2) / 127
    return x


def simulate(dut, x, *, gaps=(0.0, 0.0), resets=(), seed=0):
    """Blocks of ``x`` in, compared when they come out; returns the cycles of last beats and of results.

    At each cycle in ``resets`` everything starts again.
    """
    rng = np.random.default_rng(seed)
    reset = Signal()
    q, scale, total = quantise(x)
    beats = x.reshape(-1, dut.lanes).view(np.uint32).tolist()
    sent, got = [], []

    async def bench(ctx):
        at, offered, cycle = 0, False, 0
        while len(got) < len(x):
            assert cycle < 40000
            if at < len(beats) and not offered and rng.random() >= gaps[0]:
                offered = True
                ctx.set(dut.i.payload, beats[at])
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
                    if at % dut.beats == 0:
                        sent.append(cycle)
                if ready and ctx.get(dut.o.valid):
                    k, block = len(got), ctx.get(dut.o.payload)
                    elements = np.frombuffer(block.data.to_bytes(BLOCK, "little"), np.int8)
                    assert (elements == q[k]).all(), f"block {k}: {elements}, not {q[k]}"
                    assert (block.meta.scale, block.meta.sum) == (int(scale.view(np.uint32)[k, 0]), int(total[k, 0])), f"block {k}"
                    got.append(cycle)
            await ctx.tick()
            cycle += 1

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return sent, got


@pytest.mark.parametrize("lanes", LANES)
def test_special_blocks(lanes):
    """A beat a cycle, and the latency that the quantiser states."""
    x = special_blocks()
    dut = Quantiser(lanes)
    sent, got = simulate(dut, x)
    assert sent == [dut.beats * (k + 1) - 1 for k in range(len(x))]
    assert got == [cycle + dut.latency for cycle in sent]


@pytest.mark.parametrize("lanes", [2, 8])
@pytest.mark.parametrize("gaps", [(0.4, 0.0), (0.0, 0.9), (0.3, 0.5)])
def test_random(lanes, gaps):
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (12, BLOCK)) * 2.0 ** rng.integers(-30, 30, (12, 1))
    simulate(Quantiser(lanes), x.astype(np.float32), gaps=gaps, seed=lanes)


@pytest.mark.parametrize("lanes", [2, 8, 32])
def test_reset(lanes):
    x = special_blocks()[3:9]
    simulate(Quantiser(lanes), x, gaps=(0.1, 0.1), resets=(7, 8, 31, 47, 90))


@pytest.mark.parametrize("lanes", [0, 1, 12, 64, 8.0])
def test_lanes(lanes):
    with pytest.raises(ValueError, match=f"lanes must be a power of two from 2 to 32, not {lanes}"):
        Quantiser(lanes)


def test_reference_by_hand():
    x = np.zeros((2, BLOCK), np.float32)
    x[0, :4] = 127, -63.5, 62.5, -1
    q, scale, total = quantise(x)
    assert q[0, :5].tolist() == [127, -64, 62, -1, 0] and scale[0, 0] == 1 and total[0, 0] == 124
    assert not q[1].any() and scale[1, 0] == 0 and not np.signbit(scale[1, 0])
    x[1, 5] = np.inf
    q, scale, total = quantise(x)
    assert not q[1].any() and np.isnan(scale[1, 0]) and total[1, 0] == 0
