"""Special functions of FP32 numbers: a table of quadratics, one multiplier chain for all of them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from poblano.formats.float32 import NAN, FloatMultiply
from poblano.isa.vector_ops import SfuOp
from poblano.vector.sfu_reference import (
    ADDRESS_BITS,
    C0_BITS,
    C1_BITS,
    C2_BITS,
    EXP2_BASE,
    FRACTION_BITS,
    RECIPROCAL_BASE,
    RSQRT_BASE,
    SIGMOID_4_BASE,
    SIGMOID_8_BASE,
    SIGMOID_BASE,
    T_BITS,
    coefficients,
)
from poblano.verilog import place

__all__ = ["SpecialFunction"]

_NORMAL, _INFINITE, _ZERO, _ONE, _NAN = range(5)


class SpecialFunction(wiring.Component):
    """One of :class:`~poblano.isa.vector_ops.SfuOp`'s functions a cycle.

    ``o`` follows ``op`` and ``x`` after ``LATENCY`` cycles in which ``en`` is 1, whatever the function
    but PASS; another can start in every such cycle. PASS takes ``PASS_LATENCY`` cycles, and must not come
    while there is another function inside. :func:`poblano.vector.sfu_reference.sfu` is exact about the
    results:

    * PASS: every bit of ``x``. Any other function of a NaN is :data:`~poblano.formats.float32.NAN`.
    * EXP2: relative error below 2**-22 for -126 <= x < 128; 0 below -126, infinity from 128 on.
    * RECIPROCAL, RSQRT: relative error below 2**-22. Subnormals count as zero, and results that would be
      subnormal are zero, with their signs. RECIPROCAL of +-0 is +-infinity; RSQRT of either zero is
      +infinity, of other negative numbers NaN.
    * SIGMOID: absolute error below 2**-21; exactly 0 or 1 from |x| = 16 on.
    * SILU: x times SIGMOID(x), rounded; error below 2**-21 * max(\\|x\\|, 1); -0 of minus infinity.

    The codes 6 and 7 are reserved: their results are undefined.

    Parameters
    ----------
    product : without it there are neither PASS nor SILU, and results come after ``STAGES`` cycles

    Members
    -------
    op : In(SfuOp)
    x : In(32)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    op: In(SfuOp)
    x: In(32)
    o: Out(32)
    en: In(1)

    STAGES = 8
    LATENCY = STAGES + FloatMultiply.LATENCY
    PASS_LATENCY = 1

    def __init__(self, *, product=True):
        self.product = product
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        en = self.en

        def register(name, value, shape=None):
            signal = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
            with m.If(en):
                m.d.sync += signal.eq(value)
            return signal

        def named(name, value, shape=None):
            signal = Signal(value.shape() if shape is None else shape, name=name)
            m.d.comb += signal.eq(value)
            return signal

        # op and x accompany the operation to the product that SILU needs.
        op = named("op_in", self.op, unsigned(3))
        ops, xs = [op], [self.x]
        for k in range(1, self.STAGES + 1):
            # Minus infinity times SILU's sigmoid, zero, would be a NaN.
            x = xs[-1] if k < self.STAGES else Mux(xs[-1] == 0xFF800000, 1 << 31, xs[-1])[:32]
            ops.append(register(f"r{k}_op", ops[-1]))
            xs.append(register(f"r{k}_x", x))

        # Cycle 1: cases that need no arithmetic; |x| in units of 2**-24, rounded down.
        fraction, exponent, sign = self.x[:23], self.x[23:31], self.x[31]
        zero, special = exponent == 0, exponent == 0xFF
        case = Signal(3)
        negative = Signal()
        with m.Switch(op):
            with m.Case(SfuOp.EXP2), m.If(exponent > 133):
                m.d.comb += case.eq(Mux(sign, _ZERO, _INFINITE))
            with m.Case(SfuOp.RECIPROCAL):
                m.d.comb += negative.eq(sign)
                with m.If(zero):
                    m.d.comb += case.eq(_INFINITE)
                with m.Elif(special):
                    m.d.comb += case.eq(_ZERO)
            with m.Case(SfuOp.RSQRT):
                with m.If(zero):
                    m.d.comb += case.eq(_INFINITE)
                with m.Elif(sign):
                    m.d.comb += case.eq(_NAN)
                with m.Elif(special):
                    m.d.comb += case.eq(_ZERO)
            with m.Default(), m.If(exponent > 130):
                m.d.comb += case.eq(Mux(sign, _ZERO, _ONE))
        with m.If(special & (fraction != 0)):
            m.d.comb += case.eq(_NAN)
        shift = named("shift", (133 - exponent)[:8])
        places = Mux(shift > 31, 31, shift)[:5]
        fixed = register("r1_fixed", Cat(Const(0, 7), fraction, ~zero) >> places)
        cases, negatives = [None, register("r1_case", case)], [None, register("r1_negative", negative)]
        for k in range(2, self.STAGES):
            cases.append(register(f"r{k}_case", cases[-1]))
            negatives.append(register(f"r{k}_negative", negatives[-1]))

        # Cycle 2: segment, position in it, exponent of the result.
        x, op = xs[1], ops[1]
        exponent = x[23:31]
        both = named("both", Mux(x[31], -fixed, fixed), signed(32))
        address = Signal(ADDRESS_BITS)
        t = Signal(T_BITS)
        scale = Signal(signed(9))
        with m.Switch(op):
            with m.Case(SfuOp.EXP2):
                m.d.comb += [
                    address.eq(EXP2_BASE | both[T_BITS:24]),
                    t.eq(both[:T_BITS]),
                    scale.eq(both[24:].as_signed()),
                ]
            with m.Case(SfuOp.RECIPROCAL):
                m.d.comb += [
                    address.eq(RECIPROCAL_BASE | x[16:23]),
                    t.eq(Cat(Const(0, 2), x[:16])),
                    scale.eq(126 - exponent),
                ]
            with m.Case(SfuOp.RSQRT):
                m.d.comb += [
                    address.eq(RSQRT_BASE | Cat(x[17:23], ~exponent[0])),
                    t.eq(Cat(Const(0, 1), x[:17])),
                    scale.eq(62 - ((exponent - 1) >> 1)),
                ]
            with m.Default():
                with m.If(fixed[27]):
                    m.d.comb += [address.eq(SIGMOID_8_BASE | fixed[22:27]), t.eq(fixed[4:22])]
                with m.Elif(fixed[26]):
                    m.d.comb += [address.eq(SIGMOID_4_BASE | fixed[21:26]), t.eq(fixed[3:21])]
                with m.Else():
                    m.d.comb += [address.eq(SIGMOID_BASE | fixed[19:26]), t.eq(fixed[1:19])]
        r2_address = register("r2_address", address)
        # A segment is stored by its middle: t becomes signed.
        ts = [register("r2_t", Cat(t[:-1], ~t[-1]).as_signed(), signed(T_BITS))]
        for k in (3, 4):
            ts.append(register(f"r{k}_t", ts[-1]))
        scales = [register("r2_scale", scale)]
        for k in range(3, 8):
            scales.append(register(f"r{k}_scale", scales[-1]))

        # Cycle 3: coefficients.
        table = [
            sum(
                (int(value) & (1 << bits) - 1) << offset
                for value, bits, offset in zip(
                    row, (C0_BITS, C1_BITS, C2_BITS), (0, C0_BITS, C0_BITS + C1_BITS)
                )
            )
            for row in coefficients().T
        ]
        m.submodules.table = memory = Memory(
            shape=unsigned(C0_BITS + C1_BITS + C2_BITS), depth=1 << ADDRESS_BITS, init=table
        )
        port = memory.read_port()
        m.d.comb += [port.addr.eq(r2_address), port.en.eq(en)]
        c0, c1, c2 = (
            named(name, port.data[low:high].as_signed() if name != "c0" else port.data[low:high])
            for name, low, high in (
                ("c0", 0, C0_BITS),
                ("c1", C0_BITS, C0_BITS + C1_BITS),
                ("c2", C0_BITS + C1_BITS, C0_BITS + C1_BITS + C2_BITS),
            )
        )

        # Cycle 4: c1 + c2 t; c1 and half a unit of it are one addend, as a multiplier adds it at no delay.
        half = 1 << T_BITS - 1
        addend = Cat(Const(half, T_BITS), c1).as_signed()
        inner = named("inner", (ts[1] * c2 + addend) >> T_BITS, signed(C1_BITS + 1))
        r4_inner = register("r4_inner", inner)
        r4_c0 = register("r4_c0", c0)

        # Cycle 5: (c1 + c2 t) t.
        r5_product = register("r5_product", r4_inner * ts[2])
        r5_c0 = register("r5_c0", r4_c0)

        # Cycle 6: the polynomial, from 0 to 2; the sigmoid of a negative number is 1 less that of its
        # opposite.
        value = named("value", r5_c0 + ((r5_product + half) >> T_BITS), unsigned(FRACTION_BITS + 2))
        sigmoid = (ops[5] == SfuOp.SIGMOID) | (ops[5] == SfuOp.SILU)
        r6_value = register(
            "r6_value", Mux(sigmoid & xs[5][31], (1 << FRACTION_BITS) - value, value)[: FRACTION_BITS + 2]
        )

        # Cycle 7: normalise.
        normal, count = r6_value, []
        for step in (16, 8, 4, 2, 1):
            bit = named(f"zeros_{step}", normal[-step:] == 0)
            normal = named(f"normal_{step}", Mux(bit, normal.shift_left(step)[: len(normal)], normal))
            count.append(bit)
        r7_normal = register("r7_normal", normal)
        r7_exponent = register("r7_exponent", scales[4] + (127 + 1) - Cat(*reversed(count)), signed(11))

        # Cycle 8: round. The hidden bit and a carry count up the exponent.
        significand = r7_normal[4:]
        up = r7_normal[3] & ((r7_normal[:3] != 0) | significand[0])
        rounded = named(
            "rounded", Cat(Const(0, 23), r7_exponent - 1).as_signed() + significand + up, signed(35)
        )
        magnitude = Signal(31)
        with m.Switch(cases[7]):
            with m.Case(_NORMAL):
                m.d.comb += magnitude.eq(
                    Mux(rounded < 1 << 23, 0, Mux(rounded >= 0xFF << 23, 0xFF << 23, rounded))
                )
            with m.Case(_INFINITE):
                m.d.comb += magnitude.eq(0xFF << 23)
            with m.Case(_ONE):
                m.d.comb += magnitude.eq(127 << 23)
            with m.Case(_NAN):
                m.d.comb += magnitude.eq(NAN)
        r8_result = register("r8_result", Cat(magnitude, negatives[7] & (cases[7] != _NAN)))

        if not self.product:
            m.d.comb += self.o.eq(r8_result)
            return m
        # Cycles 9 to 11: SILU's product.
        multiply = place(m, "multiply", FloatMultiply(registered=False))
        is_silu = ops[8] == SfuOp.SILU
        m.d.comb += [multiply.a.eq(r8_result), multiply.b.eq(xs[8]), multiply.en.eq(en)]
        other = r8_result
        for k in range(self.STAGES + 1, self.LATENCY):
            other = register(f"r{k}_other", other)
            is_silu = register(f"r{k}_is_silu", is_silu)
        result = Mux(self.op == SfuOp.PASS, self.x, Mux(is_silu, multiply.o, other))
        m.d.comb += self.o.eq(register(f"r{self.LATENCY}_o", result))
        return m
