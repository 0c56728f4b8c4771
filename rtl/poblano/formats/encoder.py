"""FP32 numbers to the elements of the MX formats, without a multiplier."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ElementEncoder", "select"]


def select(activation, table):
    """The entry of ``table`` (Values or integers by :class:`.Activation`) of the number ``activation`` (a
    Value)."""
    (_, result), *others = table.items()
    for choice, value in others:
        result = Mux(activation == choice, value, result)
    return Value.cast(result)


@dataclass(frozen=True)
class _Parameters:
    """How an MX element is rounded: integers are numbers of which all are subnormal."""

    fraction: int  # bits below the significand's hidden bit
    least: int  # exponent of subnormals
    top: int  # largest exponent, counted from the least
    limit: int  # largest significand at the largest exponent

    @classmethod
    def of(cls, activation):
        form = activation.element.format
        fraction, least = (
            (form.mantissa_bits, 1 - form.bias) if form.exponent_bits else (-activation.quantum, 0)
        )
        top = form.max_exponent - least if form.exponent_bits else 0
        return cls(fraction, least, top, activation.largest >> top)


class ElementEncoder(wiring.Component):
    """``x / 2**(exponent - 127)`` as an element, rounded to nearest even and clamped;
    :meth:`.ElementFormat.encode` is exact about it (of ``64 * x`` for MXINT8).

    ``code`` and ``value`` follow the inputs after ``LATENCY`` cycles in which ``en`` is 1; one element a
    cycle. Subnormal ``x`` are encoded exactly too, zeros of floating-point elements keep their sign. The
    magnitude of ``x`` must be less than twice the power of two that the format's largest element has, times
    the scale; NaN and infinity only come with an ``exponent`` of 255.

    Parameters
    ----------
    activations : the :class:`.Activation` formats, all of them MX

    Members
    -------
    activation : In(3), one of ``activations``; constant while there is anything in the pipeline
    x : In(32)
    exponent : In(8), the scale's exponent plus 127; 255: the scale is NaN, the element is zero, without a
        sign
    code : Out(8), the element; bits above it are 0
    value : Out(signed), the element in quanta of the format
    en : In(1), the pipeline advances
    """

    LATENCY = 3

    def __init__(self, activations):
        self.activations = tuple(activations)
        if not self.activations or not all(a.mx for a in self.activations):
            raise ValueError(f"activations must be MX formats, not {activations!r}")
        super().__init__(
            {
                "activation": In(3),
                "x": In(32),
                "exponent": In(8),
                "en": In(1),
                "code": Out(8),
                "value": Out(signed(max(a.largest for a in self.activations).bit_length() + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        parameters = {a: _Parameters.of(a) for a in self.activations}
        choose = lambda value: select(self.activation, {a: value(p) for a, p in parameters.items()})

        def register(name, value):
            signal = Signal(Value.cast(value).shape(), name=name, reset_less=True)
            with m.If(self.en):
                m.d.sync += signal.eq(value)
            return signal

        # Cycle 1: how far the significand shifts right, and the element's exponent, counted from its least.
        normal = self.x[23:31] != 0
        significand = Cat(self.x[:23], normal)
        # A subnormal x can have a normal element: the zeros above its first one, as many as make a
        # difference.
        depth = max(1 - p.least for p in parameters.values())
        zeros = Signal(range(depth + 1))
        with m.If(~normal):
            m.d.comb += zeros.eq(depth)
            for count in reversed(range(1, depth)):
                with m.If(self.x[23 - count]):
                    m.d.comb += zeros.eq(count)
        below, above = Signal(signed(10)), Signal(signed(10))
        shift, exponent = Signal(5), Signal(range(max(p.top for p in parameters.values()) + 1))
        m.d.comb += [
            below.eq(self.exponent + choose(lambda p: p.least) - (self.x[23:31] | ~normal)),
            above.eq(-(below + zeros)),
        ]
        # The shift keeps one more bit than the significand has, to round by. With 9 more of them nothing is
        # left.
        with m.If(above > 0):
            m.d.comb += [shift.eq(choose(lambda p: 22 - p.fraction) - zeros), exponent.eq(above)]
        with m.Else():
            m.d.comb += shift.eq(Mux(below > 8, 31, choose(lambda p: 22 - p.fraction) + below))
        r1_significand = register("r1_significand", significand)
        r1_shift, r1_exponent = register("r1_shift", shift), register("r1_exponent", exponent)
        nan = self.exponent == 0xFF
        r1_nan, r1_sign = register("r1_nan", nan), register("r1_sign", self.x[31] & ~nan)

        # Cycle 2: shift and round. What is left has 8 bits; each step keeps what the steps after it can
        # shift into them.
        rest, sticky = r1_significand, C(0, 1)
        for step in (16, 8, 4, 2, 1):
            move = r1_shift & step != 0
            sticky = sticky | move & (rest[:step] != 0)
            shifted = Signal(min(24, 8 + step - 1), name=f"shifted_{step}")
            m.d.comb += shifted.eq(Mux(move, rest >> step, rest))
            rest = shifted
        steps = (rest[1:] + (rest[0] & (sticky | rest[1])))[:8]
        r2_steps, r2_exponent = (
            register("r2_steps", Mux(r1_nan, 0, steps)),
            register("r2_exponent", Mux(r1_nan, 0, r1_exponent)),
        )
        sign = register("r2_sign", r1_sign)

        # Cycle 3: clamp and pack. A carry out of the significand, and the hidden bit, count up the exponent.
        over = (r2_exponent == choose(lambda p: p.top)) & (r2_steps > choose(lambda p: p.limit))
        clamped, magnitude = Signal(7), Signal(7)
        m.d.comb += [
            clamped.eq(Mux(over, choose(lambda p: p.limit), r2_steps)),
            magnitude.eq(choose(lambda p: (r2_exponent << p.fraction) + clamped if p.top else clamped)),
        ]
        code = select(
            self.activation,
            {
                a: (
                    Cat(magnitude[: a.element.format.bits - 1], sign)
                    if a.element.format.exponent_bits
                    else Mux(sign, -magnitude, magnitude)[:8]
                )
                for a in self.activations
            },
        )
        integer = (clamped << r2_exponent)[: len(self.value) - 1]
        m.d.comb += [
            self.code.eq(register("r3_code", code[:8])),
            self.value.eq(register("r3_value", Mux(sign, -integer, integer)[: len(self.value)].as_signed())),
        ]
        return m
