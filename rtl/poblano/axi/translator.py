"""Addresses of the window to those of memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..stream.skid import Skid
from ..verilog import place
from .paging import PAGE_ALIGNMENT, WINDOW_BIT, PagingConfig
from .signature import AXIConfig

__all__ = ["AddressTranslator", "PageAnswer"]


class PageAnswer(data.StructLayout):
    """The page's address in a home, divided by 4,096, of a table's entry, and whether check bits have
    ``failed``; addresses in a home have ``addr_width`` bits."""

    def __init__(self, addr_width):
        super().__init__({"entry": addr_width - exact_log2(PAGE_ALIGNMENT), "failed": 1})


class AddressTranslator(wiring.Component):
    """Passes a master's AR or AW channel on, with the addresses that page tables give those of the window.

    Latency: 1 cycle, and of a burst in another page than the one before of the window until its entry has
    come. A burst a cycle.

    The last entry is kept until ``forget``. Whether a slot has such a page is not looked at: the command
    checker has done so. Of an entry that check bits could not correct ``failed`` is high for a cycle, and the
    burst goes where it says.

    Parameters
    ----------
    virtual : AXIConfig of the master, with addresses of 40 bits
    physical : AXIConfig of memory, of fewer
    paging : PagingConfig
    home_bits : of an address in a home

    Members
    -------
    i : In(stream(virtual.address)), o : Out(stream(physical.address))
    lookup : Out(stream(entries)), the number of an entry, of all tables
    answer : In(PageAnswer), ``answered`` : In(1), it is that of the lookup before; no other is made meanwhile
    forget : In(1), entries have changed; given when there are no addresses here
    failed : Out(1)
    """

    LATENCY, LOOKUP = 1, 2
    """Cycles of an address, and those until an entry has come."""

    def __init__(self, virtual: AXIConfig, physical: AXIConfig, paging: PagingConfig, *, home_bits: int):
        self.virtual, self.physical, self.paging, self.home_bits = virtual, physical, paging, home_bits
        super().__init__(
            {
                "i": In(stream.Signature(virtual.address)),
                "o": Out(stream.Signature(physical.address)),
                "lookup": Out(stream.Signature(range(paging.entries))),
                "answer": In(PageAnswer(home_bits)),
                "answered": In(1),
                "forget": In(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, low = self.paging.offset_bits, exact_log2(PAGE_ALIGNMENT)
        skid = place(m, "skid", Skid(shape=self.physical.address))
        connect(m, skid.o, flipped(self.o))
        burst, put = self.i.payload, skid.i.payload
        inside, wanted = burst.addr[WINDOW_BIT], burst.addr[bits:WINDOW_BIT]
        known, asked = Signal(), Signal()  # an entry is kept; one is on its way
        number, entry = Signal.like(wanted), Signal.like(self.answer.entry)
        usable = Signal()
        part = self.paging.part_bits
        page = Cat(C(0, low), entry) + burst.addr[:part]
        m.d.comb += [
            usable.eq(~inside | known & (number == wanted)),
            skid.i.valid.eq(self.i.valid & usable),
            self.i.ready.eq(skid.i.ready & usable),
            put.id.eq(burst.id),
            put.len.eq(burst.len),
            put.addr.eq(Mux(inside, Cat(page[: self.home_bits], burst.addr[part:bits]), burst.addr)),
            self.lookup.payload.eq(wanted),
            self.lookup.valid.eq(self.i.valid & ~usable & ~asked),
        ]
        with m.If(self.lookup.valid & self.lookup.ready):
            m.d.sync += [asked.eq(1), known.eq(0), number.eq(wanted)]
        with m.If(asked & self.answered):
            m.d.sync += [asked.eq(0), known.eq(1), entry.eq(self.answer.entry)]
        with m.If(self.forget):
            m.d.sync += known.eq(0)
        m.d.sync += self.failed.eq(asked & self.answered & self.answer.failed)
        return m
