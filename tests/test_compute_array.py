"""PE and systolic array in Amaranth's simulator: every product, every shape, random gaps and stalls, exact
periods."""

from amaranth.hdl import Const, Module, ResetInserter, Shape, Signal
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.compute.array import GROUP, SystolicArray
from poblano.compute.pe import PE
from poblano.config import ArrayConfig
from poblano.formats.element import FORMATS, Activation, Arithmetic, Element, decode_operand, operand_layout
from tb.common.bulk import build
from tb.common.operands import item_operands, operand, packed

SHAPES = [(1, 3), (2, 2), (3, 5), (4, 3), (4, 4), (8, 8), (8, 16)]
LARGE = [
    (16, 16),
    pytest.param(64, 4, marks=pytest.mark.slow),
    pytest.param(32, 32, marks=pytest.mark.nightly),
]
EVERY = Arithmetic(tuple(FORMATS))
MIXED = ("int8", "mxfp8_e5m2", "mxfp4_e2m1")


@pytest.mark.parametrize("element", Element)
@pytest.mark.parametrize("formats", [("int8", "int4"), ("mxfp8_e4m3",), MIXED, tuple(FORMATS)])
def test_decode(element, formats):
    """The gates give every code the operand that its value has."""
    arithmetic = Arithmetic(formats)
    for elements, symmetric in ((arithmetic.activation_elements, True), (arithmetic.weights, False)):
        if element not in elements:
            continue
        layout = operand_layout(elements, arithmetic.special_bits)
        code, out = Signal(8), Signal(layout.size)
        m = Module()
        m.d.comb += out.eq(
            decode_operand(Const(element, 3), code, elements, arithmetic.special_bits, symmetric=symmetric)
        )

        async def bench(ctx):
            for value in range(1 << element.bits):
                ctx.set(code, value)
                await ctx.delay(1e-9)
                got, want = (
                    layout.from_bits(ctx.get(out)),
                    operand(element, value, layout, symmetric=symmetric),
                )
                assert got["special"] == want["special"], hex(value)
                if want["special"]:
                    negative = got["significand"] < 0
                    assert got["significand"] and (
                        np.isnan(element.values(value)) or negative == (want["significand"] < 0)
                    ), hex(value)
                else:
                    assert (got["significand"], got["exponent"]) == (want["significand"], want["exponent"]), (
                        hex(value)
                    )

        simulator = Simulator(m)
        simulator.add_testbench(bench)
        simulator.run()


@pytest.fixture(scope="module")
def every_format_pe():
    return build(PE(arithmetic=EVERY, transpose=True), latency=0)


def products(dut, arithmetic, a, w, expected, special, *, stalls=(0,)):
    """Runs operands (packed integers) through the PE, each weight loaded through the shadow register, with
    random sums."""
    rng = np.random.default_rng(0)
    count = a.size
    margin = 1 << arithmetic.sum_width - 2
    total = np.array(
        [int(x) for x in rng.integers(-min(margin, 1 << 62), min(margin, 1 << 62), count)], object
    )
    before = rng.integers(0, 1 << arithmetic.special_bits, count) * (rng.random(count) < 0.1)
    # The weight of product n comes in cycle n, is swapped in in n + 1 for the activation in n + 2; the sum is
    # there in n + 3.
    left = rng.integers(0, 2, count)
    noise = rng.permutation(w)
    ones = np.ones(count, np.int64)
    width = arithmetic.sum_width
    sums = (total % (1 << width)) + (before.astype(object) << width)
    kind = lambda bits: object if bits > 64 else next(f"u{size}" for size in (1, 2, 4, 8) if bits <= 8 * size)
    bits = {
        "i_w": arithmetic.weight_operand.size,
        "i_left": arithmetic.weight_operand.size,
        "i_a": Shape.cast(arithmetic.activation_lane).width,
        "i_sum": arithmetic.sum_layout.size,
    }
    inputs = {
        "i_w": np.where(left, noise, w),
        "i_left": np.where(left, w, noise),
        "i_capture": 1 - left,
        "i_capture_left": left,
        "i_swap": np.concatenate([[0], ones[:-1]]),
        "i_valid": np.concatenate([[0, 0], ones[:-2]]),
        "i_a": np.concatenate([[0, 0], a[:-2]]),
        "i_sum": np.concatenate([[0, 0], sums[:-2]]),
    }
    inputs = {k: np.concatenate([v, [0] * 3]) for k, v in inputs.items()}
    inputs["i_swap"][count] = 1
    for name, values in (("i_valid", ones), ("i_a", a), ("i_sum", sums)):
        inputs[name][count : count + 2] = values[-2:]
    inputs = {k: v.astype(kind(bits.get(k, 1))) for k, v in inputs.items()}
    for stall in stalls:
        got = np.array([int(x) for x in dut(**inputs, stall=stall)["o_sum"][3 : count + 3]], object)
        value = (total + expected) % (1 << width)
        if arithmetic.special_bits:
            flags = before | special
            assert np.array_equal(got >> width, flags.astype(object))
            got, value = got % (1 << width), np.where(flags != 0, got % (1 << width), value)
        assert np.array_equal(got, value)


@pytest.mark.parametrize(
    "activation",
    [
        Activation.INT8,
        Activation.MXFP8_E4M3,
        Activation.MXFP8_E5M2,
        Activation.MXFP6_E2M3,
        Activation.MXFP6_E3M2,
        Activation.MXFP4_E2M1,
    ],
    ids=lambda a: a.name,
)
def test_every_product(every_format_pe, activation):
    """All products of all codes of an activation format and of every weight format."""
    element = activation.element
    for weight in Element:
        a, w = (
            x.ravel()
            for x in np.meshgrid(np.arange(1 << element.format.bits), np.arange(1 << weight.format.bits))
        )
        pack = lambda layout, e, codes, symmetric: np.array(
            [packed(layout, operand(e, c, layout, symmetric=symmetric)) for c in range(1 << e.format.bits)]
        )[codes]
        number = lambda values, unit: np.array(
            [int(x) if np.isfinite(x) else 0 for x in np.ldexp(values, -unit)], object
        )
        a_values = activation.integers(np.arange(1 << element.format.bits))
        w_values = weight.values(np.arange(1 << weight.format.bits))
        with np.errstate(all="ignore"):
            exact = a_values[a] * w_values[w]
        special = np.where(np.isnan(exact), 3, np.where(exact == np.inf, 1, np.where(exact == -np.inf, 2, 0)))
        expected = number(a_values, 0)[a] * number(w_values, weight.format.quantum)[w]
        products(
            every_format_pe,
            EVERY,
            pack(EVERY.activation_operand, element, a, True),
            pack(EVERY.weight_operand, weight, w, False),
            expected,
            special,
        )


def test_every_int8_product():
    """All 65,536 INT8 products of the PE that has only integers, with stalls."""
    arithmetic = Arithmetic(("int8", "int4"))
    dut = build(PE(arithmetic=arithmetic, transpose=True), latency=0)
    a, w = (x.ravel() for x in np.meshgrid(np.arange(-127, 128), np.arange(-128, 128)))
    products(dut, arithmetic, a & 255, w & 255, (a * w).astype(object), np.zeros(a.size, int), stalls=(0, 3))


class Tile:
    """A weight tile and the activations that it meets; with ``fp4_rate`` 2 and 4-bit weights, twice the
    rows."""

    def __init__(self, rng, config, count, transpose):
        arithmetic = config.arithmetic
        self.transpose, self.config = transpose, config
        activation = arithmetic.activations[int(rng.integers(len(arithmetic.activations)))]
        weights = [e for e in arithmetic.weights if e.bits == 8 or not transpose]
        weight = weights[int(rng.integers(len(weights)))]
        self.dual = config.fp4_rate == 2 and weight.bits == 4
        rows = config.rows * (1 + self.dual)
        w = rng.integers(0, 1 << weight.format.bits, (rows, config.cols))
        a = rng.integers(0, 1 << activation.element.format.bits, (count, rows))
        if rng.integers(0, 4) == 0:
            w[:], a[:] = rng.choice(w.ravel()), rng.choice(a.ravel())
        if rng.random() < 0.7:  # mostly finite
            w[~np.isfinite(weight.values(w))] = 1
            a[~np.isfinite(activation.integers(a))] = 1
        self.w = [
            [operand(weight, c, operand_layout(arithmetic.weights, arithmetic.special_bits)) for c in row]
            for row in w.tolist()
        ]
        self.a = [
            [operand(activation.element, c, arithmetic.activation_operand, symmetric=True) for c in row]
            for row in a.tolist()
        ]
        segments = config.segments
        x, y = activation.integers(a), np.ldexp(weight.values(w), -weight.format.quantum)
        exact = lambda v: np.array([int(e) if np.isfinite(e) else 0 for e in v.ravel()], object).reshape(
            v.shape
        )
        shape = lambda v: v.reshape(count, segments, -1)
        with np.errstate(all="ignore"):
            self.special = np.stack(
                [shape(x)[:, s] @ y.reshape(segments, -1, config.cols)[s] for s in range(segments)], 1
            )
        self.sums = np.stack(
            [shape(exact(x))[:, s] @ exact(y).reshape(segments, -1, config.cols)[s] for s in range(segments)],
            1,
        )

    def lanes(self):
        """Activations as the array takes them."""
        if self.config.fp4_rate == 1:
            return self.a
        return [
            [[row[2 * k], row[2 * k + 1]] if self.dual else [row[k], row[k]] for k in range(self.config.rows)]
            for row in self.a
        ]

    def items(self):
        config = self.config
        w = item_operands(self.w, config.fp4_rate, self.dual)
        if self.transpose:
            w = [[w[k][c] for k in range(config.rows)] for c in range(config.cols)]
        return [w[k : k + config.load_rows] for k in range(0, len(w), config.load_rows)]

    def check(self, m, payload):
        """The array's output for activation ``m``."""
        bits = self.config.arithmetic.special_bits
        for s in range(self.config.segments):
            for c in range(self.config.cols):
                got, want = payload[s][c], self.special[m][s][c]
                if np.isfinite(want):
                    assert got["value"] == self.sums[m][s][c] and got["special"] == 0
                else:
                    assert got["special"] == ((1 << bits) - 1 if np.isnan(want) else 1 if want > 0 else 2)


def simulate(dut, tiles, *, gaps=(0.0, 0.0, 0.0), seed=0):
    """Runs the tiles through; returns the cycle of each activation's transfer and of each result's."""
    rng = np.random.default_rng(seed)
    config = dut.config
    size = max(config.rows, config.cols)
    sent, got = [], []
    cycle = 0

    async def drive(ctx, port, values, gap):
        for value in values:
            while rng.random() < gap:
                await ctx.tick()
            ctx.set(port.payload, value)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)
            if port is dut.a:
                sent.append(cycle)

    async def count(ctx):
        nonlocal cycle
        async for _ in ctx.tick():
            cycle += 1

    async def weights(ctx):
        await drive(
            ctx,
            dut.w,
            [
                {"data": [part + part[:1] * (size - len(part)) for part in item], "transpose": t.transpose}
                for t in tiles
                for item in t.items()
            ],
            gaps[0],
        )

    async def activations(ctx):
        await drive(
            ctx,
            dut.a,
            [{"data": row, "first": n == 0} for t in tiles for n, row in enumerate(t.lanes())],
            gaps[1],
        )

    async def results(ctx):
        for tile in tiles:
            for m in range(len(tile.a)):
                ctx.set(dut.o.ready, 0)
                while rng.random() < gaps[2]:
                    await ctx.tick()
                ctx.set(dut.o.ready, 1)
                (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
                got.append(cycle)
                tile.check(m, payload)

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_process(count)
    simulator.add_testbench(weights, background=True)
    simulator.add_testbench(activations, background=True)
    simulator.add_testbench(results)
    simulator.run()
    return sent, got


def check_shape(rows, cols, transpose=True, tiles=8, seed=0, **options):
    config = ArrayConfig(rows=rows, cols=cols, **options)
    rng = np.random.default_rng(seed)
    for gaps in ((0.0, 0.0, 0.0), (0.3, 0.3, 0.3), (0.0, 0.5, 0.2)):
        work = [
            Tile(rng, config, int(rng.choice([1, 2, rows, rows + 1])), transpose and bool(rng.integers(0, 2)))
            for _ in range(tiles)
        ]
        simulate(SystolicArray(config, transpose=transpose), work, gaps=gaps, seed=seed)


@pytest.mark.parametrize("rows,cols", SHAPES)
def test_shapes(rows, cols):
    check_shape(rows, cols)


@pytest.mark.parametrize("rows,cols", [(2, 2), (8, 4)])
def test_rows_only(rows, cols):
    check_shape(rows, cols, transpose=False)


@pytest.mark.parametrize("rows,cols", [(2, 2), (3, 5), (8, 4)])
def test_formats(rows, cols):
    """Formats change with every tile."""
    check_shape(rows, cols, tiles=12, formats=MIXED)


@pytest.mark.parametrize(
    "rows,cols,load_rows",
    [
        (2, 2, 2),
        (4, 8, 2),
        (8, 4, 4),
        (16, 6, 2),
        pytest.param(64, 4, 2, marks=pytest.mark.nightly),
        pytest.param(64, 4, 4, marks=pytest.mark.nightly),
    ],
)
def test_load_rows(rows, cols, load_rows):
    """Several rows or columns of weights enter in a cycle."""
    check_shape(rows, cols, load_rows=load_rows, tiles=8 if rows < 64 else 3)


@pytest.mark.parametrize(
    "rows,cols,load_rows,formats", [(2, 2, 1, ("int8", "int4")), (3, 5, 1, MIXED), (8, 4, 2, MIXED)]
)
def test_fp4_rate(rows, cols, load_rows, formats):
    """Two 4-bit weights for each PE, and one of 8 bits, from tile to tile."""
    check_shape(rows, cols, load_rows=load_rows, fp4_rate=2, formats=formats, tiles=12)


@pytest.mark.parametrize("rows,cols", LARGE)
def test_large(rows, cols):
    check_shape(rows, cols, tiles=3)


@pytest.mark.parametrize("rows,cols", [(1, 3), (4, 4), (8, 3), (4, 8)])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("extra", [-100, 0, 3])
@pytest.mark.parametrize("load_rows", [1, 4])
def test_period(rows, cols, transpose, extra, load_rows):
    """A tile takes max(activations, items) cycles, and its sums come a cycle for each row and each group of
    columns after the activations."""
    if rows % load_rows or cols % load_rows:
        pytest.skip("does not divide")
    config = ArrayConfig(rows=rows, cols=cols, load_rows=load_rows)
    items = (cols if transpose else rows) // load_rows
    count = max(1, items + extra)
    rng = np.random.default_rng(1)
    sent, got = simulate(SystolicArray(config), [Tile(rng, config, count, transpose) for _ in range(5)])
    first = sent[::count]
    assert all(b - a == max(count, items) for a, b in zip(first, first[1:]))
    assert all(b - a == rows + -(-cols // GROUP) for a, b in zip(sent, got))


@pytest.mark.parametrize(
    "formats,fp4_rate,rows,cols",
    [(("int8", "int4"), 1, 4, 4), (("int8",), 1, 3, 5), (MIXED, 1, 4, 3), (("int8", "int4"), 2, 4, 4)],
)
def test_multiplier_registers(formats, fp4_rate, rows, cols):
    """The same sums, two cycles later."""
    config = ArrayConfig(rows=rows, cols=cols, formats=formats, fp4_rate=fp4_rate, multiplier_registers=True)
    rng = np.random.default_rng(4)
    tiles = [Tile(rng, config, int(rng.integers(1, 9)), bool(rng.integers(2))) for _ in range(12)]
    simulate(SystolicArray(config), tiles, gaps=(0.3, 0.3, 0.3))
    sent, got = simulate(SystolicArray(config), tiles)
    assert all(b - a == rows + -(-cols // GROUP) + 2 for a, b in zip(sent, got))


def test_reset():
    """A reset in the middle of everything: the array forgets it."""
    config = ArrayConfig(rows=4, cols=4)
    reset = Signal()
    array = SystolicArray(config)
    rng = np.random.default_rng(3)

    async def bench(ctx):
        for n in range(12):
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert not ctx.get(array.o.valid) and not ctx.get(array.loaded)
            ctx.set(array.o.ready, 1)
            tile = Tile(rng, config, 3, bool(n & 1))
            for item in tile.items():
                ctx.set(array.w.payload, {"data": item, "transpose": tile.transpose})
                ctx.set(array.w.valid, 1)
                await ctx.tick().until(array.w.ready)
            ctx.set(array.w.valid, 0)
            for k, row in enumerate(tile.lanes()):
                ctx.set(array.a.payload, {"data": row, "first": k == 0})
                ctx.set(array.a.valid, 1)
                await ctx.tick().until(array.a.ready)
            ctx.set(array.a.valid, 0)
            for k in range(3):
                (payload,) = await ctx.tick().sample(array.o.payload).until(array.o.valid)
                tile.check(k, payload)
            # Something in flight for the next reset: a part of a tile, and an activation.
            ctx.set(array.w.valid, 1)
            ctx.set(array.a.valid, 1)
            for _ in range(int(rng.integers(1, 9))):
                await ctx.tick()
            ctx.set(array.w.valid, 0)
            ctx.set(array.a.valid, 0)

    simulator = Simulator(ResetInserter(reset)(array))
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
