"""The watchdog: when it strikes, whom it blames, and that no command waits longer."""

from functools import partial

from amaranth.hdl import *

from poblano.control import watchdog
from poblano.control.queue import UnitQueue
from poblano.control.watchdog import Watchdog
from poblano.isa.errors import ErrorCode

from .harness import Harness, Mutation, Property

BITS = 3
"""Of the limit and of what is counted."""


class Strikes(Harness):
    """The limit is any number and stays; at first nothing is due, as after a reset of the chip."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def prove(self, m):
        watchdog.LIMIT_BITS = BITS
        limit = self.constant("limit", BITS)
        dut = self.add("dut", Watchdog(units=self.units), driven=["limit"])
        m.d.comb += dut.limit.eq(limit)
        begun = self.past(C(1), "begun")
        self.assume(begun | ~dut.due & ~dut.resetting)
        # Cycles in a row in which something is due and nothing moves, this one among them; and of a reset.
        before = self.past(dut.resetting, "was_resetting")
        quiet, still = Signal(BITS + 1), Signal(BITS + 1)
        counts = dut.due & ~dut.moved & ~dut.resetting & ~before
        now, waits = Signal(BITS + 1), Signal(BITS + 1)
        m.d.comb += [now.eq(Mux(counts, quiet + 1, 0)), waits.eq(Mux(dut.resetting & before, still + 1, 0))]
        m.d.sync += [quiet.eq(Mux(dut.strike, 0, now)), still.eq(Mux(dut.expired, 0, waits))]
        on = limit != 0
        self.check("strikes", dut.strike == (on & (now == limit)))
        self.check("expires", dut.expired == (on & (waits == limit)))
        self.check("not longer", ~on | (now <= limit) & (waits <= limit))
        # Blame.
        lowest = lambda mask, n: mask[n] & ~mask[:n].any()
        silent, begun = dut.in_flight.any(), dut.running.any()
        idle = dut.running & ~dut.stalled
        for n in range(self.units):
            blamed = ~dut.fetch & (dut.unit == n)
            self.check(f"silent {n}", ~silent | (blamed == lowest(dut.in_flight, n)))
            own = ~silent & ~dut.fetching
            self.check(f"idle {n}", ~(own & idle.any()) | (blamed == lowest(idle, n)))
            self.check(f"begun {n}", ~(own & begun & ~idle.any()) | (blamed == lowest(dut.running, n)))
            waiting = own & ~begun & dut.queued.any()
            self.check(f"waits {n}", ~waiting | (blamed == lowest(dut.queued, n)))
        memory = silent | dut.fetching
        self.check("code", dut.code == Mux(memory, ErrorCode.SILENT, ErrorCode.TIMEOUT))
        self.check("fetch", dut.fetch == ~silent & (dut.fetching | ~begun & ~dut.queued.any()))
        self.cover("strike", dut.strike & (limit == 5))
        self.cover("expired", dut.expired & (limit == 4))


class Commands(Harness):
    """A unit's queue and the watchdog: the unit, and waits, do anything."""

    def prove(self, m):
        watchdog.LIMIT_BITS = BITS
        limit = self.constant("limit", BITS)
        queue = self.add("queue", UnitQueue(depth=2, units=1), driven=["unit_done"])
        dut = self.add(
            "dut", Watchdog(units=1), driven=["limit", "due", "moved", "resetting", "running", "queued"]
        )
        finish = self.free("finish")
        put = queue.i.valid & queue.i.ready
        m.d.comb += [
            queue.unit_done.eq(finish & queue.running),
            dut.limit.eq(limit),
            dut.due.eq(~queue.empty),
            dut.moved.eq(put | queue.start | queue.done),
            dut.running.eq(queue.running),
            dut.queued.eq(~queue.empty),
        ]
        # Commands that have been accepted and have not completed, and the cycles since anything happened.
        left, since = Signal(8), Signal(BITS + 1)
        m.d.sync += left.eq(left + put - queue.done)
        moves = put | queue.start | queue.done | dut.strike
        m.d.sync += since.eq(Mux(moves | (left == 0), 0, since + 1))
        self.assume(left < 24)
        self.check("held", (left == 0) == queue.empty)
        self.check("told in time", (limit == 0) | (since < limit))
        self.check("only if due", ~dut.strike | (left != 0))
        self.cover("strike", dut.strike & (limit == 4))


MODULE = "poblano.control.watchdog"
PROPERTIES = (
    *(
        Property(
            f"units-{units}",
            partial(Strikes, units),
            "it strikes in the last of `limit` cycles in a row without movement while something is due, and "
            "ends a reset as late, never if `limit` is 0; it blames whom its document says",
            mutations=(
                Mutation("late", MODULE, "last.eq(left == 1)", "last.eq(left == 0)"),
                Mutation(
                    "ignores movement",
                    MODULE,
                    "was_resetting | self.moved | ~self.due",
                    "was_resetting | ~self.due",
                ),
                Mutation(
                    "strikes idle",
                    MODULE,
                    "was_resetting | self.moved | ~self.due",
                    "was_resetting | self.moved",
                ),
                Mutation(
                    "reset moves",
                    MODULE,
                    "Mux(self.resetting, ~was_resetting, was_resetting | self.moved | ~self.due)",
                    "was_resetting & ~self.resetting | self.moved | ~self.due",
                ),
                Mutation("highest", MODULE, "reversed(range(self.units))", "range(self.units)"),
                Mutation("blames the stalled", MODULE, "self.running & ~self.stalled", "self.running"),
            )
            if units == 3
            else (),
        )
        for units in (1, 3)
    ),
    Property(
        "commands",
        Commands,
        "from a command's place in its queue to its completion there is, in every `limit` cycles, one in "
        "which a command of the queue enters, begins or ends, or the watchdog strikes",
        mutations=(
            Mutation("never", MODULE, "last & ~starts & ~self.resetting", "C(0)"),
            Mutation(
                "waits twice",
                MODULE,
                "with m.If(starts | last):\n    m.d.sync += left.eq(self.limit)",
                "with m.If(starts | last):\n    m.d.sync += left.eq(self.limit + 1)",
            ),
        ),
    ),
)
