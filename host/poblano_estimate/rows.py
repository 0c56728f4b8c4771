"""The row commands of a DRAM's controller: one a cycle."""

from typing import Any

from .banks import CLOSED, Banks
from .clock import NEVER

__all__ = ["Rows"]

NOTHING = None, (), NEVER, 0
"""What no bursts ask for."""


class Rows:
    """Opens and closes rows for the bursts that wait at ``port``, and for refreshes, as ``BurstQueue`` and
    ``DramController`` decide.

    Members
    -------
    banks : the :class:`Banks`
    spare : a bank may be open that no burst wants
    """

    def __init__(self, port, refresh):
        self._port, self._refresh, self._clock, self._ways = port, refresh, port.clock, port.ways
        self.banks = Banks(port.dram)
        self._due = NEVER  # the cycle in which to look next
        self._free = 0  # from which on there is no row command yet
        self._asked = False  # a burst or a refresh may want one
        self._lacks = self._blocked = False  # a burst has not all its rows, as a bank is kept for others
        self.spare = False

    def wake(self, cycle):
        """A burst or a refresh may want a row command from ``cycle`` on."""
        self._asked = True
        self.look(cycle)

    def served(self):
        """A burst has been served: it keeps no bank open any more."""
        if self._blocked:
            self.look(self._clock.now)

    def look(self, cycle):
        """Decide again in ``cycle``."""
        cycle = max(cycle, self._free)
        if self._asked and cycle < self._due:
            self._due = cycle
            self._clock.at(cycle, self._decide, cycle)

    def has(self, burst):
        """Whether a burst's rows are open."""
        number, row, needed, _ = burst.place
        if self.banks.whole[number] == row:
            return True
        return len(needed) < self._ways and all(self.banks.row[bank] == row for bank in needed)

    def _decide(self, cycle):
        while cycle == self._due:
            self._due = NEVER
            self._step(cycle)
            cycle = self._due
            if cycle == NEVER:
                return
            if not self._clock.passes(cycle):
                self._clock.at(cycle, self._decide, cycle)
                return

    def _step(self, cycle):
        """What is done in a cycle; then when to decide again."""
        self._lacks, self._blocked, port = False, False, self._port
        first, second = (port.writes, port.reads) if port.writing else (port.reads, port.writes)
        now, at = self._asks(first, cycle) if first else NOTHING, NEVER
        later = self._asks(second, cycle) if second and now[0] is None else NOTHING
        if self._refresh.held:
            bank, at = self._refresh.wish(self.banks)
            if at <= cycle and self._refresh.goes(now[0] or later[0]):
                self._refresh.give(self.banks, bank, cycle)
                self._given(cycle)
                return
        if now[0] is not None:
            self._open(now[0], cycle)
        elif now[1] or later[1] or later[0] is not None or self.spare and port.full:
            self._settle(cycle, now, later, at)
        else:
            self._until(min(at, now[2], later[2]))

    def _settle(self, cycle, now, later, soonest):
        """No row can be opened for the bursts that are served now: close a bank, or open one for others."""
        precharge, kept = self.banks.precharge, now[3]
        if cycle >= self._port.claims:
            for bank in self._port.claimed():
                kept &= ~(1 << bank)
        for activation, closes, at, _ in (now, later):
            if activation is not None:
                self._open(activation, cycle)
                return
            if at < soonest:
                soonest = at
            for bank in closes:
                at = precharge[bank]
                if kept >> bank & 1:
                    self._blocked = True
                elif at <= cycle:
                    self._close(bank, closes, cycle, kept)
                    return
                elif at < soonest:
                    soonest = at
        self._rest(cycle, soonest, kept)

    def _rest(self, now, soonest, kept):
        """Nothing can be done for bursts and refreshes now."""
        port = self._port
        if self.spare and port.full:  # a bank that none of so many wants will most likely need another row
            banks, wanted, self.spare = self.banks, port.wanted, False
            for bank, row in enumerate(banks.row):
                if row == CLOSED or bank // port.ways in wanted or kept >> bank & 1:
                    continue
                self.spare = True
                if banks.precharge[bank] <= now:
                    banks.close(bank, now)
                    self._given(now)
                    return
                soonest = min(soonest, banks.precharge[bank])
        self._until(soonest)

    def _until(self, soonest):
        """Look again then, or when somebody wakes it."""
        self._asked = soonest != NEVER or self._lacks
        self._due = soonest if soonest > self._free else self._free

    def _given(self, now):
        self._asked = True
        self._free = self._due = now + 1

    def _open(self, activation, now):
        """An activation of a bank's row."""
        bank, row = activation
        self.banks.open(bank, row, now)
        self._port.opened(bank)
        self._given(now)

    def _close(self, bank, others, now, kept):
        """A precharge, and next those in the same set, of ``others``."""
        banks, number = self.banks, bank // self._port.ways
        banks.close(bank, now)
        for other in others:
            if other // self._port.ways == number and banks.row[other] != CLOSED and not kept >> other & 1:
                if banks.precharge[other] <= now + 1:
                    now += 1
                    banks.close(other, now)
        self._given(now)

    def _asks(self, bursts, now):
        """What ``bursts`` that wait, the oldest first, ask for: (bank, row) of an activation in cycle
        ``now``; or None, the banks to close, when to look again, and the banks that they need open, a bit of
        each."""
        banks, held, ways = self.banks, self._refresh.held, self._ways
        whole, open_rows, lacks = banks.whole, banks.row, False
        closes, soonest, kept = [], NEVER, 0
        stuck: Any = ()
        foes: Any = ()
        mine: Any = ()
        for burst in bursts:
            if burst.slot > now:
                soonest = burst.slot
                break
            number, row, needed, bits = burst.place
            if whole[number] == row or len(needed) < ways and self.has(burst):
                if not lacks or burst.master not in stuck and (burst.master, number) not in mine:
                    kept |= bits
                continue
            if not lacks:
                lacks, stuck, foes, mine = True, set(), {}, set()
            elif burst.master in stuck:
                continue
            # A burst begins when all its rows are open, so that two could wait for each other.
            ours = foes.setdefault(number, row) == row
            mine.add((burst.master, number))
            if open_rows[needed[0]] != row:
                stuck.add(burst.master)
            for bank in needed:
                present = open_rows[bank]
                if present == row:
                    kept |= ours << bank
                elif bank in held:
                    pass
                elif present != CLOSED:
                    closes.append(bank)
                elif (at := banks.opens(bank)) <= now:
                    return (bank, row), (), now, 0
                elif at < soonest:
                    soonest = at
        self._lacks |= lacks
        return None, closes, soonest, kept
