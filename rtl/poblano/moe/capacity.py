"""How much room experts have left in a window of rows."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from ..config import ExpertsConfig
from ..ecc.events import ECCEvents, uses
from ..memory.sram import sram
from ..verilog import place

__all__ = ["Capacity"]


class Capacity(wiring.Component):
    """Counts the rows that each expert gets in a window; an expert that has ``capacity`` of them is *full*.

    Latency: 1 cycle from ``takes`` to ``full``.

    Parameters
    ----------
    config : ExpertsConfig
    ecc : whether the counts have check bits

    Members
    -------
    capacity : In, at least 1; constant in a window
    start : In(1), a window begins: no expert has rows
    number : In, an expert; full : Out(1), it is full
    takes : In(1), it gets a row; in the cycle before it was the same one, and got none
    other : In, another expert; late : Out(1), it is full
    some : Out(1), an expert is full
    events : Out(ECCEvents), with ``ecc``: of counts that are used
    """

    def __init__(self, config: ExpertsConfig, *, ecc=False):
        self.config, self.ecc = config, ecc
        number = ceil_log2(config.experts)
        super().__init__(
            ({"events": Out(ECCEvents())} if ecc else {})
            | {
                "capacity": In(bits_for(config.rows)),
                "start": In(1),
                "number": In(number),
                "full": Out(1),
                "takes": In(1),
                "other": In(number),
                "late": Out(1),
                "some": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        counts = place(m, "counts", sram(width=len(self.capacity), depth=config.experts, ecc=self.ecc))
        counted = Signal(config.experts)  # those that have a count
        full = Signal(config.experts)
        known, count = counted.bit_select(self.number, 1), Signal.like(self.capacity)
        m.d.comb += [
            self.full.eq(full.bit_select(self.number, 1)),
            self.late.eq(full.bit_select(self.other, 1)),
            counts.read.en.eq(~self.takes),
            counts.read.addr.eq(self.number),
            count.eq(Mux(known, counts.read.data, 0) + 1),
            counts.write.en.eq(self.takes),
            counts.write.addr.eq(self.number),
            counts.write.data.eq(count),
        ]
        with m.If(self.takes):
            m.d.sync += counted.bit_select(self.number, 1).eq(1)
            with m.If(count == self.capacity):
                m.d.sync += [full.bit_select(self.number, 1).eq(1), self.some.eq(1)]
        with m.If(self.start):
            m.d.sync += [counted.eq(0), full.eq(0), self.some.eq(0)]
        if self.ecc:
            m.d.sync += self.events.eq(uses((self.takes & known, counts)))
        return m
