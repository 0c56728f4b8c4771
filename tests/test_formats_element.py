"""Elements against ml_dtypes: every code, a million roundings each; widths against worst-case blocks; the
decoder in gates."""

from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
import ml_dtypes
import numpy as np
import pytest

from poblano.formats.element import (
    BLOCK,
    FORMATS,
    Activation,
    Arithmetic,
    Element,
    decode_operand,
    operand_layout,
    scale_exponent,
)

DTYPES = {
    Element.S8: np.int8,
    Element.S4: ml_dtypes.int4,
    Element.U4: ml_dtypes.uint4,
    Element.E4M3: ml_dtypes.float8_e4m3fn,
    Element.E5M2: ml_dtypes.float8_e5m2,
    Element.E2M3: ml_dtypes.float6_e2m3fn,
    Element.E3M2: ml_dtypes.float6_e3m2fn,
    Element.E2M1: ml_dtypes.float4_e2m1fn,
}
FLOATS = [e for e in Element if e.format.exponent_bits]
PAIRS = [(a, w) for a in Activation for w in Element]


def codes(element):
    return np.arange(1 << element.format.bits, dtype=np.uint8)


def name(value):
    return value.name


@pytest.mark.parametrize("element", Element, ids=name)
def test_every_code(element):
    expected = codes(element).view(DTYPES[element]).astype(np.float64)
    np.testing.assert_array_equal(element.format.values, expected)
    np.testing.assert_array_equal(
        np.signbit(element.format.values),
        np.signbit(expected) & ~np.isnan(expected) | np.isnan(expected) & np.signbit(element.format.values),
    )
    np.testing.assert_array_equal(element.values(codes(element).astype(np.int64) - 512), expected)
    finite = expected[np.isfinite(expected)]
    integers = np.ldexp(finite, -element.format.quantum)
    assert (integers == np.rint(integers)).all() and np.abs(integers).max() == element.format.largest
    if element.format.exponent_bits:
        assert 2.0**element.format.max_exponent <= finite.max() < 2.0 ** (element.format.max_exponent + 1)
        assert finite.max() == float(ml_dtypes.finfo(DTYPES[element]).max)


def samples(element, count, rng):
    """float32: every tie and its neighbours, the rest of random bits about the format's range; clamped;
    signed zeros."""
    finite = np.unique(element.format.values[np.isfinite(element.format.values)])
    ties = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    edges = np.concatenate([ties, finite.astype(np.float32)])
    edges = np.concatenate(
        [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))]
    )
    low, high = np.log2(2.0**element.format.quantum) - 3, np.log2(finite.max()) + 1
    spread = np.exp2(rng.uniform(low, high, count)) * rng.choice([-1, 1], count)
    bits = rng.integers(0, 1 << 32, count // 4, dtype=np.uint32).view(np.float32)
    x = np.concatenate([edges, [0.0, -0.0, 1e-45, -1e-45], spread, bits[~np.isnan(bits)]]).astype(np.float32)
    return x, np.clip(x, finite.min(), finite.max()).astype(np.float32)


@pytest.mark.parametrize("element", FLOATS, ids=name)
def test_encode(element):
    x, clamped = samples(element, 1_000_000, np.random.default_rng(int(element)))
    assert x.size >= 1_000_000
    got = element.format.encode(x)
    expected = clamped.astype(DTYPES[element]).view(np.uint8)
    np.testing.assert_array_equal(got, expected)
    # The codes' values are what they encode.
    finite = codes(element)[np.isfinite(element.format.values)]
    np.testing.assert_array_equal(element.format.encode(element.format.values[finite]), finite)


@pytest.mark.parametrize("element", [Element.S8, Element.S4], ids=name)
def test_encode_integers(element):
    limit = (1 << element.format.bits - 1) - 1
    rng = np.random.default_rng(0)
    x = np.concatenate([np.arange(-300, 300, 0.5), rng.uniform(-1.2 * limit, 1.2 * limit, 1_000_000)]).astype(
        np.float32
    )
    expected = np.clip(np.round(x.astype(np.float64)), -limit, limit).astype(np.int8)
    np.testing.assert_array_equal(element.format.encode(x).view(np.int8), expected)


@pytest.mark.parametrize("activation, element", PAIRS, ids=name)
def test_pair_width_is_the_worst_block(activation, element):
    """The largest and the smallest sum that codes can make need exactly the derived bits."""
    finite = lambda integers: [int(v) for v in np.unique(integers[np.isfinite(integers)])]
    a = finite(activation.integers(codes(activation.element)))
    w = finite(np.ldexp(element.format.values, -element.format.quantum))
    products = [x * y for x in (a[0], a[-1]) for y in (w[0], w[-1])]
    largest, least = BLOCK * max(products), BLOCK * min(products)
    width = Arithmetic.pair_width(activation, element)
    holds = lambda bits: -1 << bits - 1 <= least and largest < 1 << bits - 1
    assert holds(width) and not holds(width - 1)


@pytest.mark.parametrize("activation", Activation, ids=name)
def test_sum_width_is_the_worst_block(activation):
    integers = activation.integers(codes(activation.element))
    largest = BLOCK * int(np.abs(integers[np.isfinite(integers)]).max())
    assert 1 << activation.sum_width - 2 <= largest < 1 << activation.sum_width - 1


def test_known_widths():
    """The widths that docs/formats.md quotes."""
    width = Arithmetic.pair_width
    assert width(Activation.INT8, Element.S8) == 20 and width(Activation.INT8, Element.U4) == 17
    assert width(Activation.MXFP4_E2M1, Element.E2M1) == 14
    assert Arithmetic(("int8", "int4")).sum_width == 20
    assert Arithmetic(tuple(FORMATS)).sum_width == width(Activation.MXFP8_E5M2, Element.E5M2) == 70


def test_scale_exponent():
    scales = np.ldexp(np.float32(1), np.arange(-127, 128))
    np.testing.assert_array_equal(scale_exponent(scales), np.arange(-127, 128))
    np.testing.assert_array_equal(
        np.arange(255, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float32), scales
    )
    assert scale_exponent(np.float32(0)) == -127


@pytest.mark.parametrize(
    "elements",
    [(e,) for e in Element]
    + [tuple(Element), (Element.S8, Element.S4, Element.U4), (Element.E4M3, Element.E2M1)],
    ids=lambda elements: "+".join(e.name for e in elements),
)
@pytest.mark.parametrize("symmetric", [False, True])
def test_decoder(elements, symmetric):
    """Every code of every element in gates: the same integer and special."""
    special_bits = max(2 if e.format.infinity else int(e.format.nan) for e in elements)
    layout = operand_layout(elements, special_bits)
    module, element, code, out = Module(), Signal(3), Signal(8), Signal(layout)
    module.d.comb += out.as_value().eq(
        decode_operand(element, code, elements, special_bits, symmetric=symmetric)
    )

    async def check(ctx):
        for e in elements:
            ctx.set(element, int(e))
            for value in range(1 << e.format.bits):
                ctx.set(code, value)
                got = ctx.get(out)
                expected = np.ldexp(e.format.values[value], -e.format.quantum)
                if symmetric and e is Element.S8:
                    expected = max(expected, -127)
                special = got.special if special_bits else 0
                if np.isnan(expected):
                    assert special == (1 << special_bits) - 1, (e, value)
                elif np.isinf(expected):
                    assert special == (1 if expected > 0 else 2) and got.significand == np.sign(expected), (
                        e,
                        value,
                    )
                else:
                    assert special == 0 and got.significand << got.exponent == expected, (e, value)

    simulator = Simulator(module)
    simulator.add_testbench(check)
    simulator.run()


def test_errors():
    with pytest.raises(ValueError, match="unknown format 'fp8'; the formats are int8, int4, mxint8"):
        Arithmetic(("int8", "fp8"))
    with pytest.raises(ValueError, match=r"formats int4 have none for activations"):
        Arithmetic(("int4",))
    with pytest.raises(ValueError, match="fp4_rate 2 needs a format of 4 bits"):
        Arithmetic(("int8",), 2)
    with pytest.raises(ValueError, match="fp4_rate must be 1 or 2, not 3"):
        Arithmetic(("int8", "int4"), 3)
