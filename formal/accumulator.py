"""The accumulator's memory: a total is read after it has been written, and meets the value of its own
block."""

from functools import partial
from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from poblano.formats import float32, scale
from poblano.formats.element import Arithmetic

from .harness import Harness, Mutation, Property

BITS = 1
"""Bits of numbers that the units below look at: sums are those of GF(2)."""


def _unit(latency, *operands):
    """The class of a pipeline in the place of a unit with two ``operands``: their low bits' XOR."""

    class Unit(wiring.Component):
        LATENCY = latency

        def __init__(self, *_):
            super().__init__({name: In(32) for name in operands} | {"o": Out(32), "en": In(1)})

        def elaborate(self, platform):
            m = Module()
            a, b = (getattr(self, name)[:BITS] for name in operands)
            line = Cat(Signal(BITS, name=f"stage{n}") for n in range(self.LATENCY))
            with m.If(self.en):
                m.d.sync += line.eq(Cat(a ^ b, line))
            m.d.comb += self.o.eq(line[-BITS:])
            return m

    return Unit


class Totals(Harness):
    """Commands of up to ``ROWS`` rows, of a group or of two in turn, and three steps, of one shape; two parts
    of one column each, or one of one.

    Floating-point units are pipelines of ``latency`` cycles that XOR one bit. ``source``: what is free,
    when its port gives it, the block sums, the scales or the factors; the other two are 0. One arbitrary
    row and part is followed: what is added up for it in every step must come out after the accumulator's
    latency, and be a result exactly in the last step.
    """

    ROWS = 2

    def __init__(self, latency, parts, source):
        super().__init__()
        self.latency, self.parts, self.source = latency, parts, source

    def _accumulator(self):
        """The accumulator with other units; its sums come straight from its port."""
        float32.FloatAdd = _unit(self.latency, "a", "b")
        scale.FloatScale = _unit(self.latency, "a", "scale")
        scale.IntegerScale = _unit(self.latency, "i", "scale")
        # A scale is its low bits: those of the activations' have 13 more below.
        scale.scale_of_float32 = lambda value: value[:19]
        from poblano.compute import accumulator, block_sums

        class Sums(wiring.Component):
            def __init__(self, config, *, tokens, ecc):
                super().__init__(dict(block_sums.BlockSums(config, tokens=tokens).signature.members))

            def elaborate(self, platform):
                m = Module()
                m.d.comb += [self.cmd.ready.eq(1), self.full.eq(self.i.valid), self.data.eq(self.i.payload)]
                return m

        for field in block_sums.SUMS_COMMAND:
            accumulator.ACCUMULATOR_COMMAND[field] = block_sums.SUMS_COMMAND[field] = 2
        accumulator.ACCUMULATOR_COMMAND["outer"] = accumulator.ACCUMULATOR_COMMAND["inner"] = 2
        accumulator.BlockSums = Sums
        array = SimpleNamespace(cols=self.parts, segments=1, arithmetic=Arithmetic(("int8",)))
        return accumulator.Accumulator(SimpleNamespace(array=array, scalers=1, tokens=self.ROWS, ecc=False))

    def prove(self, m):
        ports = {"number": "sums__payload", "scale": "scales__scales", "factor": "meta__payload"}
        dut = self.add(
            "dut",
            self._accumulator(),
            driven=[port for source, port in ports.items() if source != self.source],
        )
        rows, steps, inner = self.constant("rows", 2), self.constant("steps", 2), self.constant("inner", 2)
        self.assume((rows != 0) & (rows <= self.ROWS) & (steps != 0))
        self.assume((inner == 1) | (inner == 2) & (rows == 1))
        places = Mux(inner == 2, 2, rows)  # totals of a step
        command = dut.cmd.payload
        self.assume(
            (command.rows == rows)
            & (command.steps == steps)
            & (command.outer == 1)
            & (command.inner == inner)
            & command.scaled
        )
        en, issue = Signal(), Signal()
        m.d.comb += [en.eq(dut.o.ready | ~dut.o.valid), issue.eq(dut.scales.en)]
        part, row, step = Signal(range(self.parts + 1)), Signal(2), Signal(2)
        last_part, last_row, last_step = part == self.parts - 1, row == places - 1, step == steps - 1
        with m.If(issue):
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
            with m.If(last_part):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
                with m.If(last_row):
                    m.d.sync += step.eq(Mux(last_step, 0, step + 1))
        watched_row, watched_part = self.constant("row"), self.constant("part") if self.parts > 1 else C(0)
        self.assume(watched_row < places)
        self.check("issue", ~issue | en)
        # What is free is at its port when the row is issued (factors), or one cycle later.
        sums = [dut.sums.payload[0][n].value[:BITS] for n in range(self.parts)]
        part_late, factor = Signal.like(part), Signal(BITS)
        with m.If(en):
            m.d.sync += [part_late.eq(part), factor.eq(dut.meta.payload[0].scale[:BITS])]
        number = {
            "number": Mux(part_late == 0, sums[0], sums[-1]),
            "scale": dut.scales.scales[0][0].as_value()[:BITS],
            "factor": factor,
        }[self.source]
        late = lambda value, cycles, name: self._late(m, en, value, cycles, name)
        watched = late(issue & (row == watched_row) & (part == watched_part), dut.cycles.value, "watched")
        valid_last = late(Cat(issue, last_step), dut.cycles.value, "valid_last")
        first_step, number = (
            late(step == 0, dut.cycles.value, "first_step"),
            late(number, dut.cycles.value - 1, "number"),
        )
        # There it meets the total of the steps before.
        total, expected = Signal(BITS), Signal(BITS)
        m.d.comb += expected.eq(Mux(first_step, 0, total) ^ number)
        with m.If(en & watched):
            m.d.sync += total.eq(expected)
        before = late(Cat(watched, valid_last.all(), expected), self.latency, "result")
        self.check("total", ~before[0] | (dut.o.payload[0][:BITS] == before[2:]))
        self.check("result", dut.o.valid == before[1])
        self.cover("two steps", before[0] & before[1] & (steps == 2) & (before[2:] == 1))
        self.cover("three steps of two rows", before[0] & before[1] & (steps == 3) & (rows == 2))
        self.cover("three steps of two groups", before[0] & before[1] & (steps == 3) & (inner == 2))

    @staticmethod
    def _late(m, en, value, cycles, name):
        for n in range(cycles):
            after = Signal(len(value), name=f"{name}{n}")
            with m.If(en):
                m.d.sync += after.eq(value)
            value = after
        return value


MODULE = "poblano.compute.accumulator"
WHAT = (
    "each step's total of a row is the one before plus the block's own value, however short the steps and "
    "whatever stalls; it is given "
    "out in the last step only"
)
PROPERTIES = (
    Property(
        "number",
        partial(Totals, 1, 1, "number"),
        WHAT,
        frames=40,
        timeout=900,
        mutations=(
            Mutation(
                "read too soon",
                MODULE,
                "soon.eq(sum(recent) >= at.command.rows << exact_log2(parts))",
                "soon.eq(0)",
            ),
            Mutation(
                "one cycle short",
                MODULE,
                "2 + self.config.ecc + FloatAdd.LATENCY * self.config.array.segments",
                "1 + self.config.ecc + FloatAdd.LATENCY * self.config.array.segments",
            ),
            Mutation(
                "goes on from the last group",
                MODULE,
                "Mux(at_value.first, 0, kept[lane])",
                "Mux(0, 0, kept[lane])",
            ),
            Mutation(
                "row written too early",
                MODULE,
                "write_port.addr.eq(at_result.row)",
                "write_port.addr.eq(at_value.row)",
            ),
            Mutation(
                "groups in turn have one total",
                MODULE,
                "Mux(at.last.row & at.last.inner, 0, row + 1)",
                "Mux(at.last.row, 0, row + 1)",
            ),
            Mutation("does not stand still", MODULE, "en.eq(self.o.ready | ~self.o.valid)", "en.eq(1)"),
        ),
    ),
    Property(
        "scale",
        partial(Totals, 1, 1, "scale"),
        "the same for the weights' scales",
        frames=40,
        timeout=900,
        mutations=(
            Mutation(
                "scale of another",
                MODULE,
                'scaled.scale.eq(late("scale", self.scale))',
                'scaled.scale.eq(late("scale", self.scale, 2))',
            ),
        ),
    ),
    Property(
        "factor",
        partial(Totals, 1, 1, "factor"),
        "the same for the activations' scales",
        frames=40,
        timeout=900,
        mutations=(
            Mutation(
                "factor of another",
                MODULE,
                'delay(m, en, f"factor{s}", factor, self.cycles.shifted - 1)',
                'delay(m, en, f"factor{s}", factor, self.cycles.shifted - 2)',
            ),
        ),
    ),
)
