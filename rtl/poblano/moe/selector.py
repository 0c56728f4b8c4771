"""The experts of a row's largest values."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .order import KEY_BITS, key_of

__all__ = ["Selector"]


class Selector(wiring.Component):
    """Keeps the numbers of the ``used`` largest of a row's values, and gives them in ascending order.

    Latency: 1 cycle from a value to its place.

    Values come in the order of their numbers, one a cycle. Of equal ones the lower number is kept; NaN comes
    after all others, and -0 is below +0. Late values come after all that are not late.

    Parameters
    ----------
    experts : most values of a row; used : most that are kept

    Members
    -------
    start : In(1), a row begins: nothing is kept
    valid : In(1), value : In(32), the row's next value; skip : In(1), it is not kept; late : In(1)
    used : In, how many are kept, at least 1; constant
    number : Out, the lowest number that is kept and was not taken; last : Out(1), it is the only one
    take : In(1), it is taken; again : In(1), nothing is taken
    """

    def __init__(self, *, experts, used):
        self.experts, self.most = experts, used
        super().__init__(
            {
                "start": In(1),
                "valid": In(1),
                "value": In(32),
                "skip": In(1),
                "late": In(1),
                "used": In(range(used + 1)),
                "number": Out(ceil_log2(experts)),
                "last": Out(1),
                "take": In(1),
                "again": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number_bits = len(self.number)
        key = Signal(KEY_BITS + 1)
        next_number = Signal(number_bits)
        m.d.comb += key.eq(Cat(key_of(self.value), ~self.late))
        keys = [Signal(len(key), name=f"key{n}", reset_less=True) for n in range(self.most)]
        numbers = [Signal(number_bits, name=f"number{n}", reset_less=True) for n in range(self.most)]
        kept = Signal(self.most)
        # What is kept is sorted: a value moves all that are less by a place, and is put before them.
        stays = Signal(self.most)
        m.d.comb += stays.eq(Cat(full & (key <= its) for full, its in zip(kept, keys)))
        with m.If(self.valid):
            m.d.sync += next_number.eq(next_number + 1)
        with m.If(self.valid & ~self.skip):
            m.d.sync += kept.eq(Cat(1, kept))
            for n in range(self.most):
                with m.If(~stays[n]):
                    here = stays[n - 1] if n else C(1)
                    m.d.sync += [
                        keys[n].eq(Mux(here, key, keys[n - 1])),
                        numbers[n].eq(Mux(here, next_number, numbers[n - 1])),
                    ]
        with m.If(self.start):
            m.d.sync += [next_number.eq(0), kept.eq(0)]

        left = Signal(self.most)  # not taken
        among = Cat(kept[n] & (n < self.used) for n in range(self.most))
        taken = Signal(self.most)
        m.d.comb += left.eq(among & ~taken)
        lowest, there = self.number, C(0)
        found: Value = C(0, number_bits)
        for n in range(self.most):
            found = Mux(left[n] & (~there | (numbers[n] < found)), numbers[n], found)
            there = there | left[n]
        m.d.comb += [lowest.eq(found), self.last.eq((left & (left - 1)[: self.most]) == 0)]
        with m.If(self.take):
            m.d.sync += taken.eq(taken | Cat(left[n] & (numbers[n] == lowest) for n in range(self.most)))
        with m.If(self.start | self.again):
            m.d.sync += taken.eq(0)
        return m
