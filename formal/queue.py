"""A unit's queue of commands and their waits."""

from functools import partial

from amaranth.hdl import *

from poblano.control import queue
from poblano.control.queue import UnitQueue
from poblano.isa.commands import COUNT_BITS, NO_UNIT, WAITS
from poblano.isa.layout import WaitLayout

from .harness import Harness, Mutation, Property, Watch


class Queue(Harness):
    """Two commands, two units, two commands in the unit. The unit completes only what it has; waits name
    existing units or none; a wait that holds goes on holding, as counts only grow. Of a command the waits
    and the opcode, and the lowest bits of the last word and of its index, are followed: the queue only
    carries the rest. One arbitrary command is watched.
    """

    UNITS, IN_FLIGHT = 2, 2

    def __init__(self, depth):
        super().__init__()
        self.depth = depth

    def prove(self, m):
        queue.IN_FLIGHT = self.IN_FLIGHT
        dut = self.add("dut", UnitQueue(depth=self.depth, units=self.UNITS), driven=["unit_done"])
        put = dut.i.valid & dut.i.ready
        given = dut.cmd.valid & dut.cmd.ready
        command = dut.i.payload.command
        tag = Cat(command.as_value()[-1], dut.i.payload.index[0])
        # The unit: completes what it was given.
        inside = Signal(range(self.IN_FLIGHT + 1))
        finish = self.free("finish")
        m.d.comb += dut.unit_done.eq(finish & (inside != 0))
        m.d.sync += inside.eq(inside + given - dut.unit_done)
        self.check("in the unit", ~given | (inside < self.IN_FLIGHT))

        # Commands in the queue, in order; the start tells a NOP from others only by what the unit sees.
        nop = command.opcode == 0
        watch = Watch(
            self, m, "queue", put=put, put_data=nop, get=dut.start, get_data=~given, capacity=self.depth
        )
        kept = Signal(2, reset_less=True)
        waits = [Signal(WaitLayout(), name=f"wait{n}", reset_less=True) for n in range(WAITS)]
        with m.If(put & watch.pick & ~watch.seen):
            m.d.sync += [kept.eq(tag), *(wait.eq(command.waits[n]) for n, wait in enumerate(waits))]
        self.check("command", ~(watch.ends & given) | (dut.cmd.payload[-1] == kept[0]))
        # Each of its waits holds when it starts, and keeps holding once it has been seen to.
        all_hold = []
        for n, wait in enumerate(waits):
            self.assume(~watch.watching | (wait.unit < self.UNITS) | (wait.unit == NO_UNIT))
            reached = Mux(wait.unit[0], dut.counts[1], dut.counts[0])
            holds = Signal(name=f"holds{n}")
            m.d.comb += holds.eq((wait.unit == NO_UNIT) | ~(reached - wait.count)[COUNT_BITS - 1])
            self.assume(~watch.watching | ~self.past(holds & watch.watching, f"held{n}") | holds)
            all_hold.append(holds)
        ready = Cat(all_hold).all()
        self.check("waits hold", ~watch.ends | ready)
        self.check("hold", ~(dut.hold & (dut.start | dut.cmd.valid)))
        self.check("nop alone", ~dut.start | given | (inside == 0))
        self.check("nop hidden", ~(watch.watching & (watch.ahead == 0) & watch.value & dut.cmd.valid))
        # A command whose waits hold is offered: at the head, one cycle for each wait and two more.
        patience = Signal(range(WAITS + 5))
        may = watch.watching & (watch.ahead == 0) & ready & ~dut.hold & (inside == 0)
        m.d.sync += patience.eq(Mux(may & ~dut.cmd.valid & ~dut.start, patience + 1, 0))
        self.check("offered", patience <= WAITS + 2)
        # Completions.
        self.check("done", dut.done == (dut.unit_done | (dut.start & ~given)))
        count = Signal(COUNT_BITS)
        m.d.sync += count.eq(count + dut.done)
        self.check("count", dut.count == count)
        self.check("empty", dut.empty == ((watch.held == 0) & (inside == 0)))
        self.check("running", dut.running == (inside != 0))
        # The index of the watched command is shown while it is the oldest in the unit.
        before, running = Signal(range(self.IN_FLIGHT + 1)), Signal()
        with m.If(watch.ends & given):
            m.d.sync += [running.eq(1), before.eq(inside - dut.unit_done)]
        with m.Elif(running & dut.unit_done):
            m.d.sync += [running.eq(before != 0), before.eq(before - 1)]
        self.check("index", ~running | (before != 0) | (dut.index[0] == kept[1]))
        waited = Signal()
        m.d.sync += waited.eq(waited | (watch.watching & (watch.ahead == 0) & ~ready))
        self.cover("waited", watch.ends & given & (waits[0].unit == 0) & (waits[3].unit == 1) & waited)
        self.cover("nop", watch.ends & ~given)
        self.cover("full unit", inside == self.IN_FLIGHT)


MODULE = "poblano.control.queue"
PROPERTIES = tuple(
    Property(
        f"depth-{depth}",
        partial(Queue, depth),
        "commands start once, in order, when all their waits hold, and soon; a NOP completes after all "
        "before it; count, index and empty are right",
        frames=20,
        timeout=300,
        mutations=(
            Mutation("held not cleared", MODULE, "m.d.sync += held.eq(0)", "m.d.sync += held.eq(held)"),
            Mutation(
                "holds unseen", MODULE, "with m.Elif(queue.o.valid & holds):", "with m.Elif(queue.o.valid):"
            ),
            Mutation(
                "last wait skipped",
                MODULE,
                "may.eq(queue.o.valid & (pending == 0) & ~self.hold)",
                "may.eq(queue.o.valid & (pending[:-1] == 0) & ~self.hold)",
            ),
            Mutation(
                "hold ignored",
                MODULE,
                "may.eq(queue.o.valid & (pending == 0) & ~self.hold)",
                "may.eq(queue.o.valid & (pending == 0))",
            ),
            Mutation(
                "nop overtakes", MODULE, "nop_done.eq(may & nop & ~self.running)", "nop_done.eq(may & nop)"
            ),
            Mutation(
                "nop not counted",
                MODULE,
                "self.done.eq(self.unit_done | nop_done)",
                "self.done.eq(self.unit_done)",
            ),
        )
        if depth == 2
        else (),
    )
    for depth in (1, 2)
)
