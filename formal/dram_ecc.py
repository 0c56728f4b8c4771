"""Check bits of a DRAM: what is read is what was written or an error, parts of bursts are merged with what
was written before, and what had flipped is written again."""

from dataclasses import replace
from functools import partial

from amaranth.hdl import *

from poblano.dram.address import AddressMap
from poblano.dram.check import BurstCheck
from poblano.dram.partial import PartialWrites
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


class _Ecc(Harness):
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


class Checks(_Ecc):
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


class Merges(_Ecc):
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
        ends, chosen = self._watch(m, put, dut.issue)
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

    def _watch(self, m, put, get):
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


class Partial(Merges):
    """Writes, scrubs and beats when they like; commands only for beats that have passed. One arbitrary beat
    is watched."""

    def prove(self, m):
        config = self.config
        dut, inside = self.peek("dut", PartialWrites(config))
        passes = dut.beats.valid & dut.beats.ready
        asks = dut.request.valid & dut.request.ready
        lacks = ~dut.beats.payload.strb.all()
        w = dut.w
        before = self.past(w.valid & ~w.ready, "w_before")
        self.assume(~before | (w.valid & (w.payload.as_value() == self.past(w.payload.as_value(), "w_was"))))
        passed = Signal(range(16))
        self.assume(~dut.issue | (passed != 0))
        m.d.sync += passed.eq(passed + passes - dut.issue)
        burst = dut.i.payload  # within a granule
        first = Cat(burst.place.group, burst.place.column)
        self.assume(~dut.i.valid | (first + burst.len < 1 << len(first)))
        place, bursts, count = self._next_place(m, dut, passes)
        ends, chosen = self._watch(m, passes, dut.issue)
        mine = Signal.like(place)
        with m.If(chosen):
            m.d.sync += mine.eq(place)
        self.check("read after writes", ~(self.watching & asks) | (place != mine))
        self.check("place", ~asks | (dut.request.payload.place.as_value() == place))
        self.check("a beat that lacks bytes is read", ~passes | (asks == lacks))
        self.check("only for beats", ~asks | passes)
        self._follow(inside, passed, bursts, count, mine, len(first))
        self.cover("asks", self.watching & asks & (self.past(place, "place_before") == place))
        self.cover("ends", ends)

    def _follow(self, inside, passed, bursts, count, mine, index_bits):
        """Where in the block's registers the bursts and the watched beat are."""
        depth = self.config.writes + 1
        of = lambda name: [inside[f"pending{n}_{name}"] for n in range(depth)]
        granule, after, last, left = (of(name) for name in ("granule", "next", "last", "left"))
        looked, there, index = inside["looked"], inside["count"], inside["index"]
        one_hot = lambda bits: (bits != 0) & ((bits & (bits - 1)) == 0)
        self.check("bursts", one_hot(looked) & one_hot(there) & (looked <= there))
        found, sums = [], [C(0, 5)]
        for n in range(depth):
            here = there[n + 1 :].any()
            self.check(f"begun {n}", ~looked[n] | here | ~inside["begun"])
            self.check(f"left {n}", ~here | (last[n] == after[n] + left[n]))
            self.check(f"passed {n}", ~looked[n] | (passed == sums[n] + Mux(here, index - after[n], 0)))
            self.check(f"index {n}", ~(looked[n] & here) | ((after[n] <= index) & (index <= last[n])))
            self.check(f"count {n}", ~looked[n] | (count <= depth - n))
            for k in range(depth - n):
                where, beats = bursts[k]
                start = index if k == 0 else after[n + k]
                same = (where == Cat(start, granule[n + k])) & (beats == last[n + k] - start)
                inside_too = there[n + k + 1 :].any()
                self.check(f"burst {n} {k}", ~looked[n] | ((count > k) == inside_too) & (~inside_too | same))
            at = mine[:index_bits]
            gone = Mux(looked[n], at < index, looked[n + 1 :].any())
            found.append(
                here
                & gone
                & (Cat(at, granule[n]) == mine)
                & (after[n] <= at)
                & (at <= last[n])
                & (self.ahead == sums[n] + (at - after[n]))
            )
            sums.append((sums[n] + left[n] + 1)[:5])
        none_left = (passed == sums[depth]) & ~inside["begun"] & (count == 0)
        self.check("all passed", ~looked[depth] | none_left)
        self.check("held", self.held == passed)
        self.check("mine", ~self.watching | Cat(found).any())

    def _next_place(self, m, dut, passes):
        """That of the next beat to pass, from the bursts that have come out: a queue of what is left."""
        layout = AddressMap(self.config.timing)
        index_bits = layout.bits["group"] + layout.bits["column"]
        bursts = [(Signal(layout.place.size, name=f"at{n}"), Signal(4, name=f"beats{n}")) for n in range(4)]
        count = Signal(range(5))
        comes = dut.o.valid & dut.o.ready
        at, left = bursts[0]
        gone = Signal()
        m.d.comb += gone.eq(passes & (left == 0))
        m.d.sync += count.eq(count + comes - gone)
        with m.If(passes):
            m.d.sync += [at[:index_bits].eq(at[:index_bits] + 1), left.eq(left - 1)]
        for n, (where, beats) in enumerate(bursts):
            if n + 1 < len(bursts):
                with m.If(gone):
                    m.d.sync += [where.eq(bursts[n + 1][0]), beats.eq(bursts[n + 1][1])]
            with m.If(comes & (count - gone == n)):
                m.d.sync += [where.eq(dut.o.payload.place), beats.eq(dut.o.payload.len)]
        self.check("beats have bursts", ~passes | (count != 0))
        return at, bursts, count


class Entries(_Ecc):
    """Bursts that enter: AXI's as they are, a scrub as a burst of one beat without an answer."""

    def prove(self, m):
        dut = self.add("dut", PartialWrites(self.config))
        out = dut.o.payload
        comes = dut.o.valid & dut.o.ready
        axi, scrub = dut.i.valid & dut.i.ready, dut.scrub.valid & dut.scrub.ready
        self.check("one", ~(axi & scrub) & (comes == (axi | scrub)))
        self.check("burst", ~axi | (out.as_value() == dut.i.payload.as_value()))
        alone = (out.place == dut.scrub.payload) & (out.len == 0) & ~out.last
        self.check("scrub", ~scrub | alone)
        waits = Signal(range(4))  # scrubs that wait while AXI's bursts go
        with m.If(scrub | ~dut.scrub.valid):
            m.d.sync += waits.eq(0)
        with m.Elif(axi):
            m.d.sync += waits.eq(waits + 1)
        self.check("in turn", waits <= 1)
        self.cover("scrub after AXI", scrub & dut.i.valid)


class Whole(Merges):
    """As :class:`Partial`: which beats are said to be whole."""

    def prove(self, m):
        dut = self.add("dut", PartialWrites(self.config))
        passes = dut.beats.valid & dut.beats.ready
        asks = dut.request.valid & dut.request.ready
        asked, old = Signal(range(8)), Signal(range(8))
        self.assume(~dut.returned | (asked != 0))
        self.assume(~dut.merged | (old != 0))
        m.d.sync += [asked.eq(asked + asks - dut.returned), old.eq(old + dut.returned - dut.merged)]
        self.check("room", asked + old <= self.config.writes)
        ends, chosen = self._watch(m, passes, dut.whole)
        missing, here = Signal(), Signal(range(8))
        with m.If(chosen):
            m.d.sync += [missing.eq(asks), here.eq(asked - dut.returned)]
        with m.Elif(dut.returned & missing):
            m.d.sync += [here.eq(here - 1), missing.eq(here != 0)]
        self.check("known", ~ends | ~missing)
        count = Signal(range(16))
        m.d.sync += count.eq(count + passes - dut.whole)
        self.check("each once", ~dut.whole | (count != 0))
        self.cover("ends", ends)


class Scrubs(_Ecc):
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


CHECK, WRITE, PARTIAL = "poblano.dram.check", "poblano.dram.write_data", "poblano.dram.partial"
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
PARTIAL_MUTATIONS = (
    Mutation(
        "writes unseen",
        PARTIAL,
        "checked.eq(here & partial & clear & ~go)",
        "checked.eq(here & partial & ~go)",
    ),
    Mutation("last beat unseen", PARTIAL, "index <= self.last", "index < self.last"),
    Mutation("first beat unseen", PARTIAL, "self.next <= index", "self.next < index"),
    Mutation("written too early", PARTIAL, "self.left.eq(burst.len)", "self.left.eq(0)"),
    Mutation("same place", PARTIAL, "at.eq(index + 1)", "at.eq(index)"),
    Mutation(
        "scrub reads nothing", PARTIAL, "scrubs | ~self.w.payload.strb.all()", "~self.w.payload.strb.all()"
    ),
)
ENTRY_MUTATIONS = (
    Mutation("answered", PARTIAL, "burst.last.eq(0)", "burst.last.eq(1)"),
    Mutation("never in turn", PARTIAL, "turn.eq(~scrubs)", "turn.eq(0)"),
    Mutation("both", PARTIAL, "self.o.ready & ~full & ~scrubs", "self.o.ready & ~full"),
)
WHOLE_MUTATIONS = (
    Mutation(
        "no room",
        PARTIAL,
        "here & partial & checked & free & (room.left != 0)",
        "here & partial & checked & free",
    ),
    Mutation("not waited for", PARTIAL, "flags.o.valid & (~waits | (known != 0))", "flags.o.valid"),
    Mutation("waits once", PARTIAL, "known + self.returned - (self.whole & waits)", "known + self.returned"),
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
        "written, with their sideband; they are poison exactly if an old one is used that is not known",
        mutations=MERGE_MUTATIONS,
        timeout=1500,
    ),
    Property(
        "partial-byte",
        partial(Partial, BYTE),
        "a beat without all strobes, and no other, has its own place read, after every earlier write to it "
        "has been issued",
        method="induction",
        depth=2,
        mutations=PARTIAL_MUTATIONS,
    ),
    Property(
        "entries-byte",
        partial(Entries, BYTE),
        "a scrub is a write of one beat without an answer, and does not wait for two bursts of masters, "
        "which are unchanged",
        mutations=ENTRY_MUTATIONS,
    ),
    Property(
        "whole-byte",
        partial(Whole, BYTE),
        "beats are said to be whole in order, each once, those that were read after the read has come",
        mutations=WHOLE_MUTATIONS,
    ),
    Property(
        "scrubs-byte",
        partial(Scrubs, BYTE, scrub_interval=5),
        "a burst that a master or the patrol found with flipped bits is written again, if not four others "
        "wait; the patrol reads all bursts in turn, each within two intervals",
        mutations=SCRUB_MUTATIONS,
    ),
)
