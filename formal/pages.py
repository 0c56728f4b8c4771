"""Page tables: what the rules of commands let through stays in the pages of one slot, and an address of the
window becomes the one that the table says."""

from functools import partial
from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.utils import exact_log2

from poblano.axi.paging import WINDOW_BIT, PagingConfig
from poblano.axi.signature import AXIConfig
from poblano.axi.translator import AddressTranslator
from poblano.isa.opcodes import Opcode
from poblano.isa.regions import PageLimits

from .harness import Harness, Mutation, Property, Watch

HOME_BITS = 30
ROWS = (1, 2, 4)
"""Numbers of rows. What is checked is linear in them, and solvers find products of variables hard."""


class Rows(Harness):
    """Commands of an opcode that :meth:`MemoryRegion.within` lets through: any byte of any row."""

    def __init__(self, opcode, paging):
        super().__init__()
        self.opcode, self.paging = opcode, paging

    def prove(self, m):
        paging, region = self.paging, self.opcode.definition.memory
        memory = SimpleNamespace(
            paging=paging, most_bytes=paging.homes << HOME_BITS, home_bytes=1 << HOME_BITS
        )
        config = SimpleNamespace(memory=memory)
        o = SimpleNamespace(mem_addr=self.free("address", 40), mem_stride=self.free("stride", 32))
        if region.count:
            setattr(o, region.count, self.free(region.count, 20))
        limits = PageLimits(
            self.free("bytes", 32), self.free("count", range(paging.pages + 1)), self.free("home", 32)
        )
        size = self.free("size", WINDOW_BIT)
        self.assume((limits.bytes <= paging.part) & (limits.count <= paging.pages))
        self.assume(limits.home <= 1 << HOME_BITS)
        for o.rows in ROWS:
            allowed = Cat(span.end <= end for span, end in region.within(o, config, size, limits)).all()
            byte = self.free(f"byte_of_{o.rows}", 32)
            self.assume(byte < region.span(o).extent)
            for row in range(o.rows):
                self._byte(m, f"{row} of {o.rows}", o, row, byte, allowed, limits, size)

    def _byte(self, m, name, o, row, byte, allowed, limits, size):
        """The checks of a byte of a row."""
        paging = self.paging
        address = Signal(64)  # wide enough for all rows of all commands
        m.d.comb += address.eq(o.mem_addr + o.mem_stride * row + byte)
        window, slot = paging.inside(o.mem_addr), paging.slot(o.mem_addr)
        inside, outside = ~allowed | ~window, ~allowed | window
        self.check(f"memory {name}", outside | (address < size))
        self.check(f"window {name}", inside | ((address >> WINDOW_BIT) == 1))
        self.check(f"slot {name}", inside | (slot < paging.slots) & (paging.slot(address) == slot))
        self.check(f"page {name}", inside | (paging.page(address) < limits.count))
        self.check(f"offset {name}", inside | (paging.offset(address) < limits.bytes))
        if paging.homes > 1:
            self.check(f"part {name}", inside | (paging.home(address) == paging.home(o.mem_addr)))
            self.check(f"one home {name}", outside | (address[HOME_BITS:] == o.mem_addr[HOME_BITS:]))
            self.check(f"beside pages {name}", outside | (address[:HOME_BITS] < limits.home))
        if row:
            self.cover(f"its page {name}", allowed & window & (paging.page(address) == row))
        self.cover(f"the end {name}", allowed & window & (paging.offset(address) == limits.bytes - 1))


class Translates(Harness):
    """Tables of two pages; a lookup is answered when it likes. Entries change only while there are no
    addresses inside."""

    VIRTUAL = AXIConfig(addr_width=WINDOW_BIT + 1, data_width=8)

    def __init__(self, homes):
        super().__init__()
        self.homes = homes

    def prove(self, m):
        paging = PagingConfig(slots=1, pages=2, homes=self.homes)
        bits = exact_log2(self.homes)
        physical = AXIConfig(addr_width=14 + bits, data_width=8)
        translator = AddressTranslator(self.VIRTUAL, physical, paging, home_bits=14)
        dut = self.add("dut", translator, driven=("answer", "i__payload"))
        table = [self.constant(f"entry{n}", 2) for n in range(paging.entries)]
        burst, window = dut.i.payload, self.free("window")
        page, offset, home = self.free("page"), self.free("offset", 14), self.free("in", bits)
        place = Cat(offset, home)
        m.d.comb += [
            burst.addr.eq(Mux(window, Cat(offset, C(0, paging.part_bits - 14), home, page), place)),
            burst.addr[WINDOW_BIT].eq(window),
            burst.id.eq(self.free("id")),
            burst.len.eq(self.free("length", 2)),
        ]
        # Offered addresses stay, and a lookup is answered once.
        waits = self.past(dut.i.valid & ~dut.i.ready, "waits")
        was = self.past(burst.as_value(), "was")
        self.assume(~waits | dut.i.valid & (burst.as_value() == was))
        looking, number = Signal(), Signal()
        asks = dut.lookup.valid & dut.lookup.ready
        with m.If(asks):
            m.d.sync += [looking.eq(1), number.eq(dut.lookup.payload)]
        with m.Elif(dut.answered):
            m.d.sync += looking.eq(0)
        self.assume(~dut.answered | looking)
        m.d.comb += dut.answer.entry.eq(Mux(number, table[1], table[0]))
        self.assume(~dut.forget | ~dut.i.valid & ~looking)
        self.check("one at a time", ~asks | ~looking)

        begins = Cat(C(0, 12), Mux(page, table[1], table[0]))
        expected = Mux(window, Cat((begins + offset)[:14], home), place)
        put, get = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        sent = dut.o.payload
        watch = Watch(
            self,
            m,
            "watch",
            put=put,
            put_data=Cat(burst.id, expected, burst.len),
            get=get,
            get_data=Cat(sent.id, sent.addr, sent.len),
            capacity=2,
        )
        self.check("offered", dut.o.valid == (watch.held != 0))
        # Nothing waits but for its entry or for room.
        self.check("no other wait", ~dut.i.valid | dut.i.ready | window | (watch.held == 2))
        second = Signal()  # the second page has been used
        with m.If(put & window & page):
            m.d.sync += second.eq(1)
        self.cover("two pages", second & put & window & ~page)
        self.cover("a burst a cycle", self.past(put & window, "before") & put & window)


REGIONS, TRANSLATOR = "poblano.isa.regions", "poblano.axi.translator"
WITHIN = (
    Mutation("any stride", REGIONS, "span.stride == paging.stride", "span.stride != 0"),
    Mutation("rows not counted", REGIONS, "choose(by_page, 1, 0)", "0"),
    Mutation(
        "offset left out",
        REGIONS,
        "choose(inside, paging.offset(span.base), span.base)",
        "choose(inside, 0, span.base)",
    ),
    Mutation("any page", REGIONS, "choose(inside, paging.page(span.base), in_home.base)", "in_home.base"),
    Mutation(
        "any slot", REGIONS, "choose(paging.slot(span.base) < paging.slots, limits.count, 0)", "limits.count"
    ),
    Mutation(
        "memory's end",
        REGIONS,
        "choose(inside, limits.bytes, size)",
        "choose(inside, limits.bytes, limits.bytes)",
    ),
)
TRANSLATES = (
    Mutation("another's page", TRANSLATOR, "known & (number == wanted)", "known"),
    Mutation(
        "not awaited",
        TRANSLATOR,
        "~inside | known & (number == wanted)",
        "~inside | (known | asked) & (number == wanted)",
    ),
    Mutation(
        "offset left out", TRANSLATOR, "Cat(C(0, low), entry) + burst.addr[:part]", "Cat(C(0, low), entry)"
    ),
    Mutation(
        "all translated",
        TRANSLATOR,
        "Mux(inside, Cat(page[: self.home_bits], burst.addr[part:bits]), burst.addr)",
        "Cat(page[: self.home_bits], burst.addr[part:bits])",
    ),
    Mutation("asked twice", TRANSLATOR, "self.i.valid & ~usable & ~asked", "self.i.valid & ~usable"),
)
IN_HOMES = (
    Mutation("any place in a home", REGIONS, "choose(inside, 1, in_home.extent)", "1"),
    Mutation("past a home's end", REGIONS, "limits.home", "2 * limits.home"),
    Mutation(
        "rows anywhere",
        REGIONS,
        "choose(inside, choose(by_page, 1, 0), in_home.stride)",
        "choose(inside & by_page, 1, 0)",
    ),
)
OF_HOMES = (
    Mutation(
        "another home",
        TRANSLATOR,
        "Cat(page[: self.home_bits], burst.addr[part:bits])",
        "page[: self.home_bits]",
    ),
    Mutation("into the next home", TRANSLATOR, "page[: self.home_bits]", "page"),
)
PAGING, PARTS = PagingConfig(slots=4, pages=8), PagingConfig(slots=4, pages=8, homes=4)
MEMORIES = (
    (
        "",
        PAGING,
        " every byte is of memory that it may use, or in a page that its slot has",
        {Opcode.STREAM: WITHIN},
    ),
    (
        "_of_homes",
        PARTS,
        ", on a chip of several homes, every byte is in one home, of memory that it may use or of its part "
        "of a page that its slot has",
        {Opcode.LOAD: IN_HOMES},
    ),
)
"""Of one home and of several: what names end in, page tables, what holds, and mutations for an opcode."""
PROPERTIES = (
    *(
        Property(
            f"{opcode.name.lower()}{name}",
            partial(Rows, opcode, paging),
            f"of a {opcode.name} that is let through{holds}",
            frames=2,
            mutations=mutations.get(opcode, ()),
        )
        for name, paging, holds, mutations in MEMORIES
        for opcode in (Opcode.STREAM, Opcode.LOAD, Opcode.STORE_WORD)
    ),
    Property(
        "translator_of_homes",
        partial(Translates, 2),
        "the same of pages with a part in each of two homes",
        mutations=OF_HOMES,
    ),
    Property(
        "translator",
        partial(Translates, 1),
        "bursts leave in order, once, those of the window at the address that the table says; none waits "
        "but for an entry or room",
        mutations=TRANSLATES,
    ),
)
