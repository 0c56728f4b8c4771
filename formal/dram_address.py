"""The address map of a DRAM, and AXI bursts cut where a granule ends."""

from functools import partial

from amaranth.hdl import *
from amaranth.utils import exact_log2

from poblano.dram.address import AddressMap
from poblano.dram.splitter import BurstSplitter
from poblano.dram.timing import TIMING_SETS

from .dram_sizes import GROUPED, PHASES, small
from .harness import Harness, Mutation, Property


def _divide(value, number):
    """By a power of two, rounded down."""
    return value[exact_log2(number) :]


def _rest(value, number):
    return value[: exact_log2(number)]


class Places(Harness):
    """One arbitrary address; Python's ``split`` and ``join`` are run on its bits."""

    def __init__(self, timing):
        super().__init__()
        self.timing = timing

    def prove(self, m):
        timing, mapping = self.timing, AddressMap(self.timing)
        address = self.free("address", exact_log2(timing.bytes))
        granule = timing.ways * timing.page_bytes
        place, fields = mapping.place_of(address), mapping.split(address)
        for name in ("column", "row"):
            self.check(f"split {name}", fields[name] == place[name])
        number = place.way + timing.ways * place.set
        self.check("split group", fields["group"] == _rest(number, timing.groups))
        self.check("split bank", fields["bank"] == _divide(number, timing.groups))
        self.check("join", mapping.join(**fields) == address)
        self.check(
            "address", mapping.address_of(place) == _divide(address, timing.burst_bytes) * timing.burst_bytes
        )
        burst = _divide(address, timing.burst_bytes)
        self.check("way", place.way == _rest(burst, timing.ways))
        self.check("column", place.column == _rest(_divide(burst, timing.ways), timing.columns))
        self.check("row", place.row == _divide(address, granule * timing.sets))
        for distance in range(1, timing.sets - 1):
            later = (address + distance * granule)[: len(address)]
            self.check(f"set {distance}", mapping.place_of(later).set != place.set)
        self.cover("last", address.all() & place.row.all())


class Pieces(Harness):
    """A master keeps its burst until it is taken; any burst."""

    def __init__(self, timing):
        super().__init__()
        self.config = small(timing)

    def prove(self, m):
        config = self.config
        timing = config.timing
        dut, inside = self.peek("dut", BurstSplitter(config))
        given, piece = dut.i.payload, dut.o.payload
        waits = self.past(dut.i.valid & ~dut.i.ready, "waits")
        self.assume(~waits | (dut.i.valid & (given.as_value() == self.past(given.as_value(), "before"))))
        offers = self.past(dut.o.valid & ~dut.o.ready, "offers")
        self.check(
            "stable", ~offers | (dut.o.valid & (piece.as_value() == self.past(piece.as_value(), "piece")))
        )
        # The beats of the burst that pieces before have had.
        beats, size = Signal(9), piece.len + 1
        taken = dut.o.valid & dut.o.ready
        m.d.sync += beats.eq(Mux(taken, Mux(piece.last, 0, beats + size), beats))
        address = (given.addr + beats * timing.burst_bytes)[: config.addr_width]
        if "rest" in inside:  # what the proof needs to know of the registers
            rest = dut.i.payload.shape()(inside["rest"])
            self.check(
                "more", ~inside["more"] | (dut.i.valid & (beats != 0) & (rest.len == given.len - beats))
            )
            beat = exact_log2(timing.burst_bytes)
            same = (rest.addr[beat:] == address[beat:]) & (rest.id == given.id)
            self.check("rest", ~inside["more"] | same)
            self.check("no more", inside["more"] | (beats == 0))
        else:
            self.check("whole", beats == 0)
        self.check("valid", dut.o.valid == dut.i.valid)
        first = AddressMap(timing).place_of(address)
        self.check("place", ~dut.o.valid | (piece.place.as_value() == first.as_value()))
        self.check("id", ~dut.o.valid | (piece.id == given.id))
        left = given.len + 1 - beats
        self.check("not too many", ~dut.o.valid | (size <= left))
        self.check("last", ~dut.o.valid | (piece.last == (size == left)))
        beats_in = config.granule // timing.burst_bytes
        end = _rest(_divide(address, timing.burst_bytes), beats_in) + size
        if config.granule >= 4096:  # AXI: no burst crosses 4 KiB
            self.assume(~dut.i.valid | (given.addr[:12] + given.len * timing.burst_bytes < 4096))
        self.check("in a granule", ~dut.o.valid | (end <= beats_in))
        self.check("no smaller", ~taken | piece.last | (end == beats_in))
        self.check("taken with its last piece", (dut.i.valid & dut.i.ready) == (taken & piece.last))
        self.cover("last", taken & piece.last & (beats != 0))


ADDRESS, SPLITTER = "poblano.dram.address", "poblano.dram.splitter"
ADDRESS_MUTATIONS = (
    Mutation(
        "exclusive or",
        ADDRESS,
        "number = (fields['set'] + self.turn(fields['row']))[:self.bits['set']]",
        "number = (fields['set'] ^ self.turn(fields['row']))[:self.bits['set']]",
    ),
    Mutation("added twice", ADDRESS, "row - (row >> bits)", "row + (row >> bits)"),
    Mutation("join", ADDRESS, "places - self.turn(row)", "places + self.turn(row)"),
    Mutation(
        "split",
        ADDRESS,
        "granule + self.turn(granule >> self.bits['set']) & self.timing.sets - 1",
        "granule & self.timing.sets - 1",
    ),
    Mutation(
        "column first",
        ADDRESS,
        "self.place(Cat(fields['way'], fields['column'], number, fields['row']))",
        "self.place(Cat(fields['column'], fields['way'], number, fields['row']))",
    ),
)
SPLITTER_MUTATIONS = (
    Mutation("one too many", SPLITTER, "rest.len.eq(burst.len - room - 1)", "rest.len.eq(burst.len - room)"),
    Mutation("granule's end", SPLITTER, "o.last.eq(burst.len <= room)", "o.last.eq(burst.len < room)"),
    Mutation(
        "a gap", SPLITTER, "after = burst.addr[beat:] + room + 1", "after = burst.addr[beat:] + room + 2"
    ),
    Mutation(
        "taken early", SPLITTER, "self.i.ready.eq(self.o.ready & o.last)", "self.i.ready.eq(self.o.ready)"
    ),
    Mutation("not held", SPLITTER, "with m.If(self.o.valid & self.o.ready):", "with m.If(self.o.valid):"),
)
PROPERTIES = (
    *(
        Property(
            f"map-{timing.name}",
            partial(Places, timing),
            "the gates have Python's map, with ways lowest, then columns, sets, rows; it is a bijection; "
            "a stream meets a set again after all but one of the others",
            frames=2,
            mutations=ADDRESS_MUTATIONS if timing.name == "HBM3-6.4" else (),
        )
        for timing in (*TIMING_SETS.values(), GROUPED)
    ),
    *(
        Property(
            f"splitter-{timing.name}",
            partial(Pieces, timing),
            "the pieces of a burst have its beats, each once, in order; each is in one granule, and they "
            "are as few as "
            "can be",
            method="induction",
            depth=2,
            mutations=SPLITTER_MUTATIONS if timing is GROUPED else (),
            covers=timing.ways * timing.page_bytes < 4096,
        )
        for timing in (GROUPED, PHASES, TIMING_SETS["HBM3-6.4"], TIMING_SETS["DDR3-1600"])
    ),
)
