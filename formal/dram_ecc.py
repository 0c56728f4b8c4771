"""Check bits of a DRAM: what is read is what was written or an error, parts of bursts are merged with what
they leave, and what had flipped is written again."""

from dataclasses import replace
from functools import partial

from amaranth.hdl import *

from poblano.dram.address import AddressMap
from poblano.dram.check import BurstCheck
from poblano.dram.scrubber import WAITING, Scrubber
from poblano.dram.upkeep import Purpose
from poblano.dram.write_data import WriteData
from poblano.ecc.encoder import ECCEncoder

from .dram_sizes import GROUPED, small
from .harness import Harness, Mutation, Property, Watch

BYTE = replace(GROUPED, name="byte", sideband_bits=8, cwl=4)
"""A word is one byte, with 5 check bits."""
PAIR = replace(BYTE, name="pair", burst_bytes=2, page_bytes=4)
"""A word is two bytes, with 6 check bits."""


class Coded(Harness):
    def __init__(self, timing, **changes):
        super().__init__()
        self.config = small(timing, ecc=True, **changes)

    def encoded(self, m, name, bits):
        """The sideband of a word's bits, of poison and of the parity."""
        words = self.config.code
        encoder = self.add(name, ECCEncoder(words.code), driven=("data",))
        m.d.comb += encoder.data.eq(bits)
        return Cat(encoder.checks, encoder.data[8 * words.bytes :], C(0, words.sideband_bits))[
            : words.sideband_bits
        ]

    def watch(self, m, put, get):
        """Whether the watched element leaves in this cycle, enters in this cycle."""
        pick, seen, watching, ahead = self.free("pick"), Signal(), Signal(), Signal(range(16))
        held, chosen, ends = Signal(range(16)), Signal(), Signal()
        m.d.sync += held.eq(held + put - get)
        m.d.comb += [chosen.eq(put & pick & ~seen), ends.eq(watching & get & (ahead == 0))]
        with m.If(chosen):
            m.d.sync += [seen.eq(1), watching.eq(1), ahead.eq(held - get)]
        with m.Elif(get & watching):
            m.d.sync += [ahead.eq(ahead - 1), watching.eq(ahead != 0)]
        self.watching, self.ahead, self.held = watching, ahead, held
        return ends, chosen


class Checks(Coded):
    """An arbitrary word as it was written, with two arbitrary bits flipped, or one, or none."""

    def prove(self, m):
        words = self.config.code
        dut = self.add("dut", BurstCheck(self.config), driven=("data", "sideband"))
        written = self.free("written", words.code.data)
        sideband = self.encoded(m, "encoder", written)
        places = [self.free(f"place{n}", range(words.code.bits + 1)) for n in range(2)]
        first, second = (place < words.code.bits for place in places)  # or no bit flips there
        flipped = Cat((places[0] == n) | (places[1] == n) for n in range(words.code.bits))
        data_bits = 8 * words.bytes
        m.d.comb += [
            dut.data.eq(written[:data_bits] ^ flipped[:data_bits]),
            dut.sideband.eq(sideband ^ flipped[data_bits:]),
        ]
        two = first & second & (places[0] != places[1])
        one = (first | second) & ~two
        poison, parity = written[data_bits:]
        before = lambda name, value: self.past(value, name)
        good = before("good", ~two & ~poison & (parity == dut.parity))
        started = before("started", 1)
        self.check("data", ~before("known", ~two) | (dut.o == before("word", written[:data_bits])))
        self.check("corrected", ~started | (dut.corrected == before("one", one)))
        self.check("broken", ~started | (dut.broken == before("two", two)))
        self.check("failed", ~started | (dut.failed[0] == ~good))
        self.cover("good and corrected", good & dut.corrected)
        self.cover("poison", dut.failed[0] & ~dut.broken & ~dut.corrected)


class Merges(Coded):
    """Write data when AXI likes, commands when there are beats; a beat is said to be whole when it is, or
    what it does not write has come. One arbitrary beat is watched."""

    def prove(self, m):
        config, latency = self.config, self.config.cycles.write_latency
        words, bits = config.code, config.axi.data_width
        dut = self.add("dut", WriteData(config))
        put, beat, old = dut.w.valid & dut.w.ready, dut.w.payload, dut.old
        lacks = ~beat.strb.all()
        # In order, whether beats that are not said to be whole lack bytes; how many of these have come.
        waiting, flags, known = Signal(range(8)), Signal(8), Signal(range(8))
        self.assume(~dut.whole | ((waiting != 0) & (~flags[0] | (known != 0))))
        m.d.sync += [
            waiting.eq(waiting + put - dut.whole),
            flags.eq((flags | (put & lacks) << waiting) >> dut.whole),
            known.eq(known + old.valid - (dut.whole & flags[0])),
        ]
        unread, kept = Signal(range(8)), Signal(range(8))  # beats whose old bytes have not come; old ones
        self.assume(~old.valid | ((unread != 0) & (kept < config.writes)))
        m.d.sync += [unread.eq(unread + (put & lacks) - old.valid), kept.eq(kept + old.valid - dut.merged)]
        self.assume(~dut.issue | ((dut.beats != 0) & dut.room))
        ends, chosen = self.watch(m, put, dut.issue)
        data, strb, lacked = Signal.like(beat.data), Signal.like(beat.strb), Signal()
        missing, before, here = (
            Signal(),
            Signal.like(old),
            Signal(range(8)),
        )  # old beats that come before mine
        with m.If(chosen):
            m.d.sync += [data.eq(beat.data), strb.eq(beat.strb), lacked.eq(lacks)]
            m.d.sync += [missing.eq(lacks), here.eq(unread - old.valid)]
        with m.Elif(old.valid & missing):
            m.d.sync += [here.eq(here - 1), missing.eq(here != 0)]
            with m.If(here == 0):
                m.d.sync += before.eq(old)
        where = Signal.like(dut.place)
        with m.If(ends):
            m.d.sync += where.eq(dut.place)
        written = Cat(
            Mux(strb[n], data.word_select(n, 8), before.data.word_select(n, 8)) for n in range(bits // 8)
        )
        poison = lacked & before.failed[0]
        line = Signal(2 + latency)
        m.d.comb += line[0].eq(ends)
        m.d.sync += line[1:].eq(line[:-1])
        now, there = line[1 + latency], words.sideband(dut.pins.sideband)
        self.check("data", ~now | (dut.pins.data == written))
        self.check("all bytes", ~now | dut.pins.strb.all())
        self.check("poison", ~now | (there.poison == poison))
        self.check("parity", ~now | (there.parity == where.as_value().xor()))
        word = Cat(dut.pins.data, there.poison, there.parity)
        self.check("check bits", dut.pins.sideband == self.encoded(m, "encoder", word))
        self.cover("merged", now & lacked & strb.any() & (data != 0))
        self.cover("poison", now & poison)


class Scrubs(Coded):
    """Anything is found at any time, and is told whenever the writes like. One arbitrary burst that has
    flipped bits is watched."""

    def prove(self, m):
        config = self.config
        dut = self.add("dut", Scrubber(config))
        found, taken = dut.found, dut.read.valid & dut.read.ready
        by_reader = (found.purpose == Purpose.MASTER) | (found.purpose == Purpose.PATROL)
        held = Signal(range(WAITING + 1))
        put, get = (found.corrected | found.broken) & by_reader & (held < WAITING), dut.scrub.ready
        leaves = dut.scrub.valid & get
        m.d.sync += held.eq(held + put - leaves)
        Watch(
            self,
            m,
            "burst",
            put=put,
            put_data=found.place.as_value(),
            get=leaves,
            get_data=dut.scrub.payload.as_value(),
            capacity=WAITING,
        )
        waited = Signal(range(4))
        m.d.sync += waited.eq(Mux((held != 0) & ~dut.scrub.valid, waited + 1, 0))
        self.check("told at once", waited == 0)
        places = AddressMap(config.timing)
        number, since = Signal(config.addr_width), Signal(range(4 * config.scrub_interval))
        m.d.sync += [number.eq(number + taken), since.eq(Mux(taken | ~dut.read.ready, 0, since + 1))]
        where = places.place_of(Cat(C(0, places.bits["byte"]), number))
        self.check("all bursts", ~taken | (dut.read.payload.place == where))
        self.check("to see", ~taken | (dut.read.payload.id == Purpose.PATROL))
        self.check("in time", since <= 2 * config.scrub_interval)
        self.cover("late", taken & (since > config.scrub_interval))


CHECK, WRITE = "poblano.dram.check", "poblano.dram.write_data"
SCRUBBER = "poblano.dram.scrubber"
CHECK_MUTATIONS = (
    Mutation(
        "poison unseen",
        CHECK,
        "corrector.failed | poison | (written != parity)",
        "corrector.failed | (written != parity)",
    ),
    Mutation(
        "address unseen",
        CHECK,
        "corrector.failed | poison | (written != parity)",
        "corrector.failed | poison",
    ),
    Mutation(
        "double unseen",
        CHECK,
        "corrector.failed | poison | (written != parity)",
        "poison | (written != parity)",
    ),
    Mutation(
        "address of another",
        CHECK,
        "m.d.sync += parity.eq(self.parity)",
        "m.d.comb += parity.eq(self.parity)",
    ),
    Mutation("not told", CHECK, "corrected[n].eq(corrector.corrected)", "corrected[n].eq(0)"),
)
MERGE_MUTATIONS = (
    Mutation(
        "old bytes win",
        WRITE,
        "Mux(new.strb[n], new.data.word_select(n, 8), old.data.word_select(n, 8))",
        "Mux(new.strb[n], old.data.word_select(n, 8), new.data.word_select(n, 8))",
    ),
    Mutation("no poison", WRITE, "missing & (old.failed[n] | kept.failed)", "0"),
    Mutation(
        "poison of another", WRITE, "missing & (old.failed[n] | kept.failed)", "old.failed[n] | kept.failed"
    ),
    Mutation("old of another", WRITE, "pops & partial", "pops"),
    Mutation(
        "parity unseen",
        WRITE,
        "Cat(burst.word_select(n, 8 * words.bytes), poison[n], odd)",
        "Cat(burst.word_select(n, 8 * words.bytes), poison[n], 0)",
    ),
    Mutation("parity too early", WRITE, "m.d.sync += odd.eq(parity)", "m.d.comb += odd.eq(parity)"),
    Mutation("old stays", WRITE, "kept.o.ready.eq(self.merged)", "kept.o.ready.eq(0)"),
    Mutation(
        "counted when it enters",
        WRITE,
        "self.whole if config.ecc else history(m, 1, 'entered', enters, 1)[-1]",
        "enters if config.ecc else history(m, 1, 'entered', enters, 1)[-1]",
    ),
)
SCRUB_MUTATIONS = (
    Mutation(
        "double stays",
        SCRUBBER,
        "(found.corrected | found.broken) & by_reader",
        "found.corrected & by_reader",
    ),
    Mutation(
        "scrubs scrubs",
        SCRUBBER,
        "(found.corrected | found.broken) & by_reader",
        "found.corrected | found.broken",
    ),
    Mutation("one place", SCRUBBER, "burst.eq(burst + 1)", "burst.eq(burst)"),
    Mutation("waits for ever", SCRUBBER, "due & (self.idle | late)", "due & self.idle"),
)
PROPERTIES = (
    Property(
        "checks-byte",
        partial(Checks, BYTE),
        "what a burst is corrected to, and what is said of it, whatever bit or two of it have flipped; "
        "poison and another address are found",
        mutations=CHECK_MUTATIONS,
    ),
    Property(
        "merges-pair",
        partial(Merges, PAIR),
        "of each beat the bytes with strobes and the others' old ones are on the pins at their time, all "
        "written, with their sideband; they are poison exactly if an old one is used that is not known: in "
        "the first 16 cycles, in which all queues fill and empty",
        method="bounded",
        depth=16,
        mutations=MERGE_MUTATIONS,
    ),
    Property("merges-pair-any", partial(Merges, PAIR), "the same at any time", timeout=1500, covers=False),
    Property(
        "scrubs-byte",
        partial(Scrubs, BYTE, scrub_interval=5),
        "a burst that a master or the patrol found with flipped bits is written again, if not four others "
        "wait; the patrol reads all bursts in turn, each within two intervals",
        mutations=SCRUB_MUTATIONS,
    ),
)
