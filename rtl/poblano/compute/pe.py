"""A processing element: one weight, one multiplication a cycle."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PE"]


class PE(wiring.Component):
    """Multiplies the activations that pass by with its weight and adds to the sums that come down.

    All state moves only while ``en``. Activations with their ``swap`` flag leave to the right after one cycle. A weight
    that flows past leaves down (and right) after one cycle; with a capture flag it is also kept in the shadow register.
    ``swap`` makes the shadow the active weight, from the activation it came with on; a capture in the same cycle is too
    late for it. ``o_sum``, after two cycles for the activation and one for ``i_sum``, is ``i_sum`` + activation * weight.

    Parameters
    ----------
    sum_width : bits of a sum
    transpose : whether weights can also flow from left to right

    Members
    -------
    en : In(1)
    i_a, o_a : signed(8), activations, flowing right
    i_swap, o_swap : the first activation of a new weight, flowing right
    i_w, o_w : signed(8), weights, flowing down
    i_capture, o_capture : keep the weight, flowing right
    i_sum, o_sum : signed(sum_width), flowing down

    With ``transpose`` also:

    i_across, o_across : take the weight from the left, flowing right
    i_left : In(signed(8)), the left neighbour's ``o_w``
    i_capture_down, o_capture_down : keep the weight, flowing down
    """

    def __init__(self, *, sum_width, transpose):
        self.sum_width, self.transpose = sum_width, transpose
        members = {
            "en": In(1),
            "i_a": In(signed(8)), "o_a": Out(signed(8)),
            "i_swap": In(1), "o_swap": Out(1),
            "i_w": In(signed(8)), "o_w": Out(signed(8)),
            "i_capture": In(1), "o_capture": Out(1),
            "i_sum": In(signed(sum_width)), "o_sum": Out(signed(sum_width)),
        }
        if transpose:
            members |= {
                "i_across": In(1), "o_across": Out(1), "i_left": In(signed(8)),
                "i_capture_down": In(1), "o_capture_down": Out(1),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        a = Signal(signed(8), reset_less=True)
        flow = Signal(signed(8), reset_less=True)
        shadow = Signal(signed(8), reset_less=True)
        active = Signal(signed(8), reset_less=True)
        total = Signal(signed(self.sum_width), reset_less=True)
        swap, capture = Signal(), Signal()
        m.d.comb += [self.o_a.eq(a), self.o_swap.eq(swap), self.o_w.eq(flow), self.o_capture.eq(capture), self.o_sum.eq(total)]
        weight, keep = self.i_w, self.i_capture
        if self.transpose:
            across, capture_down = Signal(), Signal()
            m.d.comb += [self.o_across.eq(across), self.o_capture_down.eq(capture_down)]
            weight, keep = Mux(self.i_across, self.i_left, self.i_w), self.i_capture | self.i_capture_down
        with m.If(self.en):
            m.d.sync += [a.eq(self.i_a), swap.eq(self.i_swap), flow.eq(weight), capture.eq(self.i_capture),
                         total.eq(self.i_sum + a * active)]
            if self.transpose:
                m.d.sync += [across.eq(self.i_across), capture_down.eq(self.i_capture_down)]
            with m.If(keep):
                m.d.sync += shadow.eq(weight)
            with m.If(self.i_swap):
                m.d.sync += active.eq(shadow)
        return m
