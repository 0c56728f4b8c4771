"""Several AXI4 write masters on one port."""

from dataclasses import replace

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..stream.fifo import FIFO
from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place
from .signature import AXIConfig, AXIWriteSignature

__all__ = ["AXIWriteArbiter"]


class AXIWriteArbiter(wiring.Component):
    """Serves several AXI4 write masters in turn, burst by burst.

    Latency: an address takes 1 cycle, data and answers none; data pass in the cycle after that of their
    address or later.

    The port's number becomes the high bits of the id, and an answer goes back to the port that its id names.
    The data of bursts pass in the order of their addresses: a master must be able to give them, whatever the
    others do. At most one burst of each other port comes before a port's. A port that does not take its
    answers blocks the others.

    Parameters
    ----------
    config : AXIConfig of each port
    ports : masters
    ahead : most bursts whose address has been taken and whose data have not passed

    Members
    -------
    i : In(AXIWriteSignature(config)).array(ports)
    o : Out(AXIWriteSignature), with the ids of :meth:`merged`
    """

    def __init__(self, config: AXIConfig, *, ports, ahead):
        self.config, self.ports, self.ahead = config, ports, ahead
        super().__init__(
            {
                "i": In(AXIWriteSignature(config)).array(ports),
                "o": Out(AXIWriteSignature(self.merged(config, ports))),
            }
        )

    @staticmethod
    def merged(config, ports):
        """The AXIConfig of the port of all."""
        return replace(config, id_width=config.id_width + ceil_log2(ports))

    def elaborate(self, platform):
        m = Module()
        turn = place(m, "turn", RoundRobin(count=self.ports))
        # Whose data come next, of each burst one-hot.
        order = place(m, "order", FIFO(shape=self.ports, depth=self.ahead))
        aw, w, b = self.o.aw, self.o.w, self.o.b
        free, begin, owner = Signal(), Signal(), Signal(self.ports)
        m.d.comb += [
            free.eq((~aw.valid | aw.ready) & order.i.ready),
            turn.request.eq(Cat(port.aw.valid for port in self.i)),
            turn.accept.eq(free),
            begin.eq(turn.request.any() & free),
            order.i.valid.eq(begin),
            order.i.payload.eq(turn.grant),
            owner.eq(Mux(order.o.valid, order.o.payload, 0)),
            w.valid.eq((owner & Cat(port.w.valid for port in self.i)).any()),
            Value.cast(w.payload).eq(select(owner, [port.w.payload for port in self.i])),
            order.o.ready.eq(w.valid & w.ready & w.payload.last),
        ]
        with m.If(begin):
            address = self.i[0].aw.payload.shape()(select(turn.grant, [p.aw.payload for p in self.i]))
            number = select(turn.grant, range(self.ports))
            m.d.sync += [
                aw.valid.eq(1),
                aw.payload.addr.eq(address.addr),
                aw.payload.len.eq(address.len),
                aw.payload.id.eq(Cat(address.id, number)),
            ]
        with m.Elif(aw.ready):
            m.d.sync += aw.valid.eq(0)
        inner = self.config.id_width
        to = b.payload.id[inner:]
        for p, port in enumerate(self.i):
            m.d.comb += [
                port.aw.ready.eq(turn.open[p] & free),
                port.w.ready.eq(owner[p] & w.ready),
                port.b.valid.eq(b.valid & (to == p)),
                port.b.payload.id.eq(b.payload.id[:inner]),
                port.b.payload.resp.eq(b.payload.resp),
            ]
            with m.If(to == p):
                m.d.comb += b.ready.eq(port.b.ready)
        return m
