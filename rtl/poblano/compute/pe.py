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
    """Multiplies an activation with its weight and adds the product to the sum that comes down.

    Latency: 1 cycle from ``i_sum`` and ``i_a`` to ``o_sum``; with ``multiplier_registers`` 3 from ``i_a``.

    All state moves only while ``en``, and ``o_sum`` only with ``i_valid``: it is ``i_sum`` plus the exact
    product of the operands' significands times two to the sum of their exponents; with ``fp4_rate`` 2 and a
    dual weight, the products of both weights with one activation each. Specials are OR-ed; the value of a sum
    with a special means nothing. A capture flag keeps the weight that is there in the shadow register.
    ``i_swap`` makes the shadow the active weight, of the next cycle's activation on; a capture in the same
    cycle is too late for it. Both capture flags never come together.

    Parameters
    ----------
    arithmetic : Arithmetic
    transpose : whether weights can also come from the left
    multiplier : one of :data:`~poblano.formats.multiply.MULTIPLIERS`
    multiplier_registers : whether the multiplier has registers at its inputs and its output

    Members
    -------
    en : In(1)
    i_a : In(activation_lane)
    i_valid : In(1), the sum in ``i_sum`` gets a product; with ``multiplier_registers`` that of the activation
        two cycles before
    i_swap : In(1), the next activation is the first one of a new weight
    i_w : In(weight_operand), from above
    i_capture : In(1), keep the weight from above
    i_sum, o_sum : sum_layout, flowing down

    With ``transpose`` also:

    i_left : In(weight_operand), from the left
    i_capture_left : In(1), keep the weight from the left
    """

    def __init__(self, *, arithmetic: Arithmetic, transpose, multiplier="dsp", multiplier_registers=False):
        self.arithmetic, self.transpose = arithmetic, transpose
        self.multiplier, self.multiplier_registers = multiplier, multiplier_registers
        operand = arithmetic.weight_operand
        members = {
            "en": In(1),
            "i_a": In(arithmetic.activation_lane),
            "i_valid": In(1),
            "i_swap": In(1),
            "i_w": In(operand),
            "i_capture": In(1),
            "i_sum": In(arithmetic.sum_layout),
            "o_sum": Out(arithmetic.sum_layout),
        }
        if transpose:
            members |= {"i_left": In(operand), "i_capture_left": In(1)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        arithmetic = self.arithmetic
        shadow, active = (
            Signal(arithmetic.weight_operand, name=name, reset_less=True) for name in ("shadow", "active")
        )
        total = Signal(arithmetic.sum_layout, reset_less=True)
        m.d.comb += self.o_sum.eq(total)
        weight, keep = self.i_w.as_value(), self.i_capture
        if self.transpose:
            # Not a multiplexer: what passes on a bus for others changes nothing here.
            above, left = (flag.replicate(len(weight)) for flag in (self.i_capture, self.i_capture_left))
            weight = weight & above | self.i_left.as_value() & left
            keep = self.i_capture | self.i_capture_left
        operands = self.i_a, active
        if self.multiplier_registers:
            operands = tuple(
                Signal(signal.shape(), name=f"{name}_operand", reset_less=True)
                for name, signal in (("a", self.i_a), ("active", active))
            )
        value, special = (self._product if arithmetic.fp4_rate == 1 else self._products)(m, *operands)
        if self.multiplier_registers:
            product = value, special
            value = Signal(product[0].shape(), name="product", reset_less=True)
            special = Signal(arithmetic.special_bits, name="product_special", reset_less=True)
        with m.If(self.en):
            if self.multiplier_registers:
                m.d.sync += [
                    operands[0].eq(self.i_a),
                    operands[1].eq(active),
                    value.eq(product[0]),
                    special.eq(product[1]),
                ]
            with m.If(keep):
                m.d.sync += shadow.as_value().eq(weight)
            with m.If(self.i_swap):
                m.d.sync += active.eq(shadow)
            with m.If(self.i_valid):
                m.d.sync += [
                    total.value.eq(self.i_sum.value + value),
                    total.special.eq(self.i_sum.special | special),
                ]
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
