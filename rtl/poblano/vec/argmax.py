"""The place of the largest of many numbers."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ArgMax"]

NAN = 0x7FC00000


class ArgMax(wiring.Component):
    """Keeps the first of the largest numbers seen; NaN never counts. A beat a cycle.

    Parameters
    ----------
    lanes : elements in a beat

    Members
    -------
    i : In(stream of 32*lanes), elements in order.
    begin : In(1), before the first beat: counts elements from ``index``; forgets the best if ``first``.
    index : In(32), first : In(1)
    end : In(1), after the last beat: combines the lanes; ``ready`` rises ``lanes + 2`` cycles later.
    ready : Out(1), until the next ``begin``.
    value, at : Out(32), the best number (0x7FC00000 before any) and its index (0).
    """

    def __init__(self, *, lanes):
        self.lanes = lanes
        super().__init__({
            "i": In(stream.Signature(32 * lanes)),
            "begin": In(1), "index": In(32), "first": In(1), "end": In(1),
            "ready": Out(1), "value": Out(32), "at": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        best_key = Signal(33)  # above all: a number was seen; then bits that compare as the numbers do
        counter = Signal(32)
        keys = [Signal(33, name=f"key{n}") for n in range(self.lanes)]
        places = [Signal(32, name=f"place{n}") for n in range(self.lanes)]
        step, combining = Signal(range(self.lanes + 1)), Signal()
        candidate, candidate_place = Signal(33), Signal(32)
        m.d.comb += self.i.ready.eq(1)
        with m.If(self.i.valid):
            m.d.sync += counter.eq(counter + self.lanes)
            for n in range(self.lanes):
                bits = self.i.payload.word_select(n, 32)
                nan = (bits[23:31] == 255) & (bits[:23] != 0)
                key = Cat(Mux(bits[31], ~bits, Cat(bits[:31], C(1, 1))), ~nan)
                with m.If(~nan & (key > keys[n])):
                    m.d.sync += [keys[n].eq(key), places[n].eq(counter + n)]
        with m.If(combining):
            m.d.sync += [*(a.eq(b) for a, b in zip(keys, keys[1:])), *(a.eq(b) for a, b in zip(places, places[1:]))]
            m.d.sync += step.eq(step + 1)
            with m.If(step == self.lanes):
                with m.If(candidate > best_key):
                    m.d.sync += [best_key.eq(candidate), self.at.eq(candidate_place)]
                m.d.sync += [combining.eq(0), self.ready.eq(1)]
            # Lanes are not in the order of their elements: among equals the lowest index wins.
            with m.Elif((step == 0) | (keys[0] > candidate) | (keys[0] == candidate) & (places[0] < candidate_place)):
                m.d.sync += [candidate.eq(keys[0]), candidate_place.eq(places[0])]
        number = Mux(best_key[31], best_key[:31], ~best_key[:31])
        m.d.comb += self.value.eq(Mux(best_key[32], Cat(number[:31], ~best_key[31]), NAN))
        with m.If(self.begin):
            m.d.sync += [self.ready.eq(0), counter.eq(self.index), *(key.eq(0) for key in keys)]
            with m.If(self.first):
                m.d.sync += [best_key.eq(0), self.at.eq(0)]
        with m.If(self.end):
            m.d.sync += [combining.eq(1), step.eq(0)]
        return m
