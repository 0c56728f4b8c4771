"""The processing element: products, sums and specials."""

from functools import partial

from amaranth.hdl import *
from amaranth.lib import data

from poblano.compute.pe import PE
from poblano.formats.element import Arithmetic

from .harness import Harness, Mutation, Property


class Multiply(Harness):
    """Everything is free, in any order. The specification keeps the last weight captured and the one active;
    it is tied to the block's own registers, of which nothing is known until a weight has been captured and
    swapped in."""

    def __init__(self, formats, fp4_rate=1, multiplier="dsp", transpose=True, registered=False):
        super().__init__()
        self.arithmetic = Arithmetic(formats, fp4_rate)
        self.multiplier, self.transpose, self.registered = multiplier, transpose, registered

    def prove(self, m):
        pe, inside = self.peek(
            "dut",
            PE(
                arithmetic=self.arithmetic,
                transpose=self.transpose,
                multiplier=self.multiplier,
                multiplier_registers=self.registered,
            ),
        )
        en = pe.en
        weight, keep = pe.i_w.as_value(), pe.i_capture
        if self.transpose:
            self.assume(~pe.i_capture | ~pe.i_capture_left)
            weight = Mux(pe.i_capture_left, pe.i_left.as_value(), weight)
            keep = pe.i_capture | pe.i_capture_left
        operand, lane = self.arithmetic.weight_operand, self.arithmetic.activation_lane
        shadow, active = Signal(operand, reset_less=True), Signal(operand, reset_less=True)
        captured, ready = Signal(), Signal()
        with m.If(en):
            with m.If(keep):
                m.d.sync += [shadow.as_value().eq(weight), captured.eq(1)]
            with m.If(pe.i_swap):
                m.d.sync += [active.eq(shadow), ready.eq(captured)]
        self.check("shadow", ~captured | (shadow.as_value() == inside["shadow"]))
        self.check("active", ~ready | (active.as_value() == inside["active"]))
        # The sum that must stand one enabled cycle later, of the block's own registers, which are equal:
        # the solver need not compare two multipliers with different inputs.
        own_a, own = pe.i_a, data.View(operand, inside["active" + "_operand" * self.registered])
        if self.registered:
            own_a = data.View(lane, inside["a_operand"])
        legal = Const(1)
        if self.arithmetic.fp4_rate == 2:
            # A weight that is not dual is low + 16*high; both activations are the same then.
            legal = active.dual | (pe.i_a[0].as_value() == pe.i_a[1].as_value())
            pairs = [(own_a[0], own.low), (own_a[1], own.high)]
        else:
            pairs = [(own_a, own.significand)]
        products = [_shift(x.significand * w, x.exponent, own.exponent) for x, w in pairs]
        product, product_known = products[0], ready & legal
        if self.registered:
            operands_known = Signal()
            with m.If(en):
                m.d.sync += operands_known.eq(product_known)
            for name, signal, value in (("activation", pe.i_a, own_a), ("weight", active, own)):
                before = Signal.like(signal.as_value(), name=f"{name}_before", reset_less=True)
                with m.If(en):
                    m.d.sync += before.eq(signal)
                self.check(f"operand {name}", ~operands_known | (before == value.as_value()))
            product_known = operands_known
        if self.arithmetic.fp4_rate == 2:
            product = product + Mux(own.dual, products[1], products[1] * 16)
        if self.registered:
            kept, kept_known = Signal.like(inside["product"], name="kept", reset_less=True), Signal()
            with m.If(en):
                m.d.sync += [kept.eq(product), kept_known.eq(product_known)]
            self.check("product", ~kept_known | (kept == inside["product"]))
            product, product_known = kept, kept_known
        exact = pe.i_sum.value + product
        total = Signal.like(pe.o_sum.value, reset_less=True)
        known = Signal()
        with m.If(en & pe.i_valid):
            m.d.sync += [total.eq(exact), known.eq(product_known)]
        self.check("sum", ~known | (pe.o_sum.value == total))
        if self.arithmetic.special_bits:
            special = Signal.like(pe.o_sum.special, reset_less=True)
            ((x, w),) = pairs
            with m.If(en & pe.i_valid):
                m.d.sync += special.eq(pe.i_sum.special | self._special(x, own.special, w))
            self.check("special", ~known | (pe.o_sum.special == special))
            self.cover("special", known & (special != 0))
        self.cover("product", known & (total == 3))

    def _special(self, a, special, weight):
        """NaN alone; or plus infinity, minus infinity, and both for NaN, by IEEE-754's rules for a
        product."""
        if self.arithmetic.special_bits == 1:
            return a.special | special
        a_nan, w_nan = a.special == 3, special == 3
        a_inf, w_inf = (a.special == 1) | (a.special == 2), (special == 1) | (special == 2)
        nan = a_nan | w_nan | (a_inf & (weight == 0)) | (w_inf & (a.significand == 0))
        negative = (a.significand < 0) ^ (weight < 0)
        return Mux(nan, 3, Mux(a_inf | w_inf, Mux(negative, 2, 1), 0))


def _shift(product, *exponents):
    """``product`` times two to the sum of ``exponents``, one of whose values is chosen."""
    exponents = [exponent for exponent in exponents if len(exponent)]
    if not exponents:
        return product
    total = sum(exponents[1:], exponents[0])
    result = product
    for bit in range(len(total)):
        result = Mux(total[bit], result * 2 ** (1 << bit) if bit < 6 else 0, result)
    return result


MODULE, MULTIPLY = "poblano.compute.pe", "poblano.formats.multiply"
PROPERTIES = (
    *(
        Property(
            "-".join(formats)
            + "-dual" * (rate == 2)
            + "-lut" * (multiplier == "lut")
            + "-registered" * bool(registered),
            partial(Multiply, formats, rate, multiplier, registered=registered),
            "the sum is i_sum plus the product with the weight that is active, specials follow IEEE-754; "
            "without i_valid it stays",
            method="induction",
            depth=2,
            frames=7,
            mutations=mutations,
            timeout=300,
        )
        for formats, rate, multiplier, registered, mutations in (
            (
                ("int8",),
                1,
                "dsp",
                True,
                (
                    Mutation("not registered", MODULE, "value.eq(product[0])", "value.eq(0)"),
                    Mutation(
                        "weight not registered", MODULE, "operands[1].eq(active)", "operands[1].eq(shadow)"
                    ),
                ),
            ),
            (
                ("int8",),
                1,
                "dsp",
                False,
                (
                    Mutation(
                        "no sum", MODULE, "total.value.eq(self.i_sum.value + value)", "total.value.eq(value)"
                    ),
                    Mutation("moves always", MODULE, "with m.If(self.en):", "with m.If(1):"),
                    Mutation("sums always", MODULE, "with m.If(self.i_valid):", "with m.If(1):"),
                    Mutation("never from the left", MODULE, "self.i_left.as_value() & left", "0"),
                    Mutation(
                        "late capture",
                        MODULE,
                        "m.d.sync += active.eq(shadow)",
                        "m.d.sync += active.as_value().eq(Mux(keep, weight, shadow.as_value()))",
                    ),
                ),
            ),
            (
                ("mxfp8_e5m2",),
                1,
                "dsp",
                False,
                (
                    Mutation(
                        "no exponent",
                        MODULE,
                        "shift = [e for e in (a.exponent, exponent) if len(e)]",
                        "shift = [a.exponent]",
                    ),
                    Mutation("infinity times zero", MODULE, "(a.special.any() & zero)", "C(0)"),
                    Mutation("sign", MODULE, "a.significand[-1] ^ sign", "sign"),
                ),
            ),
            (("mxfp8_e4m3",), 1, "dsp", False, ()),
            (
                ("int8", "int4"),
                2,
                "dsp",
                False,
                (
                    Mutation(
                        "never dual",
                        MODULE,
                        "low + Mux(w.dual, high, high << NARROW)",
                        "low + (high << NARROW)",
                    ),
                ),
            ),
            (
                ("int8",),
                1,
                "lut",
                False,
                (
                    Mutation(
                        "top row added",
                        MULTIPLY,
                        "upper - high if negative else upper + high",
                        "upper + high",
                    ),
                ),
            ),
        )
    ),
)
