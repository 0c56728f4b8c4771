"""Writes of parts of a DRAM's bursts: what they leave is read after all that was written before."""

from functools import partial

from amaranth.hdl import *

from poblano.dram.address import AddressMap
from poblano.dram.partial import PartialWrites

from .dram_ecc import BYTE, Coded
from .harness import Mutation, Property


class Partial(Coded):
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
        first = Cat(burst.place.way, burst.place.column)
        self.assume(~dut.i.valid | (first + burst.len < 1 << len(first)))
        place, bursts, count = self._next_place(m, dut, passes)
        ends, chosen = self.watch(m, passes, dut.issue)
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
        index_bits = layout.bits["way"] + layout.bits["column"]
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


class Entries(Coded):
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


class Whole(Coded):
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
        ends, chosen = self.watch(m, passes, dut.whole)
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


PARTIAL = "poblano.dram.partial"
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
PROPERTIES = (
    Property(
        "order",
        partial(Partial, BYTE),
        "a beat without all strobes, and no other, has its own place read, after every earlier write to it "
        "has been issued",
        method="induction",
        depth=2,
        mutations=PARTIAL_MUTATIONS,
    ),
    Property(
        "entries",
        partial(Entries, BYTE),
        "a scrub is a write of one beat without an answer, and does not wait for two bursts of masters, "
        "which are unchanged",
        mutations=ENTRY_MUTATIONS,
    ),
    Property(
        "whole",
        partial(Whole, BYTE),
        "beats are said to be whole in order, each once, those that were read after the read has come",
        mutations=WHOLE_MUTATIONS,
    ),
)
