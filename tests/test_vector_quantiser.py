"""Quantiser against the reference in every format: special blocks, random stalls, latency and rate, reset
in the middle; the reference against other implementations of the formats."""

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
import ml_dtypes
import numpy as np
import pytest

from poblano.config import BLOCK
from poblano.formats.element import FORMATS, Activation, Arithmetic
from poblano.formats.encoder import ElementEncoder
from poblano.vector.quantiser import Quantiser
from poblano.vector.reference import quantise
from poblano.verilog import emit

LANES = [2, 8, 32, pytest.param(4, marks=pytest.mark.slow), pytest.param(16, marks=pytest.mark.slow)]
LIMITS = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-45,
    2.0**-126,
    2.0**-49,
    float(np.nextafter(np.float32(2.0**-49), np.float32(0))),
    2.0**126,
    2.0**127,
    3.4e38,
]
INT8 = Arithmetic(("int8", "int4"))
ALL = Arithmetic(tuple(FORMATS))
MX = tuple(a for a in Activation if a.mx)
NAMES = {FORMATS[name][0]: name for name in FORMATS}
DTYPES = {
    Activation.MXFP8_E4M3: ml_dtypes.float8_e4m3fn,
    Activation.MXFP8_E5M2: ml_dtypes.float8_e5m2,
    Activation.MXFP6_E2M3: ml_dtypes.float6_e2m3fn,
    Activation.MXFP6_E3M2: ml_dtypes.float6_e3m2fn,
    Activation.MXFP4_E2M1: ml_dtypes.float4_e2m1fn,
}
FORMAT = pytest.mark.parametrize("activation", Activation, ids=lambda a: a.name)


def dtype_limits(activation):
    """Largest magnitude and its exponent, bits of the fraction and the least exponent, as others know
    them."""
    if activation in (Activation.INT8, Activation.MXINT8):
        return 127 / 64, 0, 6, 0
    info = ml_dtypes.finfo(DTYPES[activation])
    return float(info.max), int(np.frexp(float(info.max))[1]) - 1, info.nmant, info.minexp


def special_blocks():
    """Blocks whose largest magnitude is at or beside a limit, one of zeros and one of ties; float32
    (blocks, 32)."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, (len(LIMITS) + 2, BLOCK)).astype(np.float32)
    for block, limit in zip(x, LIMITS):
        block *= np.float32(abs(limit) if np.isfinite(limit) else 1)
        block[rng.integers(0, BLOCK)] = limit
    x[-2] = 0
    x[-1] = (127 - np.arange(BLOCK) / 2) / 127
    return x


def corner_blocks(activation):
    """Blocks at the corners of an MX format, float32 (blocks, 32): zeros of both signs, subnormals, largest
    magnitudes at and just below powers of two, scales at the least, ties and their neighbours at every
    exponent, NaN and infinities."""
    rng = np.random.default_rng(4)
    _, top, fraction, least = dtype_limits(activation)
    blocks = [np.zeros(BLOCK), np.full(BLOCK, -0.0), np.where(np.arange(BLOCK) % 2, 0.0, -0.0)]

    def add(largest):
        """A block below ``largest``, of all magnitudes that still count, zeros and the smallest subnormals
        among them."""
        spread = 2.0 ** -rng.integers(0, top - least + fraction + 3, BLOCK)
        block = np.float64(largest) * spread * rng.uniform(-1, 1, BLOCK)
        block[:6] = largest, -largest, 0.0, -0.0, 2.0**-149, -(2.0**-149)
        blocks.append(rng.permutation(block))

    powers = [-149, -148, -140, -128, -127, -126, -125, -1, 0, 1, 126, 127]
    powers += [-127 + top + d for d in (-2, -1, 0, 1, 2)]  # about where the scale is the least
    for power in powers:
        add(2.0**power)
        if power < 127:
            add(np.nextafter(np.float32(2.0 ** (power + 1)), np.float32(0)))  # rounding saturates
        add(2.0**power * 1.5)
    add(np.finfo(np.float32).max)
    for power in (-127 + top, -126, -20, 0, 127):
        # Odd multiples of half a step at every exponent: ties, half of them with a neighbour.
        exponent = rng.integers(least, top + 1, (8, BLOCK))
        half = rng.integers(0, 2 << fraction, (8, BLOCK)) * 2 + 1
        ties = np.ldexp(half.astype(np.float64), exponent - fraction - 1 - top + power).astype(np.float32)
        with np.errstate(over="ignore"):
            ties = np.where(rng.random(ties.shape) < 0.25, np.nextafter(ties, np.float32(np.inf)), ties)
            ties = np.where(rng.random(ties.shape) < 0.25, np.nextafter(ties, np.float32(0)), ties)
        ties = np.minimum(ties, np.nextafter(np.float32(2.0**power), np.float32(np.inf)))
        ties[:, 0] = 2.0**power
        blocks.extend(ties * rng.choice([-1, 1], ties.shape))
    for special in (np.nan, np.inf, -np.inf):
        add(1.0)
        blocks[-1][rng.integers(0, BLOCK)] = special
        blocks.append(np.full(BLOCK, special))
    add(2.0**-126)
    blocks[-1][3] = -np.nan
    return np.float32(blocks)


def random_blocks(rng, count):
    """float32 (count, 32): magnitudes and spreads of all sizes, some blocks of any bits."""
    scale = 2.0 ** rng.integers(-150, 128, (count, 1)) * 2.0 ** -(
        rng.integers(0, 40, (count, BLOCK)) * rng.integers(0, 2, (count, 1))
    )
    x = np.clip(rng.normal(0, 1, (count, BLOCK)) * scale, -3.4e38, 3.4e38).astype(np.float32)
    any_bits = rng.random(count) < 0.1
    x[any_bits] = rng.integers(0, 1 << 32, (int(any_bits.sum()), BLOCK), np.uint32).view(np.float32)
    x[rng.random(x.shape) < 0.01] = -0.0
    return x


def simulate(dut, x, activation=Activation.INT8, *, gaps=(0.0, 0.0), resets=(), seed=0):
    """Blocks of ``x`` in, compared when they come out; returns the cycles of last beats and of results.

    At each cycle in ``resets`` everything starts again.
    """
    rng = np.random.default_rng(seed)
    reset = Signal()
    q, scale, total = quantise(x, activation)
    beats = x.reshape(-1, dut.lanes).view(np.uint32).tolist()
    sent, got = [], []

    async def bench(ctx):
        at, offered, cycle = 0, False, 0
        ctx.set(dut.activation, int(activation))
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
                    assert (elements == q[k]).all(), f"block {k}: {x[k]} {elements}, not {q[k]}"
                    got_meta = block.meta.scale, block.meta.sum
                    want = int(scale.view(np.uint32)[k, 0]), int(total[k, 0])
                    assert got_meta == want, f"block {k}: scale and sum {got_meta}, not {want}"
                    got.append(cycle)
            await ctx.tick()
            cycle += 1

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return sent, got


def stalls(dut, activation):
    """Corners and random blocks, in any order, with random stalls and resets."""
    rng = np.random.default_rng([5, dut.lanes])
    x = rng.permutation(np.concatenate([corner_blocks(activation), random_blocks(rng, 40)]))
    simulate(dut, x, activation, gaps=(0.2, 0.3), resets=(53, 60, 177), seed=dut.lanes)


@pytest.mark.parametrize("lanes", LANES)
def test_special_blocks(lanes):
    """Each block is the reference's; a beat a cycle, and the latency that the quantiser states."""
    x = special_blocks()
    dut = Quantiser(lanes, INT8)
    sent, got = simulate(dut, x)
    assert sent == [dut.beats * (k + 1) - 1 for k in range(len(x))]
    assert got == [cycle + dut.latency for cycle in sent]


@pytest.mark.parametrize("lanes", [2, 8])
@pytest.mark.parametrize("gaps", [(0.4, 0.0), (0.0, 0.9), (0.3, 0.5)])
def test_random(lanes, gaps):
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (12, BLOCK)) * 2.0 ** rng.integers(-30, 30, (12, 1))
    simulate(Quantiser(lanes, INT8), x.astype(np.float32), gaps=gaps, seed=lanes)


@pytest.mark.parametrize("lanes", [2, 8, 32])
def test_reset(lanes):
    x = special_blocks()[3:9]
    simulate(Quantiser(lanes, INT8), x, gaps=(0.1, 0.1), resets=(7, 8, 31, 47, 90))


@FORMAT
@pytest.mark.parametrize(
    "lanes", [8, pytest.param(2, marks=pytest.mark.slow), pytest.param(32, marks=pytest.mark.slow)]
)
def test_format(activation, lanes):
    """Hardware of the one format: corners at full rate and with the latency that the quantiser states."""
    x = corner_blocks(activation)
    dut = Quantiser(lanes, Arithmetic((NAMES[activation],)))
    sent, got = simulate(dut, x, activation)
    assert sent == [dut.beats * (k + 1) - 1 for k in range(len(x))]
    assert got == [cycle + dut.latency for cycle in sent]


@FORMAT
@pytest.mark.parametrize("lanes", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_all_formats(activation, lanes):
    stalls(Quantiser(lanes, ALL), activation)


@pytest.mark.slow
@pytest.mark.parametrize("activation", MX, ids=lambda a: a.name)
@pytest.mark.parametrize("lanes", [2, 32])
def test_mx_formats(activation, lanes):
    stalls(Quantiser(lanes, Arithmetic(tuple(NAMES[a] for a in MX))), activation)


@FORMAT
def test_multipliers(activation):
    """Only INT8 multiplies."""
    verilog = emit(Quantiser(2, Arithmetic((NAMES[activation],))), "quantiser")
    for module in ("special_function", "float_multiply", "float_to_int8", "ring_delay"):
        assert (f"module poblano_{module}" in verilog) == (activation is Activation.INT8)
    assert ("module poblano_element_encoder" in verilog) == activation.mx
    assert (" * " in verilog) == (activation is Activation.INT8)


@pytest.mark.parametrize("lanes", [0, 1, 12, 64, 8.0])
def test_lanes(lanes):
    with pytest.raises(ValueError, match=f"lanes must be a power of two from 2 to 32, not {lanes}"):
        Quantiser(lanes, INT8)


def test_encoder_formats():
    with pytest.raises(ValueError, match="activations must be MX formats"):
        ElementEncoder((Activation.INT8, Activation.MXINT8))


def test_reference_by_hand():
    x = np.zeros((2, BLOCK), np.float32)
    x[0, :4] = 127, -63.5, 62.5, -1
    q, scale, total = quantise(x)
    assert q[0, :5].tolist() == [127, -64, 62, -1, 0] and scale[0, 0] == 1 and total[0, 0] == 124
    assert not q[1].any() and scale[1, 0] == 0 and not np.signbit(scale[1, 0])
    x[1, 5] = np.inf
    q, scale, total = quantise(x)
    assert not q[1].any() and np.isnan(scale[1, 0]) and total[1, 0] == 0


@pytest.mark.parametrize(
    "activation,codes,scale,total",
    [
        (
            Activation.MXINT8,
            [127, -96, 1, 0, 0],
            1.0,
            32,
        ),  # 1.99 saturates, -1.5, a step, half a step to even, -0
        (
            Activation.MXFP8_E4M3,
            [0x7E, 0xFC, 0x48, 0x40, 0x80],
            2.0**-8,
            448 * 512 - 384 * 512 + 4 * 512 + 2 * 512,
        ),
        (
            Activation.MXFP8_E5M2,
            [0x7B, 0xFA, 0x60, 0x5C, 0x80],
            2.0**-15,
            (57344 - 49152 + 512 + 256) * 65536,
        ),
        (Activation.MXFP4_E2M1, [0x7, 0xF, 0x0, 0x0, 0x8], 0.25, 0),
    ],
    ids=lambda value: value.name if isinstance(value, Activation) else "",
)
def test_mx_reference_by_hand(activation, codes, scale, total):
    x = np.zeros(BLOCK, np.float32)
    x[:5] = 1.9999, -1.5, 1 / 64, 1 / 128, -0.0
    q, s, t = quantise(x, activation)
    assert q[:5].view(np.uint8).tolist() == np.array(codes, np.int64).astype(np.uint8).tolist()
    assert s[0] == np.float32(scale) and t[0] == total


def independent(x, activation):
    """Codes, scales and decoded elements of the blocks ``x``, by the MX specification's rule and ml_dtypes'
    conversions."""
    blocks = x.reshape(-1, BLOCK)
    largest, emax, fraction, _ = dtype_limits(activation)
    amax = np.abs(blocks).max(-1)
    finite = np.isfinite(amax)
    shared = np.where(amax == 0, -127, np.frexp(np.where(finite, amax, 0))[1] - 1 - emax)
    shared = np.maximum(shared, -127)
    scale = np.where(finite, np.exp2(shared.astype(np.float64)), np.nan).astype(np.float32)
    scaled = np.where(finite[:, None], blocks, 0) / np.exp2(shared.astype(np.float64))[:, None]
    clamped = np.clip(scaled, -largest, largest)
    if activation is Activation.MXINT8:
        codes = np.round(clamped * 64).astype(np.int8)
        return codes, scale, codes / 64.0, clamped, finite
    elements = clamped.astype(np.float32).astype(DTYPES[activation])
    return elements.view(np.int8), scale, elements.astype(np.float64), clamped, finite


@pytest.mark.parametrize("activation", MX, ids=lambda a: a.name)
def test_reference_is_independent(activation):
    """A million numbers and the corners; every code decodes to within half a step of the clamped number."""
    rng = np.random.default_rng(6)
    x = np.concatenate([corner_blocks(activation), random_blocks(rng, 34000)])
    assert x.size > 1e6
    q, scale, total = quantise(x, activation)
    with np.errstate(invalid="ignore"):
        codes, their_scale, decoded, clamped, finite = independent(x, activation)
    assert 10 < np.count_nonzero(~finite) < len(x) / 2
    np.testing.assert_array_equal(q, codes)
    np.testing.assert_array_equal(scale.view(np.uint32)[finite, 0], their_scale.view(np.uint32)[finite])
    assert (scale.view(np.uint32)[~finite] == 0x7FC00000).all() and not q[~finite].any()
    _, _, fraction, least = dtype_limits(activation)
    step = np.exp2(np.maximum(np.frexp(clamped)[1] - 1, least) - fraction)
    assert (np.abs(decoded - clamped) <= step / 2).all()
    # The scale is right: the largest magnitude of an element uses the format's largest exponent, if not at
    # the least scale.
    largest, emax, _, _ = dtype_limits(activation)
    full = finite & (scale[:, 0] > 2.0**-127)
    assert full.any() and (np.abs(decoded[full]).max(-1) >= 2.0**emax).all()
    smallest_unit = (
        1 / 64
        if activation is Activation.MXINT8
        else float(ml_dtypes.finfo(DTYPES[activation]).smallest_subnormal)
    )
    np.testing.assert_array_equal(total[:, 0], (decoded / smallest_unit).astype(np.int64).sum(-1))
    limit = 1 << activation.sum_width - 1
    assert (-limit <= total).all() and (total < limit).all()


def test_sums_use_their_width():
    """32 of the largest elements, of either sign."""
    for activation in MX:
        x = np.full((2, BLOCK), 3.4e38, np.float32) * np.float32([[1], [-1]])
        assert quantise(x, activation)[2][:, 0].tolist() == [
            BLOCK * activation.largest,
            -BLOCK * activation.largest,
        ]
        simulate(Quantiser(8, Arithmetic((NAMES[activation],))), x, activation)
