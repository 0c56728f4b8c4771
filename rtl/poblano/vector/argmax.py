"""The largest of a command's elements, and where it is."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import BLOCK
from ..formats.float32 import NAN

__all__ = ["Argmax"]


class Argmax(wiring.Component):
    """The first of the largest elements, and its index; NaN never wins. A search can go on from the one
    before.

    Latency: ``lanes + 2`` cycles from the beat with ``last`` to the value.

    A beat a cycle. After the beat with ``last`` no more are accepted until both results, the value and then
    the index, are out. Reset forgets the search before: value NaN, index 0.

    Parameters
    ----------
    lanes : numbers in a beat, a power of two from 2 to 32

    Members
    -------
    fresh : In(1), 1: the search does not go on from the one before; index : In(32), of the first element.
        Constant during a search.
    i : In(stream), ``data``: ``lanes`` FP32, and ``last``: the search's last beat
    o : Out(stream(32)), FP32 value, then index
    """

    def __init__(self, lanes):
        if not isinstance(lanes, int) or not 2 <= lanes <= BLOCK or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 2 to {BLOCK}, not {lanes!r}")
        self.lanes = lanes
        super().__init__(
            {
                "fresh": In(1),
                "index": In(32),
                "i": In(
                    stream.Signature(data.StructLayout({"data": data.ArrayLayout(32, lanes), "last": 1}))
                ),
                "o": Out(stream.Signature(32)),
            }
        )

    @property
    def latency(self):
        """Cycles from the last beat to both results."""
        return self.lanes + 3

    def elaborate(self, platform):
        m = Module()
        lanes, lane_bits = self.lanes, exact_log2(self.lanes)

        # Cycle 1: keys that order numbers as unsigned integers; 0 is less than any number.
        accept, valid = Signal(), Signal()
        beat, r1_beat = Signal(32 - lane_bits), Signal(32 - lane_bits, reset_less=True)
        m.d.comb += accept.eq(self.i.valid & self.i.ready)
        m.d.sync += [valid.eq(accept), r1_beat.eq(beat)]
        with m.If(accept):
            m.d.sync += beat.eq(Mux(self.i.payload.last, 0, beat + 1))
        keys = [Signal(33, name=f"key{lane}", reset_less=True) for lane in range(lanes)]
        for x, key in zip(self.i.payload.data, keys):
            m.d.sync += key.eq(Mux(x[:31] > 0x7F800000, 0, Cat(Mux(x[31], ~x, Cat(x[:31], 1)), 1)))

        # Cycle 2: each lane's best.
        best_keys = [Signal(33, name=f"best_key{lane}") for lane in range(lanes)]
        best_beats = [
            Signal(32 - lane_bits, name=f"best_beat{lane}", reset_less=True) for lane in range(lanes)
        ]
        for key, best_key, best_beat in zip(keys, best_keys, best_beats):
            with m.If(valid & (key > best_key)):
                m.d.sync += [best_key.eq(key), best_beat.eq(r1_beat)]

        # Then the lanes' best, lane 0 first, each out of its register.
        key, index = Signal(33), Signal(32)
        before = Signal()  # the best so far is an earlier search's
        found = Signal(32 - lane_bits)
        lane = Signal(lane_bits)
        with m.FSM():
            with m.State("SEARCH"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(accept & self.i.payload.last):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += before.eq(1)
                with m.If(self.fresh):
                    m.d.sync += [key.eq(0), index.eq(0)]
                m.next = "COMBINE"
            with m.State("COMBINE"):
                with m.If((best_keys[0] > key) | ((best_keys[0] == key) & ~before & (best_beats[0] < found))):
                    m.d.sync += [
                        key.eq(best_keys[0]),
                        found.eq(best_beats[0]),
                        before.eq(0),
                        index.eq(self.index + Cat(lane, best_beats[0])),
                    ]
                m.d.sync += [best.eq(following) for best, following in zip(best_keys, [*best_keys[1:], C(0)])]
                m.d.sync += [best.eq(following) for best, following in zip(best_beats, best_beats[1:])]
                m.d.sync += lane.eq(lane + 1)
                with m.If(lane == lanes - 1):
                    m.next = "VALUE"
            with m.State("VALUE"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(Mux(key[32], Mux(key[31], key[:31], ~key[:32]), NAN)),
                ]
                with m.If(self.o.ready):
                    m.next = "INDEX"
            with m.State("INDEX"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(index)]
                with m.If(self.o.ready):
                    m.next = "SEARCH"
        return m
