"""Two-operand FP32 arithmetic of one lane."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from poblano.formats.float32 import NAN, FloatAdd, FloatMultiply
from poblano.isa.vector_ops import AluOp
from poblano.verilog import gated_clock, place

__all__ = ["LaneALU"]


class LaneALU(wiring.Component):
    """One of :class:`~poblano.isa.vector_ops.AluOp`'s operations a cycle on binary32 numbers, rounded to
    nearest even.

    ``o`` follows ``op``, ``a`` and ``b`` after ``LATENCY`` cycles in which ``en`` is 1, whatever the
    operation but PASS; another can start in every such cycle. PASS takes ``PASS_LATENCY`` cycles, and must
    not come while there is another operation inside. It copies every bit of ``a``; any other operation's NaN
    result is :data:`~poblano.formats.float32.NAN`. MAX and MIN give a NaN if either operand
    is one, and order -0 before +0. The code 7 is reserved: its result is undefined.

    Members
    -------
    op : In(AluOp)
    a, b : In(32)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    op: In(AluOp)
    a: In(32)
    b: In(32)
    o: Out(32)
    en: In(1)

    LATENCY = FloatAdd.LATENCY
    PASS_LATENCY = 1
    assert FloatMultiply.LATENCY == LATENCY - 1

    def elaborate(self, platform):
        m = Module()
        op = Signal(3)
        m.d.comb += op.eq(self.op)

        adds, multiplies = op.matches(AluOp.ADD, AluOp.SUB, AluOp.RSUB), op == AluOp.MUL
        is_add = [Signal(name=f"r{k}_is_add", reset_less=True) for k in range(1, self.LATENCY)]
        is_multiply = [Signal(name=f"r{k}_is_multiply", reset_less=True) for k in range(1, self.LATENCY)]
        inside = lambda name, starts, later: gated_clock(m, name, starts | Cat(later).any())
        add = place(m, "add", FloatAdd(registered=False), clock=inside("add", adds, is_add))
        multiply = place(m, "multiply", FloatMultiply(), clock=inside("multiply", multiplies, is_multiply))
        m.d.comb += [
            add.a.eq(Cat(self.a[:31], self.a[31] ^ (op == AluOp.RSUB))),
            add.b.eq(Cat(self.b[:31], self.b[31] ^ (op == AluOp.SUB))),
            add.en.eq(self.en),
            multiply.a.eq(self.a),
            multiply.b.eq(self.b),
            multiply.en.eq(self.en),
        ]

        # Cycle 1: compare; the sign bit inverted, negative numbers inverted, order as unsigned integers.
        a_key = Signal(32)
        b_key = Signal(32)
        nan = Signal()
        take_b = Signal()
        m.d.comb += [
            a_key.eq(Mux(self.a[31], ~self.a, Cat(self.a[:31], 1))),
            b_key.eq(Mux(self.b[31], ~self.b, Cat(self.b[:31], 1))),
            nan.eq((self.a[:31] > 0x7F800000) | (self.b[:31] > 0x7F800000)),
            take_b.eq((a_key < b_key) ^ (op == AluOp.MIN)),
        ]
        r1_other = Signal(32, reset_less=True)
        r2_other = Signal(32, reset_less=True)
        r3_other = Signal(32, reset_less=True)
        r4_o = Signal(32, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                r1_other.eq(Mux(nan, NAN, Mux(take_b, self.b, self.a))),
                Cat(is_add).eq(Cat(adds, *is_add[:-1])),
                Cat(is_multiply).eq(Cat(multiplies, *is_multiply[:-1])),
                # Cycles 2 and 3: the others wait for the sum.
                r2_other.eq(r1_other),
                r3_other.eq(r2_other),
            ]
            # Cycle 4: whichever it is.
            with m.If(op == AluOp.PASS):
                m.d.sync += r4_o.eq(self.a)
            with m.Else():
                m.d.sync += r4_o.eq(Mux(is_add[-1], add.o, Mux(is_multiply[-1], multiply.o, r3_other)))
        m.d.comb += self.o.eq(r4_o)
        return m
