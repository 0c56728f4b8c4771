"""The data of a DRAM controller: each beat goes with its own command, none is lost, and AXI's rules are
kept."""

from dataclasses import replace
from functools import partial

from amaranth.hdl import *

from poblano.dram.read_data import ReadData
from poblano.dram.write_data import WriteData

from .dram_sizes import GROUPED, PHASES, SHARED, small
from .harness import Harness, Mutation, Property, Watch

LONG = replace(GROUPED, name="long", burst_clocks=4, cwl=2, burst_bytes=2, page_bytes=4)
"""Data of a burst are on the pins for two cycles."""


class _Data(Harness):
    def __init__(self, timing):
        super().__init__()
        self.config = small(timing)

    def stable(self, name, channel):
        """AXI: what is offered stays until it is taken."""
        before = self.past(channel.valid & ~channel.ready, name + "_before")
        same = channel.payload.as_value() == self.past(channel.payload.as_value(), name + "_payload")
        self.check(name + " stable", ~before | (channel.valid & same))

    def after(self, flag, cycles, name):
        """``flag`` of ``cycles`` cycles before."""
        line = Signal(cycles + 1, name=name)
        self._m.d.comb += line[0].eq(flag)
        if cycles:
            self._m.d.sync += line[1:].eq(line[:-1])
        return line[-1]


class Reads(_Data):
    """Read commands only when there is room, any data at the pins at any time, answers taken when AXI likes.
    One arbitrary command is watched."""

    def prove(self, m):
        config, cycles = self.config, self.config.cycles
        dut = self.add("dut", ReadData(config))
        self.assume(~dut.issue | dut.room)
        beat, taken = dut.r.payload, dut.r.valid & dut.r.ready
        watch = Watch(
            self,
            m,
            "command",
            put=dut.issue,
            put_data=Cat(dut.id, dut.last),
            get=taken,
            get_data=Cat(beat.id, beat.last),
            capacity=config.read_beats,
        )
        mine, bits = dut.issue & watch.pick & ~watch.seen, len(dut.pins.data)
        data = Signal(config.axi.data_width)
        # The command is on the pins one cycle later.
        for n in range(cycles.burst):
            with m.If(self.after(mine, 1 + cycles.read_latency + n, f"cycle{n}")):
                m.d.sync += data[n * bits :][:bits].eq(dut.pins.data)
        self.check("data", ~watch.ends | (beat.data == data))
        self.check("okay", ~dut.r.valid | (beat.resp == 0))
        self.stable("r", dut.r)


class Writes(_Data):
    """Write data when AXI likes, write commands only with data and room for an answer and a burst's time
    apart. One arbitrary beat and one arbitrary answer are watched."""

    def prove(self, m):
        config, cycles = self.config, self.config.cycles
        dut = self.add("dut", WriteData(config))
        apart = Cat(self.after(dut.issue, n, f"issued{n}") for n in range(1, cycles.burst))
        self.assume(~dut.issue | ((dut.beats != 0) & dut.room & ~apart.any()))
        put, beat, bits = dut.w.valid & dut.w.ready, dut.w.payload, len(dut.pins.data)
        ahead, watching, seen, pick = Signal(range(16)), Signal(), Signal(), self.free("pick")
        held, chosen, ends = Signal(range(16)), Signal(), Signal()
        data, strb = Signal.like(beat.data), Signal.like(beat.strb)
        m.d.sync += held.eq(held + put - dut.issue)
        m.d.comb += [chosen.eq(put & pick & ~seen), ends.eq(watching & dut.issue & (ahead == 0))]
        with m.If(chosen):
            m.d.sync += [
                seen.eq(1),
                watching.eq(1),
                ahead.eq(held - dut.issue),
                data.eq(beat.data),
                strb.eq(beat.strb),
            ]
        with m.Elif(dut.issue & watching):
            m.d.sync += [ahead.eq(ahead - 1), watching.eq(ahead != 0)]
        self.check("only beats that are there", dut.beats <= held)
        for n in range(cycles.burst):
            now = self.after(ends, 1 + cycles.write_latency + n, f"cycle{n}")
            wide = len(dut.pins.strb)
            self.check(f"data {n}", ~now | (dut.pins.data == data[n * bits :][:bits]))
            self.check(f"strb {n}", ~now | (dut.pins.strb == strb[n * wide :][:wide]))
        answers = Watch(
            self,
            m,
            "answer",
            put=dut.issue & dut.last,
            put_data=dut.id,
            get=dut.b.valid & dut.b.ready,
            get_data=dut.b.payload.id,
            capacity=config.writes,
        )
        self.check("okay", ~dut.b.valid | (dut.b.payload.resp == 0))
        waited = Signal(range(4))
        m.d.sync += waited.eq(Mux((answers.held != 0) & ~dut.b.valid, waited + 1, 0))
        self.check("answered at once", waited == 0)
        self.stable("b", dut.b)
        self.cover("beat", ends & (data != 0))


READ, WRITE = "poblano.dram.read_data", "poblano.dram.write_data"
READ_MUTATIONS = (
    Mutation(
        "a cycle early",
        READ,
        "history(m, 1, 'flight', self.issue, flight)[-1]",
        "history(m, 1, 'flight', self.issue, flight)[-2]",
    ),
    Mutation("no room", READ, "self.room.eq(room.left != 0)", "self.room.eq(1)"),
    Mutation("room too soon", READ, "room.give.eq(self.r.valid & self.r.ready)", "room.give.eq(arrives)"),
    Mutation("last cycle first", READ, "return Cat(parts)", "return Cat(parts[::-1])"),
)
WRITE_MUTATIONS = (
    Mutation(
        "a cycle early",
        WRITE,
        "history(m, 1, 'issued', self.issue, cycles.write_latency)[-1]",
        "history(m, 1, 'issued', self.issue, cycles.write_latency)[-2]",
    ),
    Mutation(
        "answer to each beat",
        WRITE,
        "answers.i.valid.eq(self.issue & self.last)",
        "answers.i.valid.eq(self.issue)",
    ),
    Mutation("strobes stay", WRITE, "self.pins.strb.eq(word.strb)", "self.pins.strb.eq(-1)"),
    Mutation("answers overflow", WRITE, "self.room.eq(room.left != 0)", "self.room.eq(1)"),
)
PROPERTIES = (
    *(
        Property(
            f"reads-{timing.name}",
            partial(Reads, timing),
            "the n-th beat on R is that of the n-th read command, with its id and last, and the data that "
            "were on the pins at its "
            "time; R keeps what it offers",
            mutations=READ_MUTATIONS if timing is LONG else (),
        )
        for timing in (LONG, GROUPED, PHASES)
    ),
    *(
        Property(
            f"writes-{timing.name}",
            partial(Writes, timing),
            "the n-th beat on W is on the pins at the time of the n-th write command; each last command has "
            "one answer, in order, in the "
            "next cycle; B keeps what it offers",
            mutations=WRITE_MUTATIONS if timing is LONG else (),
        )
        for timing in (LONG, GROUPED, SHARED)
    ),
)
