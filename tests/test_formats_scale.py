"""Scales of blocks: how they are read from every format, and products with them against exact arithmetic."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from poblano.formats import float32_reference, scale
from poblano.formats import scale_reference as reference
from poblano.formats.scale import SCALE, FloatScale, IntegerScale
from tb.common.bulk import build
from tests.test_formats_float32 import MILLION, check, random_pairs, special_pairs, special_patterns

BELOW = 13
"""Bits of a binary32 number below a scale's."""


class Reader(wiring.Component):
    """A function that makes a scale of a number of ``width`` bits, as a component."""

    def __init__(self, function, width):
        self.function = function
        super().__init__({"i": In(width), "o": Out(SCALE)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.as_value().eq(self.function(self.i))
        return m


def test_float16_exhaustive():
    i = np.arange(1 << 16, dtype=np.uint16)
    expected = float32_reference.float16_to_float32(i).view(np.uint32)
    assert not (expected & (1 << BELOW) - 1).any()
    check(build(Reader(scale.scale_of_float16, 16), latency=0)(i=i)["o"], expected >> BELOW, i)


def test_powers_exhaustive():
    i = np.arange(1 << 8, dtype=np.uint8)
    expected = np.where(
        i == 255, np.float32(np.nan), np.ldexp(np.float32(1), np.minimum(i, 254).astype(int) - 127)
    )
    check(build(Reader(scale.scale_of_power, 8), latency=0)(i=i)["o"], expected.view(np.uint32) >> BELOW, i)


def test_float32_bulk():
    """Any bits, special ones, and those next to the least scale."""
    rng = np.random.default_rng(1)
    least = reference.LEAST.view(np.uint32) + np.arange(-20000, 20000).astype(np.uint32)
    i = np.concatenate(
        [special_patterns(), least, rng.integers(0, 1 << 32, MILLION, dtype=np.uint64).astype(np.uint32)]
    )
    expected = reference.read_scale(i.view(np.float32)).view(np.uint32)
    check(build(Reader(scale.scale_of_float32, 32), latency=0)(i=i)["o"], expected >> BELOW, i)


@pytest.mark.parametrize("bits", [24, 12, pytest.param(13, marks=pytest.mark.slow)])
def test_float_bulk(bits):
    """Special patterns with each other, and random ones whose products are near the least and largest."""
    dut = build(FloatScale(bits))
    mask = np.uint32((1 << 32) - (1 << 24 - bits))
    for a, b in [special_pairs(), *(random_pairs(kind) for kind in ("any", "near", "subnormal", "tiny"))]:
        a, b = a & mask, b >> BELOW
        numbers = (b << BELOW).view(np.float32)
        numbers = np.where(np.abs(numbers) < 2.0**-126, np.float32(0), numbers)
        expected = reference.scale_multiply(a.view(np.float32), numbers)
        # The sign of a zero has no effect on a sum that begins with +0.
        got = [np.where(x << 1, x, 0) for x in (dut(a=a, scale=b)["o"], expected.view(np.uint32))]
        check(*got, a, b)
        assert (dut(a=a[:9999], scale=b[:9999], stall=3)["o"] == dut(a=a[:9999], scale=b[:9999])["o"]).all()


@pytest.mark.parametrize("width", [20, pytest.param(2, marks=pytest.mark.slow)])
def test_integer_bulk(width):
    """Integers of all lengths times scales of all kinds, the least and the largest among them."""
    rng = np.random.default_rng(width)
    i = rng.integers(0, 1 << width - 1, MILLION) >> rng.integers(0, width, MILLION)
    i = np.where(rng.random(MILLION) < 0.5, i, -i)
    x = rng.integers(0, 1 << 32, MILLION, dtype=np.uint64).astype(np.uint32)
    x[:3000] = rng.choice(special_patterns(), 3000)
    x[3000:6000] = reference.LEAST.view(np.uint32) + rng.integers(0, 1 << 16, 3000).astype(np.uint32)
    scales = reference.read_scale(x.view(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        product = i.astype(np.longdouble) * scales.astype(np.longdouble)  # of 64 bits, exact
        expected = float32_reference.canonicalise(product.astype(np.float32)).view(np.uint32)
    expected = np.where(expected << 1, expected, 0)
    i = i.astype(next(f"i{size}" for size in (1, 4, 8) if width <= 8 * size))
    for stall in (0, 3):
        got = build(IntegerScale(width))(i=i, scale=scales.view(np.uint32) >> BELOW, stall=stall)["o"]
        check(np.where(got << 1, got, 0), expected, i, x)


def test_reference_by_hand():
    read = lambda bits: int(reference.read_scale(np.uint32(bits).view(np.float32)).view(np.uint32))
    assert [read(bits) for bits in (0x3F801FFF, 0xC0002000, 0x7F800001, 0x7FC00000)] == [
        0x3F800000,
        0xC0002000,
        0x7F800000,
        0x7FC00000,
    ]
    assert reference.read_scale([2.0**-56, -(2.0**-57), 1e-45]).tolist() == [2.0**-56, 0, 0]
    assert reference.round_scale([1 + 2**-11, 1 + 3 * 2**-11, 2 - 2**-12, 0]).tolist() == [1, 1 + 2**-9, 2, 0]
    assert reference.scale_multiply(np.float32([2**-126, 2**-127, 3]), 0.5).tolist() == [0, 0, 1.5]
