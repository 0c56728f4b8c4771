"""FP32 units against IEEE arithmetic: every pair of special patterns, and a million random ones of each
kind."""

import random

from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.formats import float32_reference as reference
from poblano.formats.float32 import FixedToFloat, FloatAdd, FloatMultiply, FloatToInt8
from poblano.formats.square import FloatSquare
from tb.common.bulk import build

MILLION = 1 << 20


def special_patterns():
    """Both signs of zeros, subnormals, powers of two at the edges, their neighbours, infinities and NaNs."""
    magnitudes = {0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x7FA55555}
    for exponent in (
        0,
        1,
        2,
        22,
        23,
        24,
        25,
        26,
        27,
        62,
        63,
        64,
        100,
        103,
        104,
        125,
        126,
        127,
        128,
        129,
        149,
        150,
        151,
        152,
        190,
        191,
        192,
        230,
        252,
        253,
        254,
    ):
        for fraction in (0, 1, 2, 3, 0x400000, 0x3FFFFF, 0x400001, 0x7FFFFE, 0x7FFFFF, 0x2AAAAA, 0x3504F3):
            magnitudes.add(exponent << 23 | fraction)
    magnitudes.update(1 << k for k in range(23))
    magnitudes.update((1 << k) - 1 for k in range(24))
    patterns = np.array(sorted(magnitudes), np.uint32)
    return np.concatenate([patterns, patterns | np.uint32(1 << 31)])


def special_pairs():
    patterns = special_patterns()
    return np.repeat(patterns, len(patterns)), np.tile(patterns, len(patterns))


def random_pairs(kind, count=MILLION, seed=1):
    """Pairs of bit patterns: ``any`` bits, exponents ``near`` each other, ``subnormal`` results, ``ties``."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 1 << 32, (2, count), dtype=np.uint64).astype(np.uint32)
    if kind == "near":
        exponent = (a >> 23 & 0xFF).astype(np.int64) + rng.integers(-27, 28, count)
        b = b & np.uint32(0x807FFFFF) | np.clip(exponent, 0, 254).astype(np.uint32) << np.uint32(23)
    elif kind == "subnormal":
        exponent = 127 - (a >> 23 & 0xFF).astype(np.int64) + rng.integers(-26, 4, count)
        b = b & np.uint32(0x807FFFFF) | np.clip(exponent, 0, 254).astype(np.uint32) << np.uint32(23)
    elif kind == "tiny":
        a, b = (
            x & np.uint32(0x80FFFFFF) | y << np.uint32(23)
            for x, y in (
                (a, rng.integers(0, 3, count, dtype=np.uint32)),
                (b, rng.integers(0, 3, count, dtype=np.uint32)),
            )
        )
    elif kind == "ties":
        exponent = (a >> 23 & 0xFF).astype(np.int64) + rng.integers(-26, 27, count)
        b = b & np.uint32(0x80600003) | np.clip(exponent, 0, 254).astype(np.uint32) << np.uint32(23)
        a = a & np.uint32(0xFFFFF007)
    return a, b


def check(actual, expected, *operands):
    """Bits must be equal; the message shows the first few that differ."""
    expected = expected.view(actual.dtype)
    wrong = np.flatnonzero(actual != expected)
    assert not len(wrong), f"{len(wrong)} wrong: " + "; ".join(
        " ".join(f"{int(operand[k]):x}" for operand in operands) + f" -> {actual[k]:x}, not {expected[k]:x}"
        for k in wrong[:5]
    )


OPERATIONS = {"add": (FloatAdd, reference.float_add), "multiply": (FloatMultiply, reference.float_multiply)}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bulk(operation):
    component, function = OPERATIONS[operation]
    dut = build(component())
    for a, b in [
        special_pairs(),
        *(random_pairs(kind) for kind in ("any", "near", "subnormal", "tiny", "ties")),
    ]:
        check(dut(a=a, b=b)["o"], function(a.view(np.float32), b.view(np.float32)), a, b)
    a, b = random_pairs("near", 100_000)
    check(dut(a=a, b=b, stall=3)["o"], function(a.view(np.float32), b.view(np.float32)), a, b)


def test_square_bulk():
    """The same bits as a multiplication of a number by itself: any numbers, and such whose squares are
    subnormal, or close to the largest or smallest."""
    rng = np.random.default_rng(4)
    i = rng.integers(0, 1 << 32, 2 * MILLION, dtype=np.uint64).astype(np.uint32)
    exponent = rng.choice([*range(50, 68), *range(188, 194)], 2 * MILLION).astype(np.uint32)
    i = np.concatenate([special_patterns(), i, i & np.uint32(0x807FFFFF) | exponent << np.uint32(23)])
    numbers = i.view(np.float32)
    check(build(FloatSquare())(i=i, stall=3)["o"], reference.float_multiply(numbers, numbers), i)


@pytest.mark.parametrize("width", [2, 20, *(pytest.param(n, marks=pytest.mark.nightly) for n in (8, 17, 24))])
def test_integers_bulk(width):
    """Without exponents, exact."""
    dtype = np.int8 if width <= 8 else np.int16 if width <= 16 else np.int32
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    i = np.arange(low, high + 1) if width <= 20 else np.random.default_rng(2).integers(low, high + 1, MILLION)
    i = np.concatenate([i, [low, low + 1, -1, 0, 1, high - 1, high]]).astype(dtype)
    check(build(FixedToFloat(width))(i=i, stall=5)["o"], i.astype(np.float32), i)


@pytest.mark.parametrize(
    "width, special_bits",
    [
        (22, 0),
        (42, 1),
        (70, 2),
        *(
            pytest.param(*case, marks=pytest.mark.nightly)
            for case in ((13, 0), (25, 1), (38, 0), (64, 2), (128, 2))
        ),
    ],
)
def test_fixed_to_float_bulk(width, special_bits):
    """Integers of every length times powers of two over the whole range, at ties and just beside them,
    specials between."""
    rng = random.Random(width)
    numbers, exponents = [], []
    for _ in range(100_000):
        length = rng.randint(0, width - 1)
        value = rng.getrandbits(length) | (1 << length - 1 if length else 0)
        if length > 25 and rng.random() < 0.5:  # a tie, or one beside it
            half = 1 << length - 25
            value = (value & ~(2 * half - 1) | half) + rng.choice((-1, 0, 0, 1))
        numbers.append(value if rng.random() < 0.5 else -value)
        # Results from far below the least normal number to above the largest number.
        exponents.append(
            max(-512, min(511, rng.choice((0, rng.randint(-153, 130) - length, rng.randint(-512, 511)))))
        )
    numbers[:4], exponents[:4] = [0, -1 << width - 1, (1 << width - 1) - 1, -1], [0, 0, -149, -149]
    exponents = np.array(exponents, np.int16)
    dtype = (
        object
        if width > 64
        else next(t for t in (np.int16, np.int32, np.int64) if width <= 8 * np.dtype(t).itemsize)
    )
    generator = np.random.default_rng(3)
    nan = (generator.random(len(numbers)) < 0.01).astype(np.uint8)
    special = generator.integers(0, 1 << special_bits, len(numbers)).astype(np.uint8) * (
        generator.random(len(numbers)) < 0.05
    )
    expected = reference.fixed_to_float(np.array(numbers, object), exponents)
    if special_bits == 2:
        expected = np.where(
            special == 1, np.float32(np.inf), np.where(special == 2, np.float32(-np.inf), expected)
        )
    expected = np.where(
        (nan != 0) | (special == (1 << special_bits) - 1) & (special_bits > 0), reference.NAN, expected
    )
    i = (
        np.array([n % (1 << width) for n in numbers], object)
        if dtype is object
        else np.array(numbers).astype(dtype)
    )
    inputs = {"i": i, "exponent": exponents, "nan": nan} | (
        {"special": special.astype(np.uint8)} if special_bits else {}
    )
    dut = build(FixedToFloat(width, scaled=True, special_bits=special_bits))
    for stall in (0, 3):
        check(dut(**inputs, stall=stall)["o"], expected.astype(np.float32), exponents)


def test_float_to_int8_bulk():
    rng = np.random.default_rng(3)
    quarters = (np.arange(-140 * 8, 140 * 8) / 8).astype(np.float32)
    x = np.concatenate(
        [
            special_patterns(),
            quarters.view(np.uint32),
            np.nextafter(quarters, np.float32(1e9)).view(np.uint32),
            np.nextafter(quarters, np.float32(-1e9)).view(np.uint32),
            rng.integers(0, 1 << 32, MILLION, dtype=np.uint64).astype(np.uint32),
            rng.uniform(-130, 130, MILLION).astype(np.float32).view(np.uint32),
        ]
    )
    check(build(FloatToInt8())(i=x, stall=5)["o"], reference.float_to_int8(x.view(np.float32)), x)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_enable_holds_every_stage(operation):
    """In Amaranth's simulator: with en low nothing moves, and results come LATENCY enabled cycles later."""
    component, function = OPERATIONS[operation]
    dut = component()
    rng = np.random.default_rng(4)
    patterns = special_patterns()
    a, b = rng.choice(patterns, (2, 1500))
    expected = function(a.view(np.float32), b.view(np.float32)).view(np.uint32)

    async def testbench(ctx):
        for k in range(len(a) + dut.LATENCY):
            if k < len(a):
                ctx.set(dut.a, int(a[k]))
                ctx.set(dut.b, int(b[k]))
            if k >= dut.LATENCY:
                assert ctx.get(dut.o) == expected[k - dut.LATENCY]
            for _ in range(int(rng.integers(0, 2))):
                before = ctx.get(dut.o)
                ctx.set(dut.en, 0)
                await ctx.tick()
                assert ctx.get(dut.o) == before
            ctx.set(dut.en, 1)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("width", [1, 129, 8.0])
def test_fixed_to_float_rejects(width):
    with pytest.raises(ValueError, match=f"width must be an integer from 2 to 128, not {width}"):
        FixedToFloat(width)
