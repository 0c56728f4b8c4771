"""The guards of read and write masters: what began before a reset of the master ends outside and does not
come back inside."""

from functools import partial

from amaranth.hdl import *

from poblano.axi.read_guard import AXIReadGuard
from poblano.axi.signature import AXIConfig
from poblano.axi.write_guard import AXIWriteGuard

from .harness import Harness, Mutation, Property

CONFIG = AXIConfig(addr_width=1, data_width=8)
MOST = 15
"""Of what is counted."""


class ReadGuard(Harness):
    """The master keeps an address until it is taken, but for a reset of it, and then begins afresh: it has at
    most ``outstanding`` bursts. The memory answers what has begun, whenever it likes, in beats of any number.
    """

    def __init__(self, outstanding):
        super().__init__()
        self.outstanding = outstanding

    def prove(self, m):
        dut = self.add("dut", AXIReadGuard(CONFIG, outstanding=self.outstanding))
        begins, ends = dut.o.ar.valid & dut.o.ar.ready, dut.o.r.valid & dut.o.r.ready & dut.o.r.payload.last
        taken = dut.i.ar.valid & dut.i.ar.ready
        given = dut.i.r.valid & dut.i.r.ready
        # Outside and inside: bursts that have begun and not ended, of all and of those since the reset.
        outside, inside = Signal(range(MOST + 1)), Signal(range(MOST + 1))
        m.d.sync += outside.eq(outside + begins - ends)
        m.d.sync += inside.eq(Mux(dut.cut, 0, inside + taken - (given & dut.i.r.payload.last)))
        self.assume(~dut.o.r.valid | (outside != 0))
        self.assume(~dut.i.ar.valid | (inside != self.outstanding))
        self.check("bound", outside <= self.outstanding)
        self.check("same transfers", taken == begins)
        # What comes inside answers what began inside; while bursts from before are left, nothing does.
        before = outside != inside
        self.check("nothing from before", ~dut.i.r.valid | (inside != 0) & ~before)
        self.check("nothing new", ~before | ~dut.o.ar.valid)
        self.check("more outside", outside >= inside)
        self.check("taken", ~(before & dut.o.r.valid) | dut.o.r.ready)
        same = dut.o.r.payload.as_value() == dut.i.r.payload.as_value()
        self.check("passes", before | (dut.i.r.valid == dut.o.r.valid) & same)
        self.check("address", dut.o.ar.payload.as_value() == dut.i.ar.payload.as_value())
        self.check("at once", before | (dut.o.ar.valid == dut.i.ar.valid))
        self.cover("drained", before & ends & (outside == 1))
        self.cover("full", outside == self.outstanding)


class WriteGuard(Harness):
    """The master offers a burst's data in a cycle after its address', keeps what it offers until it is taken,
    but for a reset of it, and then begins afresh. The memory takes addresses and data whenever it likes, and
    answers a burst when it has all of it.
    """

    def __init__(self, outstanding, ahead, longest):
        super().__init__()
        self.outstanding, self.ahead, self.longest = outstanding, ahead, longest

    def prove(self, m):
        guard = AXIWriteGuard(CONFIG, outstanding=self.outstanding, ahead=self.ahead, longest=self.longest)
        dut = self.add("dut", guard)
        inner, outer = dut.i, dut.o
        self._master(m, dut)
        beat, answer = outer.w.valid & outer.w.ready, outer.b.valid & outer.b.ready

        # Outside what is offered stays, with its payload, until it is taken.
        waits = {}
        for name, channel in (("aw", outer.aw), ("w", outer.w)):
            waits[name] = self.past(channel.valid & ~channel.ready, f"waits_{name}")
            payload = channel.payload.as_value()
            same = channel.valid & (payload == self.past(payload, f"was_{name}"))
            self.check(f"stable {name}", ~waits[name] | same)
        # A burst has as many beats as its address said.
        new = outer.aw.valid & ~waits["aw"]
        owed, last, ends = self._lengths(m, "outside", new, outer.aw.payload.len, outer.w, 0)
        self.check("after its address", ~outer.w.valid | (owed != 0))
        self.check("last", ~outer.w.valid | (outer.w.payload.last == last))
        # The memory answers what it has all of.
        count = lambda name, up, down, clear=0: self._count(m, name, up, down, clear)
        complete = count("complete", ends, answer)
        addressed = count("addressed", outer.aw.valid & outer.aw.ready, answer)
        self.assume(~outer.b.valid | (complete != 0) & (addressed != 0))
        # Until all bursts from before the reset are answered the master sees no answer, and begins nothing.
        outside = count("outside", new, answer)
        inside = count("inside", new, inner.b.valid & inner.b.ready, dut.cut)
        before = outside != inside
        self.check("more outside", outside >= inside)
        self.check("bound", outside <= self.outstanding)
        self.check("answers inside", ~inner.b.valid | (inside != 0) & ~before)
        self.check("answers taken", ~(before & outer.b.valid) | outer.b.ready)
        self.check("nothing new", ~before | ~new)
        self.check("nothing taken", ~before | ~(inner.aw.ready | inner.w.ready))
        self.check("strobes", ~(before & outer.w.valid) | waits["w"] | (outer.w.payload.strb == 0))
        self.check("owes", ~before | (owed == 0) | outer.w.valid)
        # Otherwise all passes, at once.
        self.check("address passes", before | (outer.aw.valid == inner.aw.valid))
        self.check("beat passes", before | (outer.w.valid == inner.w.valid & (owed != 0)))
        same = outer.w.payload.as_value() == inner.w.payload.as_value()
        self.check("same beat", before | ~outer.w.valid | same)
        self.check("same address", before | (outer.aw.payload.as_value() == inner.aw.payload.as_value()))
        self.check("both take", before | (beat == (inner.w.valid & inner.w.ready)))
        self.cover("drained", before & answer & (outside == 1))
        self.cover("owes two", before & (owed == 2))

    def _count(self, m, name, up, down, clear):
        value = Signal(range(MOST + 1), name=name)
        m.d.sync += value.eq(Mux(clear, 0, value + up - down))
        return value

    def _lengths(self, m, name, new, length, w, clear):
        """Of bursts whose addresses have been offered and whose data have not passed: how many, whether the
        next beat is the last of the first, and whether that passes."""
        lengths = [Signal(range(self.longest), name=f"{name}_length{n}") for n in range(self.ahead + 2)]
        owed, index = (
            Signal(range(MOST), name=f"{name}_owed"),
            Signal(range(self.longest), name=f"{name}_index"),
        )
        beat, last, ends = w.valid & w.ready, Signal(name=f"{name}_last"), Signal(name=f"{name}_ends")
        m.d.comb += [last.eq(index == lengths[0]), ends.eq(beat & last)]
        m.d.sync += owed.eq(Mux(clear, 0, owed + new - ends))
        for n, (value, following) in enumerate(zip(lengths, [*lengths[1:], C(0)])):
            with m.If(new & (owed - ends == n)):
                m.d.sync += value.eq(length)
            with m.Elif(ends):
                m.d.sync += value.eq(following)
        with m.If(clear):
            m.d.sync += index.eq(0)
        with m.Elif(beat):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        return owed, last, ends

    def _master(self, m, dut):
        """Assumes what the master does."""
        aw, w, b = dut.i.aw, dut.i.w, dut.i.b
        waits = {}
        for name, channel in (("aw", aw), ("w", w)):
            waits[name] = self.past(channel.valid & ~channel.ready & ~dut.cut, f"inner_waits_{name}")
            payload = channel.payload.as_value()
            same = channel.valid & (payload == self.past(payload, f"inner_was_{name}"))
            self.assume(~waits[name] | same)
        new = aw.valid & ~waits["aw"]
        owed, last, _ = self._lengths(m, "master", new, aw.payload.len, w, dut.cut)
        self.assume(aw.payload.len < self.longest)
        self.assume(~w.valid | (owed != 0) & (w.payload.last == last))
        unanswered = self._count(m, "master_unanswered", new, b.valid & b.ready, dut.cut)
        self.assume(~new | (owed <= self.ahead) & (unanswered != self.outstanding))


READ, WRITE = "poblano.axi.read_guard", "poblano.axi.write_guard"
PROPERTIES = (
    *(
        Property(
            f"read-{outstanding}",
            partial(ReadGuard, outstanding),
            "after a reset of the master no answer to a burst from before reaches it, and nothing begins "
            "before all of these are answered; otherwise all passes at once",
            mutations=(
                Mutation(
                    "does not wait",
                    READ,
                    "may.eq(~draining & (in_flight != self.outstanding))",
                    "may.eq(in_flight != self.outstanding)",
                ),
                Mutation("gives old data", READ, "o.r.valid & ~draining", "o.r.valid"),
                Mutation("does not take", READ, "i.r.ready | draining", "i.r.ready"),
                Mutation(
                    "ends with a beat",
                    READ,
                    "o.r.valid & o.r.ready & o.r.payload.last",
                    "o.r.valid & o.r.ready",
                ),
                Mutation("forgets", READ, "(draining | self.cut) & (left != 0)", "self.cut & (left != 0)"),
            )
            if outstanding == 2
            else (),
        )
        for outstanding in (1, 2, 4)
    ),
    *(
        Property(
            f"write-{outstanding}-{ahead}-{longest}",
            partial(WriteGuard, outstanding, ahead, longest),
            "after a reset of the master its bursts end by AXI's rules, with strobes of 0; none of their "
            "answers reaches it, and nothing begins before all are answered; otherwise all passes at once",
            mutations=(
                Mutation("withdraws", WRITE, "Mux(draining, offered, aw.valid & may)", "aw.valid & may"),
                Mutation(
                    "address changes",
                    WRITE,
                    "out.payload.eq(Mux(draining, kept, aw.payload))",
                    "out.payload.eq(aw.payload)",
                ),
                Mutation("beat changes", WRITE, "Mux(draining, kept.data, w.payload.data)", "w.payload.data"),
                Mutation(
                    "writes",
                    WRITE,
                    "with m.Elif(passes):\n    m.d.sync += kept.strb.eq(0)",
                    "with m.Elif(0):\n    m.d.sync += kept.strb.eq(0)",
                ),
                Mutation(
                    "owes", WRITE, "lengths.o.valid & (w.valid | draining)", "lengths.o.valid & w.valid"
                ),
                Mutation("gives old answers", WRITE, "o.b.valid & ~draining", "o.b.valid"),
                Mutation("forgets", WRITE, "(draining | self.cut) & goes_on", "self.cut & goes_on"),
            )
            if (outstanding, ahead) == (2, 1)
            else (),
        )
        for outstanding, ahead, longest in ((2, 1, 2), (3, 2, 4))
    ),
)
