"""The bus that carries writes from any unit to any set of tiles."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..interfaces import bus_write, local_write
from ..stream.round_robin import RoundRobin, select
from ..verilog import place

__all__ = ["BroadcastBus"]


class BroadcastBus(wiring.Component):
    """Carries one :class:`BusWrite` a cycle to the tiles in its mask.

    The handshake is combinational, with no buffer: a source's transfer completes in the cycle in which the
    last addressed tile takes the write, so that by then it is in every memory. Tiles may take it in
    different cycles; each takes it once. Sources are served in turn: at most one transfer of each other
    source comes before a source's. A transfer to no tile completes at once.

    Members
    -------
    i : In(stream(BusWrite)).array(..), a port for each of the topology's bus sources
    o : Out(stream(LocalWrite)).array(tiles)
    """

    def __init__(self, config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(bus_write(config))).array(len(config.topology.bus_sources)),
                "o": Out(stream.Signature(local_write(config))).array(config.tiles),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tiles = self.config.tiles
        turn = place(m, "turn", RoundRobin(count=len(self.i)))
        transfer = Signal(bus_write(self.config))
        active = Signal()
        taken = Signal(tiles)  # tiles that already have the transfer in progress
        waiting = Signal(tiles)
        missing = Signal(tiles)
        m.d.comb += [
            turn.request.eq(Cat(source.valid for source in self.i)),
            transfer.eq(select(turn.grant, [source.payload for source in self.i])),
            active.eq(turn.request.any()),
            waiting.eq(transfer.tiles & ~taken & active.replicate(tiles)),
            missing.eq(waiting & ~Cat(tile.ready for tile in self.o)),
            turn.accept.eq(active & ~missing.any()),
        ]
        for i, source in enumerate(self.i):
            m.d.comb += source.ready.eq(turn.grant[i] & turn.accept)
        for t, tile in enumerate(self.o):
            m.d.comb += [tile.valid.eq(waiting[t]), tile.payload.eq(transfer.write)]
        m.d.sync += taken.eq(Mux(turn.accept, 0, taken | waiting & ~missing))
        return m
