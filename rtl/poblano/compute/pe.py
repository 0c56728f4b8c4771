"""A processing element: one weight, one multiplication a cycle."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..formats.element import Arithmetic
from ..formats.multiply import multiply

__all__ = ["PE"]

NARROW = 4
"""Bits of the lower part of a significand that two 4-bit weights share a register with."""


class PE(wiring.Component):
    """Multiplies the activations that pass by with its weight and adds to the sums that come down.

    Latency: 2 cycles from an activation to ``o_sum`` (4 with ``multiplier_registers``), 1 from ``i_sum``.

    All state moves only while ``en``. Activations with their ``swap`` flag leave to the right after one
    cycle. A weight that flows past leaves down (and right) after one cycle; with a capture flag it is also
    kept in the shadow register. ``swap`` makes the shadow the active weight, from the activation it came
    with on; a capture in the same cycle is too late for it. ``o_sum`` is ``i_sum`` plus the
    exact product of the operands' significands times two to the sum of their exponents; with ``fp4_rate`` 2
    and a dual weight, the products of both weights with one activation each. Specials are OR-ed; the value
    of a sum with a special means nothing.

    Parameters
    ----------
    arithmetic : Arithmetic
    transpose : whether weights can also flow from left to right
    multiplier : one of :data:`~poblano.formats.multiply.MULTIPLIERS`
    multiplier_registers : whether the multiplier has registers at its inputs and its output

    Members
    -------
    en : In(1)
    i_a, o_a : activation_lane, flowing right
    i_swap, o_swap : the first activation of a new weight, flowing right
    i_w, o_w : weight_operand, flowing down
    i_capture, o_capture : keep the weight, flowing right
    i_sum, o_sum : sum_layout, flowing down

    With ``transpose`` also:

    i_across, o_across : take the weight from the left, flowing right
    i_left : In(weight_operand), the left neighbour's ``o_w``
    i_capture_down, o_capture_down : keep the weight, flowing down
    """

    def __init__(self, *, arithmetic: Arithmetic, transpose, multiplier="dsp", multiplier_registers=False):
        self.arithmetic, self.transpose = arithmetic, transpose
        self.multiplier, self.multiplier_registers = multiplier, multiplier_registers
        lane, operand, total = arithmetic.activation_lane, arithmetic.weight_operand, arithmetic.sum_layout
        members = {
            "en": In(1),
            "i_a": In(lane),
            "o_a": Out(lane),
            "i_swap": In(1),
            "o_swap": Out(1),
            "i_w": In(operand),
            "o_w": Out(operand),
            "i_capture": In(1),
            "o_capture": Out(1),
            "i_sum": In(total),
            "o_sum": Out(total),
        }
        if transpose:
            members |= {
                "i_across": In(1),
                "o_across": Out(1),
                "i_left": In(operand),
                "i_capture_down": In(1),
                "o_capture_down": Out(1),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        arithmetic = self.arithmetic
        operand = arithmetic.weight_operand
        a = Signal(arithmetic.activation_lane, reset_less=True)
        flow, shadow, active = (
            Signal(operand, name=name, reset_less=True) for name in ("flow", "shadow", "active")
        )
        total = Signal(arithmetic.sum_layout, reset_less=True)
        swap, capture = Signal(), Signal()
        m.d.comb += [
            self.o_a.eq(a),
            self.o_swap.eq(swap),
            self.o_w.eq(flow),
            self.o_capture.eq(capture),
            self.o_sum.eq(total),
        ]
        weight, keep = self.i_w.as_value(), self.i_capture
        if self.transpose:
            across, capture_down = Signal(), Signal()
            m.d.comb += [self.o_across.eq(across), self.o_capture_down.eq(capture_down)]
            weight, keep = (
                Mux(self.i_across, self.i_left.as_value(), weight),
                self.i_capture | self.i_capture_down,
            )
        operands = a, active
        if self.multiplier_registers:
            operands = tuple(
                Signal(signal.shape(), name=f"{signal.as_value().name}_operand", reset_less=True)
                for signal in operands
            )
        value, special = (self._product if arithmetic.fp4_rate == 1 else self._products)(m, *operands)
        if self.multiplier_registers:
            product = value, special
            value = Signal(product[0].shape(), name="product", reset_less=True)
            special = Signal(arithmetic.special_bits, name="product_special", reset_less=True)
        with m.If(self.en):
            if self.multiplier_registers:
                m.d.sync += [
                    operands[0].eq(a),
                    operands[1].eq(active),
                    value.eq(product[0]),
                    special.eq(product[1]),
                ]
            m.d.sync += [
                a.eq(self.i_a),
                swap.eq(self.i_swap),
                flow.as_value().eq(weight),
                capture.eq(self.i_capture),
                total.value.eq(self.i_sum.value + value),
                total.special.eq(self.i_sum.special | special),
            ]
            if self.transpose:
                m.d.sync += [across.eq(self.i_across), capture_down.eq(self.i_capture_down)]
            with m.If(keep):
                m.d.sync += shadow.as_value().eq(weight)
            with m.If(self.i_swap):
                m.d.sync += active.eq(shadow)
        return m

    def _multiply(self, m, name, a, significand, exponent):
        """``a`` times ``significand`` shifted left by ``exponent``; exponents may have no bits."""
        product = multiply(m, a.significand, significand, multiplier=self.multiplier, name=name)
        shift = [e for e in (a.exponent, exponent) if len(e)]
        return product << sum(shift[1:], shift[0]) if shift else product

    def _product(self, m, a, w):
        return self._multiply(m, "product", a, w.significand, w.exponent), self._special(
            a, w.special, w.significand[-1], w.significand == 0
        )

    def _products(self, m, a, w):
        """Of two weights, or of the halves of one with the same activation."""
        low = self._multiply(m, "low_product", a[0], w.low, w.exponent)
        high = self._multiply(m, "high_product", a[1], w.high, w.exponent)
        first = self._special(
            a[0], w.special, Mux(w.dual, w.low[-1], w.high[-1]), (w.low == 0) & (w.dual | (w.high == 0))
        )
        second = self._special(a[1], w.special, w.high[-1], w.high == 0)
        return low + Mux(w.dual, high, high << NARROW), first | Mux(w.dual, second, 0)

    def _special(self, a, special, sign, zero):
        """The product's special, of a weight that has ``special`` and ``sign`` and is ``zero`` or not."""
        bits = self.arithmetic.special_bits
        if bits < 2:
            return a.special | special
        nan = (
            a.special.all()
            | special.all()
            | (a.special.any() & zero)
            | (special.any() & (a.significand == 0))
        )
        infinite, negative = a.special.any() | special.any(), a.significand[-1] ^ sign
        return Cat(nan | infinite & ~negative, nan | infinite & negative)
