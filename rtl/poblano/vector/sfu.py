"""Special functions of FP32 numbers: a table of quadratics, one multiplier chain for all of them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from poblano.formats.float32 import NAN, FloatMultiply, named, register
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
        # op and x accompany the operation to the product that SILU needs.
        ops, xs = [named(m, "op_in", self.op, unsigned(3))], [self.x]
        for k in range(1, self.STAGES + 1):
            # Minus infinity times SILU's sigmoid, zero, would be a NaN.
            x = xs[-1] if k < self.STAGES else Mux(xs[-1] == 0xFF800000, 1 << 31, xs[-1])[:32]
            ops.append(register(m, self.en, f"r{k}_op", ops[-1]))
            xs.append(register(m, self.en, f"r{k}_x", x))

        fixed, case, negative = self._cases(m, ops[0])
        address, t, scale = self._segment(m, ops[1], xs[1], fixed)
        sigmoid = (ops[5] == SfuOp.SIGMOID) | (ops[5] == SfuOp.SILU)
        value = self._polynomial(m, address, t, sigmoid & xs[5][31])
        result = self._float(m, value, scale, case, negative)
        if self.product:
            result = self._times_x(m, result, ops[8], xs[8])
        m.d.comb += self.o.eq(result)
        return m

    def _late(self, m, name, value, first, last):
        """``value``, of a register of cycle ``first``, in cycle ``last``."""
        for k in range(first + 1, last + 1):
            value = register(m, self.en, f"r{k}_{name}", value)
        return value

    def _cases(self, m, op):
        """Cycle 1: |x| in units of 2**-24, rounded down; cases that need no arithmetic, and whether their
        result is negative, in cycle 7."""
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
        shift = named(m, "shift", (133 - exponent)[:8])
        places = Mux(shift > 31, 31, shift)[:5]
        fixed = register(m, self.en, "r1_fixed", Cat(Const(0, 7), fraction, ~zero) >> places)
        r1_case = register(m, self.en, "r1_case", case)
        r1_negative = register(m, self.en, "r1_negative", negative)
        return fixed, self._late(m, "case", r1_case, 1, 7), self._late(m, "negative", r1_negative, 1, 7)

    def _segment(self, m, op, x, fixed):
        """Cycle 2: the segment's address, still combinational; position in it, from its middle, and, in
        cycle 7, exponent of the result."""
        exponent = x[23:31]
        both = named(m, "both", Mux(x[31], -fixed, fixed), signed(32))
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
        # A segment is stored by its middle: t becomes signed.
        r2_t = register(m, self.en, "r2_t", Cat(t[:-1], ~t[-1]).as_signed(), signed(T_BITS))
        r2_scale = register(m, self.en, "r2_scale", scale)
        return address, r2_t, self._late(m, "scale", r2_scale, 2, 6)

    def _polynomial(self, m, address, t, opposite):
        """Cycles 2 to 6: the polynomial, from 0 to 2; the sigmoid of a negative number is 1 less that of its
        ``opposite``."""
        # Cycle 2: coefficients.
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
        m.d.comb += [port.addr.eq(address), port.en.eq(self.en)]
        c0 = named(m, "c0", port.data[:C0_BITS])
        c1 = named(m, "c1", port.data[C0_BITS : C0_BITS + C1_BITS].as_signed())
        c2 = named(m, "c2", port.data[C0_BITS + C1_BITS :].as_signed())

        # Cycle 3: c2 t.
        r3_product = register(m, self.en, "r3_product", t * c2)
        r3_c1 = register(m, self.en, "r3_c1", c1)
        r3_t = register(m, self.en, "r3_t", t)

        # Cycle 4: c1 + c2 t.
        half = 1 << T_BITS - 1
        inner = named(m, "inner", r3_c1 + ((r3_product + half) >> T_BITS), signed(C1_BITS + 1))
        r4_inner = register(m, self.en, "r4_inner", inner)
        r4_t = register(m, self.en, "r4_t", r3_t)

        # Cycle 5: (c1 + c2 t) t.
        r5_product = register(m, self.en, "r5_product", r4_t * r4_inner)
        r5_c0 = self._late(m, "c0", c0, 2, 5)

        # Cycle 6: the sum.
        value = named(m, "value", r5_c0 + ((r5_product + half) >> T_BITS), unsigned(FRACTION_BITS + 2))
        return register(
            m, self.en, "r6_value", Mux(opposite, (1 << FRACTION_BITS) - value, value)[: FRACTION_BITS + 2]
        )

    def _float(self, m, normal, scale, case, negative):
        """Cycles 7 and 8: the value, or the case's, as a number."""
        # Cycle 7: normalise.
        count = []
        for step in (16, 8, 4, 2, 1):
            bit = named(m, f"zeros_{step}", normal[-step:] == 0)
            normal = named(m, f"normal_{step}", Mux(bit, normal.shift_left(step)[: len(normal)], normal))
            count.append(bit)
        r7_normal = register(m, self.en, "r7_normal", normal)
        exponent = scale + (127 + 1) - Cat(*reversed(count))
        r7_exponent = register(m, self.en, "r7_exponent", exponent, signed(11))

        # Cycle 8: round. The hidden bit and a carry count up the exponent.
        significand = r7_normal[4:]
        up = r7_normal[3] & ((r7_normal[:3] != 0) | significand[0])
        rounded = named(
            m, "rounded", Cat(Const(0, 23), r7_exponent - 1).as_signed() + significand + up, signed(35)
        )
        magnitude = Signal(31)
        with m.Switch(case):
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
        return register(m, self.en, "r8_result", Cat(magnitude, negative & (case != _NAN)))

    def _times_x(self, m, result, op, x):
        """Cycles 9 to 11: SILU's product; PASS comes in the last of them."""
        multiply = place(m, "multiply", FloatMultiply(registered=False))
        m.d.comb += [multiply.a.eq(result), multiply.b.eq(x), multiply.en.eq(self.en)]
        is_silu = self._late(m, "is_silu", op == SfuOp.SILU, self.STAGES, self.LATENCY - 1)
        other = self._late(m, "other", result, self.STAGES, self.LATENCY - 1)
        last = Mux(self.op == SfuOp.PASS, self.x, Mux(is_silu, multiply.o, other))
        return register(m, self.en, f"r{self.LATENCY}_o", last)
