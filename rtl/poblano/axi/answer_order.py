"""Answers in any order, in order."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["AnswerOrder"]


class AnswerOrder(wiring.Component):
    """Keeps the answers to bursts, which come in any order, and gives them in the order of the bursts.

    Latency: 1 cycle from an answer to its offer, if those before it have been given.

    The bursts' ids count up from 0, and begin again after ``outstanding``; at most so many have no answer
    that has been given.

    Parameters
    ----------
    outstanding : bursts, a power of two

    Members
    -------
    valid : In(1), an answer comes
    id : In, of its burst
    bad : In(1), it is an error
    o : Out(stream(1)), whether the next burst's answer is an error
    """

    def __init__(self, *, outstanding):
        self.outstanding = outstanding
        super().__init__(
            {"valid": In(1), "id": In(ceil_log2(outstanding)), "bad": In(1), "o": Out(stream.Signature(1))}
        )

    def elaborate(self, platform):
        m = Module()
        answered, bad = Signal(self.outstanding), Signal(self.outstanding)
        turn = Signal.like(self.id)
        m.d.comb += [
            self.o.valid.eq(answered.bit_select(turn, 1)),
            self.o.payload.eq(bad.bit_select(turn, 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [answered.bit_select(turn, 1).eq(0), turn.eq(turn + 1)]
        with m.If(self.valid):
            m.d.sync += [answered.bit_select(self.id, 1).eq(1), bad.bit_select(self.id, 1).eq(self.bad)]
        return m
