"""The bursts that wait for a DRAM, and what they would do next."""

from functools import reduce
from operator import or_

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..stream.select import select, word_mux
from .address import AddressMap
from .config import DramConfig

__all__ = ["BurstLayout", "BurstQueue"]


class BurstLayout(data.StructLayout):
    """Contiguous beats in one granule: where the first one is, their number less one, the AXI id, and
    whether these are the last beats of the AXI burst."""

    def __init__(self, config: DramConfig):
        timing = config.timing
        super().__init__(
            {
                "place": AddressMap(timing).place,
                "len": ceil_log2(timing.ways * timing.columns),
                "id": config.id_width,
                "last": 1,
            }
        )


class BurstQueue(wiring.Component):
    """Keeps up to ``depth`` bursts, and proposes each cycle an activation, a precharge and a column command
    for them.

    Latency: 2 cycles from a burst to its first proposal.

    Column commands go to the oldest burst whose row is open, beat after beat; a burst that has begun goes on
    while it can. Bursts with one id (``ordered``: all bursts) are served in the order in which they came.
    Rows are opened for all bursts, the oldest first. A bank is kept open while a burst that is not behind
    another one of its id with another row in that bank needs its row; of those that wait for another row
    first, the oldest in that bank. When the oldest burst has been the
    oldest for ``config.oldest`` cycles, it is ``aged``: a bank that it needs is kept for no other, and no
    other uses it; from the next cycle on each column command is its own whenever that can be.

    Parameters
    ----------
    config : DramConfig
    depth : bursts
    ordered : serve in order whatever the ids

    Members
    -------
    i : In(stream(BurstLayout))
    row : In({valid, open, all, group, bank, row}), the activation (``open``) or precharge (of ``all``) on the
        pins
    open : In(banks), rows : In(row of each bank), the banks' states before it
    may_activate, may_precharge, may_access : In(banks), a command of this queue may be given; each also says
        that the bank is closed, open, open
    kept_open : In(banks), banks that must not be closed for these bursts
    activate, precharge : Out({valid, group, bank, row})
    column : Out({valid, group, bank, column, id, last}), ``last`` is the last of an AXI burst; with
        ``config.ecc`` also ``row``
    accept : In(1), the column command is given in this cycle
    needed : Out(banks), banks to be kept open for these bursts, found in the cycle before; column commands
        are for these only
    wanted : Out(banks), banks that bursts are still to use
    lacks : Out(banks), with ``config.ecc``, those in which they have to have another row
    released : In(banks), with ``config.ecc``, banks that another queue is to have first
    soon : Out(sets), those of bursts that no other has to be served before
    left : Out(sets), the last beat of a granule is taken in this cycle
    hit : Out(1), the row of a burst's next beat is open
    aged : Out(1); empty, full : Out(1), no burst is inside, no more can be
    """

    LATENCY = 2

    def __init__(self, config: DramConfig, *, depth, ordered):
        self.config, self.depth, self.ordered = config, depth, ordered
        timing = config.timing
        bits = AddressMap(timing).bits
        banks = timing.groups * timing.banks
        where = {"bank": bits["way"] + bits["set"]}
        row = data.StructLayout({"valid": 1} | where | {"row": bits["row"]})
        column = {"valid": 1} | where | {"column": bits["column"], "id": config.id_width, "last": 1}
        if config.ecc:
            column["row"] = bits["row"]
        shared = {"lacks": Out(banks), "released": In(banks)}
        super().__init__(
            {
                "i": In(stream.Signature(BurstLayout(config))),
                "row": In(
                    data.StructLayout({"valid": 1, "open": 1, "all": 1} | where | {"row": bits["row"]})
                ),
                "open": In(banks),
                "rows": In(data.ArrayLayout(bits["row"], banks)),
                "may_activate": In(banks),
                "may_precharge": In(banks),
                "may_access": In(banks),
                "kept_open": In(banks),
                "activate": Out(row),
                "precharge": Out(row),
                "column": Out(data.StructLayout(column)),
                "accept": In(1),
                "needed": Out(banks),
                "wanted": Out(banks),
                "soon": Out(timing.sets),
                "left": Out(timing.sets),
                "hit": Out(1),
                "aged": Out(1),
                "empty": Out(1),
                "full": Out(1),
            }
            | (shared if config.ecc else {})
        )

    def elaborate(self, platform):
        m = Module()
        slots = [_Slot(self, n) for n in range(self.depth)]
        valid = Cat(slot.valid for slot in slots)
        stuck = _named(m, "stuck", Cat(slot.valid & ~self._next_hit(slot) for slot in slots))
        claimed = Signal(len(self.open))  # banks that the oldest burst, aged, has to have another row in
        for slot in slots:
            slot.follow(m, self.row)
            m.d.comb += [
                slot.first.eq(slot.valid & ~(slot.order & valid).any()),
                slot.kept.eq(slot.hits & slot.needs),
            ]
            # A burst that has to wait for its next row gives its other banks to an older one that waits: two
            # that each had a part of the other's banks would wait for each other.
            yields = ~self._next_hit(slot) & (slot.foe & stuck).any()
            m.d.comb += slot.behind.eq((slot.order & stuck).any())
            with m.If((slot.foe & slot.order & valid).any() | slot.behind | yields):
                m.d.comb += slot.kept.eq(0)
        self._enter(m, slots)
        done = self._columns(m, slots, _named(m, "access", self.may_access & self.needed))
        self._rows(m, slots)
        self._age(m, slots, done, claimed)
        m.d.comb += [
            self.full.eq(valid.all()),
            self.empty.eq(~valid.any() & ~self.i.valid),
            self.soon.eq(reduce(or_, [slot.first << slot.place.set for slot in slots])),
            self.wanted.eq(self._banks_of(slots, lambda slot: slot.needs)),
        ]
        needed = self._banks_of(slots, lambda slot: slot.kept) & ~claimed
        if self.config.ecc:
            needed &= ~self.released
            m.d.comb += self.lacks.eq(self._banks_of(slots, lambda slot: slot.needs & ~slot.hits))
        m.d.sync += self.needed.eq(needed)
        return m

    @property
    def _ways(self):
        return self.config.timing.ways

    def _banks_of(self, slots, ways):
        """The banks, a bit each, of what ``ways`` gives of each slot."""
        first = lambda slot: Cat(C(0, exact_log2(self._ways)), slot.place.set)  # of the slot's banks
        return reduce(or_, [(ways(slot) << first(slot))[: len(self.open)] for slot in slots])

    def _of_set(self, number, banks):
        """The bits of a set's banks, of ``banks``."""
        return banks.word_select(number, self._ways)

    def _next_hit(self, slot):
        """Whether the row of the slot's next beat is open."""
        return self._of_way(slot, slot.hits)

    def _of_way(self, slot, ways):
        """The bit, of ``ways``, of the slot's next beat."""
        return ways.bit_select(slot.place.way, 1)

    def _enter(self, m, slots):
        """A burst waits in a register for its slot, and is compared with the open rows there."""
        timing, ways = self.config.timing, self._ways
        waiting = Signal()
        new = Signal(self.i.payload.shape())
        free = _named(m, "free", ~Cat(slot.valid for slot in slots))
        slot_of = _named(m, "next_slot", free & -free)
        enters = Signal()
        m.d.comb += [enters.eq(waiting & free.any()), self.i.ready.eq(~waiting | free.any())]
        with m.If(self.i.ready):
            m.d.sync += [waiting.eq(self.i.valid), new.eq(self.i.payload)]
        where = new.place
        hits = Signal(ways)
        for w in range(ways):
            numbers = range(w, ways * timing.sets, ways)
            row = _named(m, f"open_row{w}", word_mux(where.set, [self.rows[n] for n in numbers]))
            m.d.comb += hits[w].eq(word_mux(where.set, [self.open[n] for n in numbers]) & (row == where.row))
            here = self.row.valid & (self.row.all | (self.row.bank == Cat(C(w, exact_log2(ways)), where.set)))
            with m.If(here):
                m.d.comb += hits[w].eq(self.row.open & (self.row.row == where.row))
        beats = Cat(1, *(new.len >= n for n in range(1, ways)))  # a bit for each, at most one a way
        needs = _named(m, "needs", (Cat(beats, beats) << where.way)[ways:][:ways])
        same = _named(m, "same", Cat(slot.valid & (self.ordered | (slot.id == new.id)) for slot in slots))
        foe = _named(
            m, "foes", Cat((slot.place.set == where.set) & (slot.place.row != where.row) for slot in slots)
        )
        for n, slot in enumerate(slots):
            with m.If(enters & slot_of[n]):
                m.d.sync += [
                    slot.valid.eq(1),
                    slot.place.eq(new.place),
                    slot.len.eq(new.len),
                    slot.id.eq(new.id),
                    slot.last.eq(new.last),
                    slot.hits.eq(hits),
                    slot.needs.eq(needs),
                    slot.older.eq(~free),
                    slot.order.eq(same),
                    slot.foe.eq(~free & foe),
                ]
            with m.Elif(enters):  # it is younger
                for bits in (slot.older, slot.order, slot.foe):
                    m.d.sync += bits.eq(bits & ~slot_of)

    def _columns(self, m, slots, access):
        """The column command; a bit for each slot whose last beat it is, if it is accepted."""
        ready = Signal(self.depth)
        current = Signal(self.depth)
        m.d.comb += self.hit.eq(Cat(slot.first & self._next_hit(slot) for slot in slots).any())
        for n, slot in enumerate(slots):
            may = _named(m, f"accessible{n}", self._of_set(slot.place.set, access) & slot.hits)
            m.d.comb += ready[n].eq(slot.first & self._of_way(slot, may))
        chosen = Signal(self.depth)
        done = Signal(self.depth)
        m.d.comb += [
            chosen.eq(Mux((ready & current).any(), current, _oldest(slots, ready))),
            self.column.valid.eq(ready.any()),
            done.eq(Mux(self.accept, chosen & Cat(slot.len == 0 for slot in slots), 0)),
        ]
        place = self._place(_named(m, "column_place", select(chosen, [slot.place for slot in slots])))
        m.d.comb += [
            self.column.bank.eq(Cat(place.way, place.set)),
            self.column.column.eq(place.column),
            self.column.id.eq(select(chosen, [slot.id for slot in slots])),
            self.column.last.eq((chosen & Cat((slot.len == 0) & slot.last for slot in slots)).any()),
        ]
        if self.config.ecc:
            m.d.comb += self.column.row.eq(place.row)
        ends = Cat(place.way, place.column).all()
        for n in range(self.config.timing.sets):
            m.d.comb += self.left[n].eq(self.accept & ends & (place.set == n))
        # A burst that comes into the slot of one that has ended has not begun.
        with m.If(self.accept):
            m.d.sync += current.eq(chosen & ~done)
        with m.If(self.aged):
            m.d.sync += current.eq(0)
        for n, slot in enumerate(slots):
            with m.If(self.accept & chosen[n]):
                where = Cat(slot.place.way, slot.place.column)
                m.d.sync += [where.eq(where + 1), slot.len.eq(slot.len - 1), slot.valid.eq(slot.len != 0)]
                with m.If(slot.len < self._ways):
                    m.d.sync += slot.needs.eq(slot.needs & ~(1 << slot.place.way)[: self._ways])
        return done

    def _rows(self, m, slots):
        """The row commands: the oldest burst that can use one, its next bank first."""
        closable = _named(m, "closable", self.may_precharge & ~self.kept_open)
        for name, command, usable in (
            ("activate", self.activate, lambda slot: self._of_set(slot.place.set, self.may_activate)),
            ("precharge", self.precharge, lambda slot: self._of_set(slot.place.set, closable) & ~slot.hits),
        ):
            ways = [
                _named(m, f"{name}_ways{slot.number}", Mux(slot.behind, 0, usable(slot) & slot.needs))
                for slot in slots
            ]
            asks = _named(m, f"{name}_asks", Cat(each.any() for each in ways))
            chosen = _named(m, f"{name}_slot", _oldest(slots, asks))
            place = self._place(_named(m, f"{name}_place", select(chosen, [slot.place for slot in slots])))
            mask = _named(m, f"{name}_mask", select(chosen, ways))
            m.d.comb += [
                command.valid.eq(asks.any()),
                command.bank.eq(Cat(_next_of(mask, place.way), place.set)),
                command.row.eq(place.row),
            ]

    def _age(self, m, slots, done, claimed):
        """How long the oldest burst has been the oldest."""
        valid = Cat(slot.valid for slot in slots)
        oldest = Signal(self.depth)
        waited = Signal(range(self.config.oldest + 1))
        m.d.comb += [
            oldest.eq(Cat(slot.valid & ~(slot.older & valid).any() for slot in slots)),
            self.aged.eq(waited == self.config.oldest),
        ]
        with m.If(~valid.any() | (done & oldest).any()):
            m.d.sync += waited.eq(0)
        with m.Elif(~self.aged):
            m.d.sync += waited.eq(waited + 1)
        lacks = lambda slot: slot.needs & ~slot.hits
        with m.If(self.aged):
            m.d.comb += claimed.eq(
                self._banks_of(slots, lambda slot: Mux(oldest[slot.number], lacks(slot), 0))
            )

    def _place(self, bits):
        return self.i.payload.shape()["place"].shape(bits)


class _Slot:
    """The registers of a burst of ``queue``: its next place, the beats left less one, whether a beat's row
    is open in each way (``hits``), the ways in which beats are left (``needs``), and which other slots'
    bursts are older, of the same id and older (``order``), or older with another row of the same bank
    (``foe``)."""

    def __init__(self, queue, number):
        layout = queue.i.payload.shape()
        self.number, self.queue = number, queue
        signal = lambda shape, name: Signal(shape, name=f"slot{number}_{name}")
        self.valid = signal(1, "valid")
        self.place = signal(layout["place"].shape, "place")
        self.len = signal(layout["len"].shape, "len")
        self.id = signal(layout["id"].shape, "id")
        self.last = signal(1, "last")
        self.hits = signal(queue.config.timing.ways, "hits")
        self.older, self.order, self.foe = (signal(queue.depth, name) for name in ("older", "order", "foe"))
        self.first, self.behind = signal(1, "first"), signal(1, "behind")
        self.kept, self.needs = (signal(queue.config.timing.ways, name) for name in ("kept", "needs"))

    def follow(self, m, row):
        """Note the row that a bank has after the row command ``row``."""
        ways, bits = len(self.hits), exact_log2(len(self.hits))
        mine = row.bank[bits:] == self.place.set
        here = _named(m, f"slot{self.number}_here", row.valid & (row.all | mine))
        hit = _named(m, f"slot{self.number}_hit", row.open & (row.row == self.place.row))
        changed = Mux(row.all, -1, 1 << row.bank[:bits])[:ways]
        with m.If(here):
            m.d.sync += self.hits.eq(Mux(hit, self.hits | changed, self.hits & ~changed))


def _named(m, name, value):
    """A signal of that name for ``value``."""
    signal = Signal(len(value), name=name)
    m.d.comb += signal.eq(value)
    return signal


def _oldest(slots, requests):
    """Of the slots that request, the oldest, one-hot."""
    return Cat(requests[n] & ~(requests & slot.older).any() for n, slot in enumerate(slots))


def _next_of(mask, start):
    """The first bit of ``mask`` that is set, from ``start`` on and round."""
    if len(mask) == 1:
        return C(0, 0)
    numbers = range(len(mask))

    def found_from(first):
        found: Value = C(first, len(start))
        for number in reversed([*numbers[first:], *numbers[:first]]):
            found = Mux(mask[number], C(number, len(start)), found)
        return found

    return word_mux(start, [found_from(first) for first in numbers])
