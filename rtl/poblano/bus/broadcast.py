"""The bus that carries writes from any unit to any set of tiles."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import LocalConfig
from ..interfaces import BusWrite, LocalWrite
from ..stream.broadcast import Broadcast
from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place

__all__ = ["BroadcastBus"]


class BroadcastBus(wiring.Component):
    """Carries one :class:`BusWrite` a cycle to the tiles in its mask.

    The handshake is combinational, with no buffer: a source's transfer completes in the cycle in which the
    last addressed tile takes the write, so that by then it is in every memory. Tiles may take it in
    different cycles; each takes it once. Sources are served in turn: at most one transfer of each other
    source comes before a source's. A transfer to no tile completes at once.

    Parameters
    ----------
    config : LocalConfig of the tiles
    sources : units that write
    tiles : of the chip

    Members
    -------
    i : In(stream(BusWrite)).array(sources)
    o : Out(stream(LocalWrite)).array(tiles)
    """

    def __init__(self, config: LocalConfig, *, sources, tiles):
        self.config, self.sources, self.tiles = config, sources, tiles
        super().__init__(
            {
                "i": In(stream.Signature(BusWrite(config, tiles=tiles))).array(sources),
                "o": Out(stream.Signature(LocalWrite(config))).array(tiles),
            }
        )

    def elaborate(self, platform):
        m = Module()
        turn = place(m, "turn", RoundRobin(count=self.sources))
        fan = place(m, "fan", Broadcast(shape=LocalWrite(self.config), count=self.tiles))
        transfer = Signal(BusWrite(self.config, tiles=self.tiles))
        active = Signal()
        m.d.comb += [
            turn.request.eq(Cat(source.valid for source in self.i)),
            active.eq(turn.request.any()),
            transfer.eq(select(turn.grant, [source.payload for source in self.i])),
            fan.i.payload.eq(transfer.write),
            fan.i.valid.eq(active),
            fan.to.eq(transfer.tiles),
            turn.accept.eq(active & fan.i.ready),
        ]
        for i, source in enumerate(self.i):
            m.d.comb += source.ready.eq(turn.open[i] & fan.i.ready)
        for port, tile in zip(fan.o, self.o):
            connect(m, port, flipped(tile))
        return m
