"""The numpy reference of the matmul unit against a scalar transcription of the contract, and weight streams
both ways."""

from fractions import Fraction

import numpy as np
import pytest

from poblano.compute.reference import matmul, pack_weights, unpack_weights
from poblano.config import BLOCK, ArrayConfig, ChipConfig, MemoryConfig, TileConfig, preset
from poblano.formats.element import FORMATS, Activation
from poblano.formats.float32_reference import canonicalise, float_add, float_multiply
from poblano.formats.scale_reference import LEAST
from poblano.isa.weight_stream import Element, ScaleFormat, step_bytes, weight_quantum

RANGES = {Element.S8: (-128, 128), Element.S4: (-8, 8), Element.U4: (0, 16)}
PAIRS = [(a, w) for a in Activation for w in Element]
NAN = np.float32(np.nan)


def name(value):
    return value.name


def small(rows, cols, fp4_rate=1):
    """A chip of any array, with all formats."""
    tile = TileConfig(array=ArrayConfig(rows=rows, cols=cols, fp4_rate=fp4_rate), lanes=min(cols, 8))
    return ChipConfig(
        tile=tile, memory=MemoryConfig(data_width=min(16 * cols, 256), bandwidth=4), formats=tuple(FORMATS)
    )


def halves(rng, shape):
    return rng.normal(0, 0.05, shape).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("minimum", [False, True])
def test_matmul_is_the_contract(scale, minimum):
    rng = np.random.default_rng(1)
    rows, blocks, cols = 3, 4, 37
    a_q = rng.integers(-128, 128, (rows, BLOCK * blocks)).astype(np.int8)
    w_q = rng.integers(-128, 128, (BLOCK * blocks, cols)).astype(np.int8)
    a_scale = rng.normal(0, 1, (rows, blocks)).astype(np.float32)
    a_scale[1, 1], a_scale[2, 0], a_scale[2, 1] = np.inf, 1e-17, -LEAST
    w_scale = halves(rng, (blocks, cols)) if scale else None
    w_min = halves(rng, (blocks, cols)) if minimum else None
    a_sum = a_q.reshape(rows, blocks, BLOCK).sum(2, dtype=np.int32)
    expected = np.zeros((rows, cols), np.float32)
    for m in range(rows):
        for n in range(cols):
            acc = np.float32(0)
            for kb in range(blocks):
                part = slice(BLOCK * kb, BLOCK * (kb + 1))
                u = np.float32(int(np.dot(a_q[m, part].astype(int), w_q[part, n].astype(int))))
                if scale:
                    u = float_multiply(u, w_scale[kb, n])
                if minimum:
                    u = float_add(u, float_multiply(np.float32(a_sum[m, kb]), w_min[kb, n]))
                acc = float_add(acc, float_multiply(as_scale(a_scale[m, kb]), u))
            expected[m, n] = acc
    for sums in (a_sum, None):
        got = matmul(a_q, a_scale, sums, w_q, w_scale, w_min)
        assert got.dtype == np.float32 and np.array_equal(got.view(np.uint32), expected.view(np.uint32))


def as_scale(x):
    """The float32 number ``x`` with 11 bits of its significand, zero below 2**-56."""
    if not np.isfinite(x):
        return np.float32(np.nan if int(np.float32(x).view(np.uint32)) >> 13 & 0x3FF else x)
    if abs(x) < 2.0**-56:
        return np.float32(0)
    fraction, exponent = np.frexp(np.float64(x))
    return np.float32(np.ldexp(np.trunc(fraction * 2048), exponent - 11))


as_scales = np.vectorize(as_scale, otypes=[np.float32])


# One block: the oracle in Python's integers


def round_float32(n, e):
    """float32 of the integer ``n`` times 2**e, to nearest even, zero below the least normal number."""
    magnitude = abs(n)
    if magnitude.bit_length() + e - 1 < -126:
        return np.float32(0)
    low = magnitude.bit_length() + e - 24  # exponent of the result's last bit
    if low <= e:
        m = magnitude << e - low
    else:
        shift = low - e
        m, rest = magnitude >> shift, magnitude & (1 << shift) - 1
        m += rest > 1 << shift - 1 or rest == 1 << shift - 1 and m & 1
    value = np.inf if m and m.bit_length() + low > 128 else float(Fraction(m) * Fraction(2) ** low)
    return np.float32(-value if n < 0 else value)


def exact_dots(a, w):
    """Python integers (M, N) of the dot products of integer arrays (M, 32) and (32, N), as float64 without
    specials."""
    objects = lambda array: np.array([int(v) for v in array.ravel()], dtype=object).reshape(array.shape)
    return objects(np.where(np.isfinite(a), a, 0)) @ objects(np.where(np.isfinite(w), w, 0))


def specials(a, w):
    """float64 (M, N): NaN, an infinity, or 0 where all is finite."""
    with np.errstate(invalid="ignore"):
        products = a[:, :, None] * w[None]
    plus, minus = np.isposinf(products).any(1), np.isneginf(products).any(1)
    return np.where(
        np.isnan(products).any(1) | plus & minus, np.nan, np.where(plus, np.inf, np.where(minus, -np.inf, 0))
    )


def integers(element, codes):
    return np.ldexp(element.values(codes), -element.format.quantum)


def scaled(u, scale):
    """float32 ``u`` times ``scale``, in exact arithmetic."""
    u, scale = np.broadcast_arrays(np.where(np.abs(u) < 2.0**-126, np.float32(0), u), scale)
    with np.errstate(invalid="ignore"):
        special = u * scale
    exact = [
        round_float32(int((x * 2**277).numerator), -277)
        for x in (
            Fraction(float(a)) * Fraction(float(b)) if np.isfinite(a) and np.isfinite(b) else Fraction(0)
            for a, b in zip(u.ravel(), scale.ravel())
        )
    ]
    finite = np.isfinite(u) & np.isfinite(scale)
    return canonicalise(np.where(finite, np.array(exact, np.float32).reshape(u.shape), special))


def oracle(activation, element, scale_format, a, a_scale, w, w_scale, w_min):
    """float32 (M, N): one block's product; a (M, 32) and w (32, N) codes, a_scale (M) and w_scale, w_min
    (N) float32 or None."""
    a, w = integers(activation.element, a), integers(element, w)
    if activation.element is Element.S8:
        a = np.maximum(a, -127)
    quantum = activation.quantum + weight_quantum(element, scale_format)
    exponent = lambda scale: np.where(
        np.isnan(scale) | (scale == 0), -127, np.frexp(scale.astype(np.float64))[1] - 1
    ).astype(int)
    e = np.full((len(a), w.shape[1]), quantum)
    if activation.mx:
        e += exponent(a_scale)[:, None]
    e8m0 = scale_format is ScaleFormat.E8M0
    if e8m0:
        e += exponent(w_scale)
    dots, special = exact_dots(a, w), specials(a, w)
    u = np.array([round_float32(n, int(x)) for n, x in zip(dots.ravel(), e.ravel())], np.float32).reshape(
        dots.shape
    )
    u = np.where(special == 0, u, special.astype(np.float32))
    if e8m0:
        u = np.where(np.isnan(w_scale), NAN, u)
    elif w_scale is not None:
        u = scaled(u, as_scales(w_scale))
    if w_min is not None:
        ones = np.ones((BLOCK, 1))
        x = exact_dots(a, ones)[:, 0]
        ex = activation.quantum + (exponent(a_scale) if activation.mx else np.zeros(len(a), int))
        x = np.array([round_float32(n, int(y)) for n, y in zip(x, ex)], np.float32)
        u = float_add(u, scaled(x[:, None], w_min))
    factor = np.where(np.isnan(a_scale), NAN, np.float32(1)) if activation.mx else as_scales(a_scale)
    u = scaled(u, factor[:, None])
    return canonicalise(float_add(np.float32(0), u))


def random_codes(element, shape, rng):
    """Half of the rows of the last axis have any code, specials included; half have finite ones only."""
    every = np.arange(1 << element.format.bits)
    finite = every[np.isfinite(element.format.values)]
    small = every[np.abs(np.nan_to_num(element.format.values, nan=np.inf)) <= 4 * 2.0**element.format.quantum]
    chosen = [every, finite, finite, small]
    rows = [rng.choice(chosen[i % 4], shape[1:]) for i in range(shape[0])]
    return np.array(rows).reshape(shape)


def stored(element, codes):
    """Codes as ``matmul`` takes weights: signed integers as such."""
    return (
        integers(element, codes).astype(np.int8)
        if element in (Element.S8, Element.S4)
        else codes.astype(np.uint8)
    )


def random_powers(rng, count):
    """Scales that are powers of two: common ones, all of E8M0, its ends and NaN."""
    e = np.where(rng.random(count) < 0.5, rng.integers(-12, 12, count), rng.integers(-127, 128, count))
    e = np.where(rng.random(count) < 0.1, rng.choice([-127, -126, 127], count), e)
    return np.where(rng.random(count) < 0.05, NAN, np.ldexp(np.float32(1), e)).astype(np.float32)


def random_floats(rng, count):
    bits = rng.integers(0, 1 << 32, count, dtype=np.uint32).view(np.float32)
    values = np.where(rng.random(count) < 0.7, rng.normal(0, 1, count), bits)
    return np.where(
        rng.random(count) < 0.05, rng.choice([0.0, -0.0, np.inf, -np.inf, 1e-45], count), values
    ).astype(np.float32)


def random_halves(rng, count):
    return rng.integers(0, 1 << 16, count, dtype=np.uint16).view(np.float16).astype(np.float32)


def equal(got, expected):
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("activation, element", PAIRS, ids=name)
def test_random_blocks(activation, element):
    """2,500 blocks a pair and scale format, NaN, infinities, subnormals and the extremes of scales among
    them."""
    rng = np.random.default_rng([int(activation), int(element)])
    rows = cols = 50
    mx = element in (Element.S8, *(e for e in Element if e.format.exponent_bits))
    for scale_format in ScaleFormat:
        if scale_format is ScaleFormat.E8M0 and not mx:
            continue
        a = random_codes(activation.element, (rows, BLOCK), rng)
        w = random_codes(element, (cols, BLOCK), rng).T
        a_scale = random_powers(rng, rows) if activation.mx else random_floats(rng, rows)
        w_scale = {
            ScaleFormat.NONE: lambda *_: None,
            ScaleFormat.F16: random_halves,
            ScaleFormat.F32: random_floats,
            ScaleFormat.E8M0: random_powers,
        }[scale_format](rng, cols)
        minimum = scale_format is ScaleFormat.F16 and element in (Element.S4, Element.U4)
        finite = np.isfinite(integers(activation.element, a)).all(1)
        a = np.where(finite[:, None], a, 0) if minimum else a  # the sum of a block with specials is no number
        for w_min in (None, random_halves(rng, cols)) if minimum else (None,):
            with np.errstate(all="ignore"):
                expected = oracle(activation, element, scale_format, a, a_scale, w, w_scale, w_min)
            row = lambda values: None if values is None else values[None]
            got = matmul(
                a.astype(np.uint8).view(np.int8),
                a_scale[:, None],
                None,
                stored(element, w),
                row(w_scale),
                row(w_min),
                activation=activation,
                element=element,
                scale_format=scale_format,
            )
            equal(got, expected)


@pytest.mark.parametrize("activation, element", PAIRS, ids=name)
def test_every_pair_of_codes(activation, element):
    """One product in the block, whatever its place; the scales are 1."""
    a_codes, w_codes = np.arange(1 << activation.element.format.bits), np.arange(1 << element.format.bits)
    a, w = np.zeros((a_codes.size, BLOCK), np.uint8), np.zeros((BLOCK, w_codes.size), np.uint8)
    at = (int(activation) * 5 + int(element)) % BLOCK
    a[:, at], w[at] = a_codes, w_codes
    values = activation.integers(a_codes) * 2.0**activation.quantum  # float64 holds every product
    for e8m0 in (False, True)[: 1 + (element not in (Element.S4, Element.U4))]:
        quantum = weight_quantum(element, ScaleFormat.E8M0 if e8m0 else ScaleFormat.NONE)
        with np.errstate(invalid="ignore"):
            expected = canonicalise(
                (values[:, None] * (integers(element, w_codes) * 2.0**quantum)).astype(np.float32)
                + np.float32(0)
            )
        got = matmul(
            a.view(np.int8),
            np.ones((a_codes.size, 1)),
            None,
            stored(element, w),
            np.ones((1, w_codes.size)) if e8m0 else None,
            activation=activation,
            element=element,
            scale_format=ScaleFormat.E8M0 if e8m0 else ScaleFormat.NONE,
        )
        equal(got, expected)


@pytest.mark.parametrize("activation, element", PAIRS, ids=name)
def test_cancellation(activation, element):
    """Sums whose large products cancel: nothing of the small ones is lost."""
    rng = np.random.default_rng(0)
    a_all, w_all = (
        activation.integers(np.arange(1 << activation.element.format.bits)),
        integers(element, np.arange(1 << element.format.bits)),
    )
    code = lambda values, value: int(np.flatnonzero(values == value)[0])
    rows = 40
    a = np.zeros((rows, BLOCK), np.uint8)
    w = np.full((BLOCK, 1), code(w_all, 1))
    w[:16] = code(w_all, w_all[np.isfinite(w_all)].max())
    largest = a_all[np.isfinite(a_all)].max()
    for row in range(rows):
        places = rng.permutation(16)
        a[row, places[:8]], a[row, places[8:]] = code(a_all, largest), code(a_all, -largest)
        a[row, 16 + row % 16] = code(a_all, 1 - 2 * (row & 1))
    scale = np.full((rows, 1), 2.0**10, np.float32)
    expected = np.float32(2.0 ** (10 + activation.quantum + element.format.quantum)) * (
        1 - 2 * (np.arange(rows) % 2)
    ).astype(np.float32)
    equal(
        matmul(a.view(np.int8), scale, None, stored(element, w), activation=activation, element=element)[
            :, 0
        ],
        expected,
    )


def test_blocks_accumulate_in_order():
    """K of several blocks is the float32 sum of the blocks' products, in order."""
    rng = np.random.default_rng(4)
    for activation, element in [
        (Activation.MXFP8_E4M3, Element.E4M3),
        (Activation.MXFP8_E5M2, Element.U4),
        (Activation.INT8, Element.E2M1),
    ]:
        a, w = (
            rng.integers(0, 100, (5, 96)).astype(np.int8),
            rng.integers(0, 1 << element.format.bits, (96, 9)).astype(np.uint8),
        )
        a_scale = np.ldexp(np.float32(1), rng.integers(-9, 9, (5, 3)))
        keywords = dict(activation=activation, element=element)
        acc = np.float32(0)
        for kb in range(3):
            part = slice(32 * kb, 32 * kb + 32)
            acc = float_add(acc, matmul(a[:, part], a_scale[:, kb : kb + 1], None, w[part], **keywords))
        equal(matmul(a, a_scale, None, w, **keywords), acc)


# Weight streams


@pytest.mark.parametrize("rows,cols", [(2, 2), (4, 4), (8, 16), (16, 16), (32, 32), (64, 64)])
@pytest.mark.parametrize(
    "element,scale,minimum,transpose",
    [
        (Element.S8, ScaleFormat.NONE, False, False),
        (Element.S8, ScaleFormat.F32, False, True),
        (Element.S4, ScaleFormat.F16, False, False),
        (Element.U4, ScaleFormat.F16, True, False),
        (Element.S8, ScaleFormat.E8M0, False, False),
        (Element.E4M3, ScaleFormat.E8M0, False, False),
        (Element.E5M2, ScaleFormat.F32, False, True),
        (Element.E2M3, ScaleFormat.E8M0, False, True),
        (Element.E3M2, ScaleFormat.NONE, False, False),
        (Element.E2M1, ScaleFormat.E8M0, False, False),
        (Element.E2M1, ScaleFormat.F16, False, False),
    ],
)
@pytest.mark.parametrize("fp4_rate", [1, 2])
def test_round_trip(rows, cols, element, scale, minimum, transpose, fp4_rate):
    if fp4_rate == 2 and (rows > 16 or element.bits == 8):
        pytest.skip("the same stream")
    rng = np.random.default_rng(2)
    config = small(rows, cols, fp4_rate)
    array = config.tile.array
    blocks, n = 2 * array.segments, 3 * cols - 1
    w_q = rng.integers(*RANGES.get(element, (0, 1 << element.format.bits)), (BLOCK * blocks, n))
    w_scale = (
        None
        if scale is ScaleFormat.NONE
        else random_powers(rng, (blocks, n))
        if scale is ScaleFormat.E8M0
        else halves(rng, (blocks, n))
    )
    w_min = halves(rng, (blocks, n)) if minimum else None
    stream = pack_weights(w_q, w_scale, w_min, config, element, scale, transpose)
    assert len(stream) == 3 * 2 * step_bytes(config, element=element, scale=scale, minimum=minimum)
    results = unpack_weights(
        stream,
        config,
        k_blocks=blocks,
        element=element,
        scale_format=scale,
        minimum=minimum,
        transpose=transpose,
    )
    for got, expected in zip(results, (w_q, w_scale, w_min)):
        assert (got is None) == (expected is None)
        if got is not None:
            np.testing.assert_array_equal(got[:, :n], expected)
    assert not results[0][:, n:].any()


def test_stream_by_hand():
    """One group and one step of a 2x2 array, byte by byte."""
    config = small(2, 2)
    w_q = np.arange(64).reshape(32, 2) % 16
    scale, low = np.array([[1.0, 2.0]], np.float32), np.array([[-1.0, 0.5]], np.float32)
    nibbles = bytes(w_q[k, 0] | w_q[k, 1] << 4 for k in range(32))
    rows = pack_weights(w_q, scale, low, config, Element.U4, ScaleFormat.F16)
    assert rows == bytes.fromhex("003c004000bc0038") + nibbles
    columns = pack_weights(w_q, scale, None, config, Element.S8, ScaleFormat.F32, transpose=True)
    assert columns == bytes.fromhex("0000803f00000040") + bytes(
        w_q[2 * p + r, c] for p in range(16) for c in range(2) for r in range(2)
    )
    mx = np.array([[2.0**-127, np.nan]], np.float32)
    assert (
        pack_weights(w_q, mx, None, config, Element.E2M1, ScaleFormat.E8M0)
        == bytes.fromhex("00ff0000") + nibbles
    )
    assert pack_weights(w_q, 2 * scale, None, config, Element.E4M3, ScaleFormat.E8M0) == bytes.fromhex(
        "80810000"
    ) + bytes(w_q.ravel().tolist())


def test_bad_weights():
    array = preset("desk")
    zeros = np.zeros((32, 16), int)
    with pytest.raises(ValueError, match="K is 31; it must be a multiple of 32"):
        pack_weights(zeros[1:], None, None, array)
    with pytest.raises(ValueError, match="weights 0 to 16 don't fit in U4"):
        pack_weights(zeros + np.eye(32, 16, dtype=int) * 16, None, None, array, Element.U4)
    with pytest.raises(ValueError, match="w_scale holds values that F16 can't represent"):
        pack_weights(zeros, np.full((1, 16), 1e-9), None, array, Element.S8, ScaleFormat.F16)
    with pytest.raises(ValueError, match="scale format F16 without scales"):
        pack_weights(zeros, None, None, array, Element.S8, ScaleFormat.F16)
    with pytest.raises(ValueError, match="a transposed stream holds elements of a byte, not S4"):
        pack_weights(zeros, None, None, array, Element.S4, transpose=True)
    with pytest.raises(ValueError, match="weights 0 to 64 don't fit in E2M3"):
        pack_weights(zeros + np.eye(32, 16, dtype=int) * 64, None, None, array, Element.E2M3)
    for bad in (0.0, 3.0, -1.0, np.inf, 2.0**-128):
        with pytest.raises(ValueError, match="w_scale holds values that E8M0 can't represent"):
            pack_weights(
                zeros, np.full((1, 16), bad, np.float32), None, array, Element.E4M3, ScaleFormat.E8M0
            )
    with pytest.raises(ValueError, match="a stream of 500 bytes is not groups of 1 blocks of K"):
        unpack_weights(bytes(500), array, k_blocks=1)
