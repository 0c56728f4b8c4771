"""Bursts of a master that wants them answered in order."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .homes import HomesConfig
from .signature import AXIConfig

__all__ = ["HomeOrder"]


class HomeOrder(wiring.Component):
    """Passes a master's addresses on; one for another home than the one before waits until all bursts before
    it have been answered.

    Latency: combinational.

    So bursts of one id are answered in order if each home does so.

    Parameters
    ----------
    config : AXIConfig
    homes : HomesConfig
    outstanding : most bursts without an answer

    Members
    -------
    i : In(stream(config.address)), o : Out(stream(config.address))
    answered : In(1), the answer to a burst ends in this cycle
    """

    def __init__(self, config: AXIConfig, *, homes: HomesConfig, outstanding):
        self.config, self.homes, self.outstanding = config, homes, outstanding
        super().__init__(
            {
                "i": In(stream.Signature(config.address)),
                "o": Out(stream.Signature(config.address)),
                "answered": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        home, last = Signal(range(self.homes.places)), Signal(range(self.homes.places))
        begun, in_flight, may = Signal(), Signal(range(self.outstanding + 1)), Signal()
        m.d.comb += [
            home.eq(self.homes.of(self.i.payload.addr)),
            may.eq((in_flight == 0) | (home == last) & (in_flight != self.outstanding)),
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & may),
            self.i.ready.eq(self.o.ready & may),
            begun.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += in_flight.eq(in_flight + begun - self.answered)
        with m.If(begun):
            m.d.sync += last.eq(home)
        return m
