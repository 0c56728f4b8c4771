"""An AXI4 read master on several memory ports."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place
from .homes import HomesConfig
from .signature import AXIConfig, AXIReadSignature

__all__ = ["AXIReadSplit"]


class AXIReadSplit(wiring.Component):
    """Gives each burst of a read master to the home that its address is in, and merges the homes' data.

    Latency: combinational.

    Homes that have data take turns, beat by beat, so that a beat waits for at most one of each other home.
    Bursts of one id come back in order only from one home: a master gives bursts of different homes
    different ids. It always takes data, so that no home waits for another for ever.

    Parameters
    ----------
    config : AXIConfig
    homes : HomesConfig

    Members
    -------
    i : In(AXIReadSignature(config))
    o : Out(AXIReadSignature(config)).array(homes.places)
    """

    def __init__(self, config: AXIConfig, *, homes: HomesConfig):
        self.config, self.homes = config, homes
        signature = AXIReadSignature(config)
        super().__init__({"i": In(signature), "o": Out(signature).array(homes.places)})

    def elaborate(self, platform):
        m = Module()
        home = Signal(range(self.homes.places))
        turn = place(m, "turn", RoundRobin(count=self.homes.places))
        ar, r = self.i.ar, self.i.r
        m.d.comb += [
            home.eq(self.homes.of(ar.payload.addr)),
            turn.request.eq(Cat(port.r.valid for port in self.o)),
            turn.accept.eq(r.ready),
            r.valid.eq(turn.request.any()),
            Value.cast(r.payload).eq(select(turn.grant, [port.r.payload for port in self.o])),
        ]
        for n, port in enumerate(self.o):
            m.d.comb += [
                port.ar.valid.eq(ar.valid & (home == n)),
                port.ar.payload.eq(ar.payload),
                port.r.ready.eq(turn.open[n] & r.ready),
            ]
            with m.If(home == n):
                m.d.comb += ar.ready.eq(port.ar.ready)
        return m
