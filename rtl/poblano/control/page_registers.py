"""What the registers of page tables do."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..axi.paging import PAGE_ALIGNMENT, PagingConfig

__all__ = ["PageLimitsLayout", "PageRegisters", "PageWrite"]


class PageLimitsLayout(data.StructLayout):
    """The ``bytes`` of a page, and for each slot how many pages its table has (``counts``)."""

    def __init__(self, paging: PagingConfig):
        super().__init__({"bytes": 32, "counts": data.ArrayLayout(range(paging.pages + 1), paging.slots)})


class PageWrite(data.StructLayout):
    """An entry of the page tables that is written in this cycle, if ``valid``: its number, and the page's
    address divided by 4,096."""

    def __init__(self, paging: PagingConfig, *, addr_width):
        entry = addr_width - exact_log2(PAGE_ALIGNMENT)
        super().__init__({"valid": 1, "index": range(paging.entries), "entry": entry})


class PageRegisters(wiring.Component):
    """Keeps how many pages the slots have, and writes entries.

    Latency: 1 cycle from a written register to its effect.

    A count of more pages than a table has room for is that of a full one.

    Parameters
    ----------
    paging : PagingConfig
    addr_width : of an address in memory

    Members
    -------
    index, bytes : In(32), what PAGE_INDEX and PAGE_BYTES hold
    word : In(32), what is written; entry, count : In(1), PAGE_ENTRY or PAGE_COUNT is written with it
    limits : Out(PageLimitsLayout)
    write : Out(PageWrite)
    """

    def __init__(self, paging: PagingConfig, *, addr_width):
        self.paging, self.addr_width = paging, addr_width
        super().__init__(
            {
                "index": In(32),
                "bytes": In(32),
                "word": In(32),
                "entry": In(1),
                "count": In(1),
                "limits": Out(PageLimitsLayout(paging)),
                "write": Out(PageWrite(paging, addr_width=addr_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        paging, counts = self.paging, self.limits.counts
        slot = self.index[exact_log2(paging.pages) :][: exact_log2(paging.slots)]
        m.d.comb += self.limits.bytes.eq(self.bytes)
        m.d.sync += [
            self.write.valid.eq(self.entry),
            self.write.index.eq(self.index),
            self.write.entry.eq(self.word),
        ]
        with m.If(self.count):
            m.d.sync += counts[slot].eq(Mux(self.word > paging.pages, paging.pages, self.word))
        return m
