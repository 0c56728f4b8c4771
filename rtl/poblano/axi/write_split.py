"""An AXI4 write master on several memory ports."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place
from .homes import HomesConfig
from .signature import AXIConfig, AXIWriteSignature

__all__ = ["AXIWriteSplit"]


class AXIWriteSplit(wiring.Component):
    """Gives each burst of a write master, address and data, to the home that its address is in, and merges
    the homes' answers.

    Latency: combinational; data pass in the cycle after that of their address or later.

    A burst for another home than the burst before waits until all data before it have passed. So a master's
    data are never needed by two homes at a time, and masters whose bursts the homes take in different orders
    cannot wait for each other in a circle. Homes that have answers take turns. Bursts of one id are answered
    in order only by one home: a master gives bursts of different homes different ids. It always takes
    answers.

    Parameters
    ----------
    config : AXIConfig
    homes : HomesConfig
    ahead : most bursts whose address has passed and whose data have not

    Members
    -------
    i : In(AXIWriteSignature(config))
    o : Out(AXIWriteSignature(config)).array(homes.places)
    """

    def __init__(self, config: AXIConfig, *, homes: HomesConfig, ahead):
        self.config, self.homes, self.ahead = config, homes, ahead
        signature = AXIWriteSignature(config)
        super().__init__({"i": In(signature), "o": Out(signature).array(homes.places)})

    def elaborate(self, platform):
        m = Module()
        aw, w, b = self.i.aw, self.i.w, self.i.b
        count = self.homes.places
        home, current = Signal(range(count)), Signal(range(count))  # of the address and of the data
        owed = Signal(range(self.ahead + 1))  # bursts whose address has passed and whose data have not
        may = Signal()
        turn = place(m, "turn", RoundRobin(count=count))
        m.d.comb += [
            home.eq(self.homes.of(aw.payload.addr)),
            may.eq((owed == 0) | (home == current) & (owed != self.ahead)),
            turn.request.eq(Cat(port.b.valid for port in self.o)),
            turn.accept.eq(b.ready),
            b.valid.eq(turn.request.any()),
            Value.cast(b.payload).eq(select(turn.grant, [port.b.payload for port in self.o])),
        ]
        for n, port in enumerate(self.o):
            m.d.comb += [
                port.aw.valid.eq(aw.valid & may & (home == n)),
                port.aw.payload.eq(aw.payload),
                port.w.valid.eq(w.valid & (owed != 0) & (current == n)),
                port.w.payload.eq(w.payload),
                port.b.ready.eq(turn.open[n] & b.ready),
            ]
            with m.If(home == n):
                m.d.comb += aw.ready.eq(port.aw.ready & may)
            with m.If(current == n):
                m.d.comb += w.ready.eq(port.w.ready & (owed != 0))
        passes, ends = aw.valid & aw.ready, w.valid & w.ready & w.payload.last
        m.d.sync += owed.eq(owed + passes - ends)
        with m.If(passes):
            m.d.sync += current.eq(home)
        return m
