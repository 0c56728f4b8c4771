"""Between an AXI4 read master that is reset and a memory that has not answered."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .signature import AXIConfig, AXIReadSignature

__all__ = ["AXIReadGuard"]


class AXIReadGuard(wiring.Component):
    """Lets a read master be reset at any time: answers to bursts from before the reset do not reach it.

    Latency: combinational.

    After ``cut`` no burst begins until all that had begun have been answered; these answers are taken and
    dropped. An address that was offered and not taken is withdrawn, which what takes it must allow
    (:class:`AXIReadArbiter` does).

    Parameters
    ----------
    config : AXIConfig
    outstanding : most bursts that the master has in flight

    Members
    -------
    i : In(AXIReadSignature(config)), the master
    o : Out(AXIReadSignature(config))
    cut : In(1), the master is reset at the end of this cycle
    """

    def __init__(self, config: AXIConfig, *, outstanding):
        self.config, self.outstanding = config, outstanding
        signature = AXIReadSignature(config)
        super().__init__({"i": In(signature), "o": Out(signature), "cut": In(1)})

    def elaborate(self, platform):
        m = Module()
        in_flight, left = Signal(range(self.outstanding + 1)), Signal(range(self.outstanding + 1))
        draining, may = Signal(), Signal()
        i, o = self.i, self.o
        m.d.comb += [
            may.eq(~draining & (in_flight != self.outstanding)),
            o.ar.payload.eq(i.ar.payload),
            o.ar.valid.eq(i.ar.valid & may),
            i.ar.ready.eq(o.ar.ready & may),
            i.r.payload.eq(o.r.payload),
            i.r.valid.eq(o.r.valid & ~draining),
            o.r.ready.eq(i.r.ready | draining),
            left.eq(in_flight + (o.ar.valid & o.ar.ready) - (o.r.valid & o.r.ready & o.r.payload.last)),
        ]
        m.d.sync += [in_flight.eq(left), draining.eq((draining | self.cut) & (left != 0))]
        return m
