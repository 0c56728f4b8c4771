"""Operands of the array from the values that codes have: independent of the gates that decode them."""

from amaranth.hdl import Shape
import numpy as np

from poblano.formats.element import Element

__all__ = ["item_operands", "operand", "packed"]


def operand(element, code, layout, *, symmetric=False):
    """A dict of the operand of ``code``, from the format's values."""
    form = element.format
    value = float(form.values[code & (1 << form.bits) - 1])
    bits = Shape.cast(layout["special"].shape).width
    if np.isnan(value):
        return {"significand": 1, "exponent": 0, "special": (1 << bits) - 1}
    if np.isinf(value):
        return {"significand": 1 if value > 0 else -1, "exponent": 0, "special": 1 if value > 0 else 2}
    number = int(np.ldexp(value, -form.quantum))
    if symmetric and element is Element.S8:
        number = max(number, -127)
    exponent = 0 if form.fixed else max((code >> form.mantissa_bits & (1 << form.exponent_bits) - 1) - 1, 0)
    assert number % (1 << exponent) == 0
    return {"significand": number >> exponent, "exponent": exponent, "special": 0}


def packed(layout, values):
    """The bits, an integer, of ``values`` in ``layout``."""
    return layout.const(values).as_bits()


def item_operands(w, fp4_rate, dual):
    """Rows of operand dicts as the array's weights: with ``fp4_rate`` 2 in halves, of ``dual`` ones two
    rows in one."""
    if fp4_rate == 1:
        return w

    def pair(low, high):
        return {
            "low": low["significand"],
            "high": high["significand"],
            "dual": 1,
            "exponent": 0,
            "special": 0,
        }

    def whole(x):
        return {
            "low": x["significand"] & 15,
            "high": x["significand"] >> 4,
            "dual": 0,
            "exponent": x["exponent"],
            "special": x["special"],
        }

    if dual:
        return [[pair(x, y) for x, y in zip(*rows)] for rows in zip(w[0::2], w[1::2])]
    return [[whole(x) for x in row] for row in w]
