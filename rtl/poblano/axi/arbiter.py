"""Several AXI4 read masters on one port."""

from dataclasses import replace

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place
from .signature import AXIConfig, AXIReadSignature

__all__ = ["AXIReadArbiter"]


class AXIReadArbiter(wiring.Component):
    """Serves several AXI4 read masters in turn, burst by burst.

    Latency: an address takes 1 cycle, data none.

    The port's number becomes the high bits of the id, and a beat goes back to the port that its id names,
    so that bursts of different ports may come back in any order and interleaved. An address takes one cycle
    more; data pass in the same cycle. At most one burst of each other port comes before a port's. A port
    that does not take its data blocks the others: every master asks only for what it has room for. A master
    may withdraw an address that was not taken, when it is reset.

    Parameters
    ----------
    config : AXIConfig of each port
    ports : masters

    Members
    -------
    i : In(AXIReadSignature(config)).array(ports)
    o : Out(AXIReadSignature), with the ids of :meth:`merged`
    """

    LATENCY = 1
    """Of an address."""

    def __init__(self, config: AXIConfig, *, ports):
        self.config, self.ports = config, ports
        super().__init__(
            {
                "i": In(AXIReadSignature(config)).array(ports),
                "o": Out(AXIReadSignature(self.merged(config, ports))),
            }
        )

    @staticmethod
    def merged(config, ports):
        """The AXIConfig of the port of all."""
        return replace(config, id_width=config.id_width + ceil_log2(ports))

    def elaborate(self, platform):
        m = Module()
        turn = place(m, "turn", RoundRobin(count=len(self.i)))
        ar, r = self.o.ar, self.o.r
        free = Signal()
        m.d.comb += [
            free.eq(~ar.valid | ar.ready),
            turn.request.eq(Cat(port.ar.valid for port in self.i)),
            turn.accept.eq(free),
        ]
        with m.If(free):
            m.d.sync += ar.valid.eq(turn.grant.any())
            chosen = select(turn.grant, [port.ar.payload for port in self.i])
            number = select(turn.grant, range(len(self.i)))
            address = self.i[0].ar.payload.shape()(chosen)
            m.d.sync += [
                ar.payload.addr.eq(address.addr),
                ar.payload.len.eq(address.len),
                ar.payload.id.eq(Cat(address.id, number)),
            ]
        inner = self.config.id_width
        owner = r.payload.id[inner:]
        for p, port in enumerate(self.i):
            m.d.comb += [
                port.ar.ready.eq(turn.open[p] & free),
                port.r.valid.eq(r.valid & (owner == p)),
                port.r.payload.id.eq(r.payload.id[:inner]),
                port.r.payload.data.eq(r.payload.data),
                port.r.payload.resp.eq(r.payload.resp),
                port.r.payload.last.eq(r.payload.last),
            ]
            with m.If(owner == p):
                m.d.comb += r.ready.eq(port.r.ready)
        return m
