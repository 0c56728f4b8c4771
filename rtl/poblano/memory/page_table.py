"""The page tables of a chip."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..axi.paging import PAGE_ALIGNMENT, PagingConfig
from ..axi.translator import PageAnswer
from ..ecc.events import ECCEvents, uses
from ..stream.round_robin import RoundRobin
from ..verilog import place
from .sram import sram

__all__ = ["PageTable"]


class PageTable(wiring.Component):
    """Where the pages of all slots are: an entry for each, looked up by several.

    Latency: 1 cycle from a lookup to its answer; a lookup a cycle, in turn.

    Parameters
    ----------
    paging : PagingConfig
    addr_width : of an address in memory
    ports : that look up
    ecc : whether entries have check bits

    Members
    -------
    lookup : In(stream(entries)).array(ports)
    answered : Out(ports), whose lookup is answered in this cycle; answer : Out(PageAnswer)
    write : In(1), index : In, entry : In, an entry is written
    events : Out(ECCEvents), with ``ecc``
    """

    def __init__(self, paging: PagingConfig, *, addr_width, ports, ecc=False):
        self.paging, self.ports, self.ecc = paging, ports, ecc
        self.bits = addr_width - exact_log2(PAGE_ALIGNMENT)
        super().__init__(
            ({"events": Out(ECCEvents())} if ecc else {})
            | {
                "lookup": In(stream.Signature(range(paging.entries))).array(ports),
                "answered": Out(ports),
                "answer": Out(PageAnswer(addr_width)),
                "write": In(1),
                "index": In(range(paging.entries)),
                "entry": In(self.bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory = place(m, "memory", sram(width=self.bits, depth=self.paging.entries, ecc=self.ecc))
        turn = place(m, "turn", RoundRobin(count=self.ports))
        asked = Signal(self.ports)
        m.d.comb += [
            turn.request.eq(Cat(port.valid for port in self.lookup)),
            turn.accept.eq(turn.grant.any()),
            memory.read.en.eq(turn.grant.any()),
            memory.write.en.eq(self.write),
            memory.write.addr.eq(self.index),
            memory.write.data.eq(self.entry),
            self.answered.eq(asked),
            self.answer.entry.eq(memory.read.data),
        ]
        for n, port in enumerate(self.lookup):
            m.d.comb += port.ready.eq(turn.grant[n])
            with m.If(turn.grant[n]):
                m.d.comb += memory.read.addr.eq(port.payload)
        m.d.sync += asked.eq(turn.grant)
        if self.ecc:
            m.d.comb += self.answer.failed.eq(memory.failed)
            m.d.sync += self.events.eq(uses((asked.any(), memory)))
        return m
