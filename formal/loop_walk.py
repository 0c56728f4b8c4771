"""Nested loops over a command."""

from amaranth.hdl import *

from poblano.stream.loop_walk import LoopWalk

from .harness import Harness, Mutation, Property

MODULE = "poblano.stream.loop_walk"


FIELDS = {"a": 2, "b": 3, "c": 1}
LOOPS = {"x": "a", "y": 3, "z": "b"}


class Loops(Harness):
    """Three loops with bounds from the command (at least 1) and a fixed one."""

    def prove(self, m):
        dut = self.add("dut", LoopWalk(fields=FIELDS, loops=LOOPS))
        command = dut.cmd.payload
        self.assume((command.a != 0) & (command.b != 0))
        put, o = dut.cmd.valid & dut.cmd.ready, dut.o.payload
        step = dut.o.valid & dut.o.ready
        # What is expected: the command taken last, iteration by iteration; the position is the iteration's
        # number.
        active, number = Signal(), Signal(8)
        kept = Signal.like(command.as_value(), reset_less=True)
        expected = command.shape()(kept)
        total = Signal(8)
        last = Signal()
        m.d.comb += [total.eq(expected.a * 3 * expected.b), last.eq(number == total - 1)]
        with m.If(put):
            m.d.sync += [active.eq(1), kept.eq(command), number.eq(0)]
        with m.Elif(step & last):
            m.d.sync += active.eq(0)
        with m.Elif(step):
            m.d.sync += number.eq(number + 1)
        bounds = {"x": expected.a, "y": 3, "z": expected.b}
        self.check("no gap", dut.o.valid == active)
        self.check("command", ~active | (o.command.as_value() == kept))
        self.check("number", ~active | ((o.index.x * 3 + o.index.y) * expected.b + o.index.z == number))
        for name, bound in bounds.items():
            self.check(f"range_{name}", ~active | (o.index[name] < bound))
            self.check(f"first_{name}", ~active | (o.first[name] == (o.index[name] == 0)))
            self.check(f"last_{name}", ~active | (o.last[name] == (o.index[name] == bound - 1)))
        self.check("next", dut.cmd.ready == (~active | (step & last)))
        self.cover("two", put & step)
        self.cover("end", step & last & (total >= 18))
        self.cover("one", step & last & (expected.a == 1) & (expected.b == 1))


PROPERTIES = (
    Property(
        "loops",
        Loops,
        "each iteration once, in order, in consecutive cycles; first, last and index are right; no gap "
        "between commands",
        frames=24,
        mutations=(
            Mutation("wrong order", MODULE, "for name in reversed(self.loops):", "for name in self.loops:"),
            Mutation("one too few", MODULE, "(bound - 2) % (1 << width)", "(bound - 3) % (1 << width)"),
            Mutation("never alone", MODULE, "single[name].eq(value == 1)", "single[name].eq(0)"),
            Mutation(
                "command lost",
                MODULE,
                "self.cmd.ready.eq(~active | (self.o.ready & o.last.as_value().all()))",
                "self.cmd.ready.eq(~active | o.last.as_value().all())",
            ),
            Mutation(
                "gap",
                MODULE,
                "self.cmd.ready.eq(~active | (self.o.ready & o.last.as_value().all()))",
                "self.cmd.ready.eq(~active)",
            ),
            Mutation(
                "not waiting", MODULE, "with m.If(self.o.valid & self.o.ready):", "with m.If(self.o.valid):"
            ),
            Mutation(
                "starts late",
                MODULE,
                "Mux(last[name], 0, index[name] + 1)",
                "Mux(last[name], 1, index[name] + 1)",
            ),
        ),
    ),
)
