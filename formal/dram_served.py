"""The DRAM controller serves an aged burst within a bound: in each cycle a rank of its state falls."""

from functools import partial, reduce
from operator import or_

from amaranth.hdl import *

from poblano.dram.signature import ColumnOp, RowOp
from poblano.dram.wait import Service

from .dram_sizes import GROUPED, PHASES, SHARED, small
from .dram_slots import Slots
from .dram_whole import Whole, bigger
from .harness import Mutation, Property, popcount


class Served(Whole):
    """The whole controller, but for the parts in ``CUT``: any bursts, and room and data as one likes.

    ``rank`` is at most how long the service of the oldest burst of a direction still takes. ``left`` begins
    with the most that it can be, falls in each cycle of the service, and rises by what a command of the
    refresher adds.
    """

    def __init__(self, timing, write):
        super().__init__(small(timing, oldest=2))
        self.write, self.service = write, Service(self.config, write)

    def prove(self, m):
        super().prove(m)
        self.queue = self.top.parts["writes" if self.write else "reads"]
        self._oldest(m)
        self._banks(m)
        self._service(m)
        self._room()

    def _oldest(self, m):
        depth, slots = self.queue.block.depth, Slots(self.queue.block, self.queue.__getitem__)
        oldest = Signal(depth)
        m.d.comb += oldest.eq(slots.oldest())
        self.check("one oldest", (oldest & (oldest - 1) == 0) & (oldest.any() | ~slots.valid.any()))
        mine = lambda name: reduce(or_, [Mux(oldest[n], slots.at(n, name), 0) for n in range(depth)])
        layout = self.queue.block.i.payload.shape()["place"].shape
        self.at = layout(mine("place"))
        self.needs, self.hits, self.len = mine("needs"), mine("hits"), mine("len")
        waited = self.queue["waited"]
        self.check("waited", (waited <= self.config.oldest) & (oldest.any() | (waited == 0)))

    def _banks(self, m):
        """By way, of the set of the oldest burst: what is on the pins for the bank, and its waits."""
        timing = self.config.timing
        numbers = lambda way: [way + timing.ways * s for s in range(timing.sets)]
        self.banks = []
        for way in range(timing.ways):
            bank = {}
            for name in ("open", "row", "activate", "precharge", "target"):
                values = [getattr(self.top.parts[f"bank{n}"].block, name) for n in numbers(way)]
                bank[name] = Array(values)[self.at.set]
            for name in ("until_activate", "until_precharge", "until_write" if self.write else "until_read"):
                values = [self.timers[f"bank{n}", name].wait for n in numbers(way)]
                signal = Signal.like(bigger(*values), name=f"way{way}_{name}")
                m.d.comb += signal.eq(Array(values)[self.at.set])
                bank[name.replace("write", "column").replace("read", "column")] = signal
            bank["needed"] = Array([self.queue.block.needed[n] for n in numbers(way)])[self.at.set]
            bank["held"] = Array([self.top.parts["refresher"].block.hold[n] for n in numbers(way)])[
                self.at.set
            ]
            bank["group"] = Array([n % timing.groups for n in numbers(way)])[self.at.set]
            self.banks.append(bank)

    def _of_group(self, name, group):
        groups = self.config.timing.groups
        return Array([self.timers["windows", f"{name}{g}"].wait for g in range(groups)])[group]

    def _activation(self, group):
        """Cycles until the windows allow an activation."""
        service, t = self.service, self.config.cycles
        same, other = self._of_group("activate_same", group), self.timers["windows", "activate_other"].wait
        windows = self.top.parts["windows"]
        turn = windows["turn"]
        fours = [self.timers["windows", f"window{n}"].wait for n in range(4)]
        few = Signal(range(t.four_acts + 1), name="few")
        now = Mux(windows.block.activate, turn.rotate_left(1), turn)
        chosen = reduce(or_, [Mux(now[n], fours[n], 0) for n in range(4)])
        least = windows.block.activate if t.four_acts > 1 else 0
        self._m.d.comb += few.eq(bigger(chosen, least))
        restart = service.activation - t.act_to_act_same
        return Mux(same != 0, same + restart, bigger(few, other))

    def _rank(self, m):
        """Of the oldest burst."""
        config, service, t = self.config, self.service, self.config.cycles
        timing, kind = config.timing, "write" if self.write else "read"
        banks = [self.top.parts[f"bank{n}"].block for n in range(timing.groups * timing.banks)]
        closed = Signal(range(len(banks) + 1))
        m.d.comb += closed.eq(popcount(Cat((~b.open | b.precharge) & ~b.activate for b in banks)))
        total, ready = C(0, 1), C(0, 1)
        next_group = Array([bank["group"] for bank in self.banks])[self.at.way]
        activation = Signal(range(service.activation + 1))
        m.d.comb += activation.eq(self._activation(next_group))
        for way, bank in enumerate(self.banks):
            is_next = self.at.way == way
            right, opens = self.hits[way], bank["activate"] & (bank["target"] == self.at.row)
            shut = ~bank["open"] | bank["precharge"]
            until = bank["until_activate"]
            until = Mux(bank["precharge"], bigger(until, 1), until)
            open_ = bigger(bank["until_column"], ~bank["needed"])
            opening = bigger(bank["until_column"], 2)
            wait = Mux(is_next & (until == 0), activation, service.activation)
            from_closed = until + wait + service.opened
            asks = is_next & (bank["until_precharge"] == 0)
            before = Mux(asks, closed, len(banks))
            from_other = (
                before
                + bank["until_precharge"]
                + 1
                + bigger(until, max(t.precharge_to_act, 2))
                + service.activation
                + service.opened
            )
            cost = Signal(16, name=f"cost{way}")
            m.d.comb += cost.eq(
                Mux(
                    self.needs[way],
                    Mux(opens, opening, Mux(shut, from_closed, Mux(right, open_, from_other))),
                    0,
                )
            )
            total = total + cost
            ready = ready | (is_next & right & ~bank["precharge"] & (open_ == 0))
        same, other = self._of_group(f"{kind}_same", next_group), self.timers["windows", f"{kind}_other"].wait
        window = Mux(same != 0, same + t.column_other, other)
        column = Mux(ready, window, service.beat - 1)
        self.column_other = other
        rank = Signal(20)
        base = total + self.len * service.beat + column + 1
        m.d.comb += rank.eq(base if service.slots == 1 else 2 * base + (other == 0))
        return rank

    def _service(self, m):
        service = self.service
        parts, cut = self.top.parts, self.top.parts["write_data" if self.write else "read_data"].block
        refreshes, given = parts["refresher"].block, parts["refresher"].block.accept
        held = Cat(bank["held"] for bank in self.banks).any()
        visit, goes, served = Signal(), Signal(), Signal()
        own = self.queue.block.aged & (parts["turnaround"].block.writing == self.write) & cut.room
        run, left = Signal(range(service.turn + 1)), Signal(range(service.rank + 1))
        m.d.comb += [
            visit.eq(own & ((cut.beats != 0) if self.write else 1)),
            goes.eq(visit & ~held),
            served.eq(goes & (run == service.turn)),
        ]
        m.d.sync += run.eq(Mux(goes, Mux(run == service.turn, run, run + 1), 0))
        added = Mux(refreshes.precharge, service.precharge, Mux(refreshes.refresh, service.refresh, 0))
        added = Mux(given, added, 0)
        after = Signal(24)
        with m.If(~visit):
            m.d.comb += after.eq(service.rank)
        with m.Elif(served):
            m.d.comb += after.eq(left + added - 1)
        with m.Else():
            m.d.comb += after.eq(left + Mux(run == service.turn, service.reopened, 0))
        m.d.sync += left.eq(Mux(after > service.rank, service.rank, after))
        rank = self._rank(m)
        self.check("in time", ~served | ((rank <= left) & (left != 0)))
        before = self.past(rank + added, "rank_before")
        self.check("falls", ~served | ~self.past(served, "served_before") | (rank < before))
        beats = service.slots * (self.len * service.beat + 1)
        self.check("beats", ~visit | (run != service.turn) | (beats <= left))
        anew = beats + service.reopened - 1
        self.check("opened anew", ~visit | (run == service.turn) | (anew <= left))
        self.check("left", left <= service.rank)
        self.run = run
        self._known(goes)
        self.cover("served", served & self.queue.block.accept)

    def _known(self, goes):
        """What the proof needs to know of the run."""
        run = self.run
        current = self.queue["current"]
        self.check("its own turn", (run < 2) | (current == 0))
        self.check("aged before", (run == 0) | self.past(self.queue.block.aged, "aged_before"))
        row, together = self.top.block.dram.row, not self.config.refreshes_banks
        never = RowOp.REFRESH_BANK if together else RowOp.REFRESH_ALL
        self.check("refreshes", row.op != never)
        for way, bank in enumerate(self.banks):
            mine = (run >= 3) & self.needs[way] & goes
            hit = self.hits[way]
            self.check(f"kept {way}", ~(mine & hit) | bank["needed"] | (bank["until_precharge"] != 0))
            later = (run >= 5) & self.needs[way] & goes
            self.check(f"stays {way}", ~(later & hit) | ~bank["precharge"])
            self.check(f"given up {way}", ~later | hit | ~bank["needed"])
            self.check(f"no other {way}", ~later | ~bank["activate"] | (bank["target"] == self.at.row))
        self._of_one_direction()

    def _of_one_direction(self):
        """Commands of the other direction are forgotten one after another."""
        t, kind = self.config.cycles, "write" if self.write else "read"
        column = self.top.block.dram.column
        before = ColumnOp.READ if self.write else ColumnOp.WRITE
        self.check("one direction", (self.run < 2) | (column.op != before))
        pairs = [("other", t.column_other, t.read_to_write if self.write else t.write_to_read_other)]
        pairs += [
            (f"same{g}", t.column_same, 1 if self.write else t.write_to_read_same)
            for g in range(self.config.timing.groups)
        ]
        for name, own, other in pairs:
            wait, run = self.timers["windows", f"{kind}_{name}"].wait, self.run
            self.check(f"turned {name}", (wait < own) | (run + wait <= other) | (run == 0))

    def _room(self):
        """Bursts for whose data or responses there is no room keep no direction."""
        turnaround, room = self.top.parts["turnaround"].block, lambda name: self.top.parts[name].block.room
        self.check("room of reads", ~turnaround.read_aged | room("read_data"))
        self.check("room of writes", ~turnaround.writes | room("write_data"))


QUEUE, CONTROLLER = "poblano.dram.queue", "poblano.dram.controller"
READ_MUTATIONS = (
    Mutation(
        "a column of one that has begun first",
        QUEUE,
        "m.d.sync += current.eq(0)",
        "m.d.sync += current.eq(chosen & ~done)",
    ),
    Mutation(
        "any row first",
        QUEUE,
        "_named(m, f'{name}_slot', _oldest(slots, asks))",
        "_named(m, f'{name}_slot', asks & -asks)",
    ),
    Mutation(
        "kept for others",
        QUEUE,
        "self._banks_of(slots, lambda slot: slot.kept) & ~claimed",
        "self._banks_of(slots, lambda slot: slot.kept)",
    ),
    Mutation("not kept open", QUEUE, "self.may_precharge & ~self.kept_open", "self.may_precharge"),
    Mutation(
        "rows of the other direction first",
        CONTROLLER,
        "for queue in (writes, reads, *own):",
        "for queue in (reads, writes, *own):",
    ),
    Mutation(
        "a direction without room",
        CONTROLLER,
        "reduce(or_, [queue.aged for queue in own], reads.aged & read_data.room)",
        "reduce(or_, [queue.aged for queue in own], reads.aged)",
    ),
)
WRITE_MUTATIONS = (
    Mutation(
        "rows of reads first",
        CONTROLLER,
        "for queue in (*own, reads, writes):",
        "for queue in (*own, writes, reads):",
    ),
    Mutation(
        "a direction without room of responses",
        CONTROLLER,
        "turnaround.writes.eq(~writes.empty & write_data.room)",
        "turnaround.writes.eq(~writes.empty)",
    ),
)
WHAT = (
    "an aged burst of the direction of the pins, with room or data, is served within `rank` cycles of "
    "`Service` (`rtl/poblano/dram/wait.py`), and those that it says that holds of its set and other commands "
    "of the refresher add; no direction is kept without room"
)
PROPERTIES = tuple(
    Property(
        f"{timing.name}-{'write' if write else 'read'}",
        partial(Served, timing, write),
        WHAT,
        method="induction",
        depth=2,
        frames=40,
        mutations={(GROUPED, False): READ_MUTATIONS, (GROUPED, True): WRITE_MUTATIONS}.get(
            (timing, write), ()
        ),
    )
    for timing in (GROUPED, PHASES, SHARED)
    for write in (False, True)
)
