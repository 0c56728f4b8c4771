"""The row commands of a DRAM's controller: one a cycle."""

from typing import Any

from .banks import CLOSED, Banks
from .port import NEVER

__all__ = ["Rows"]

NOTHING = None, (), NEVER
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
        self._port, self._refresh, self._clock = port, refresh, port.clock
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
        row, opened = burst.place[1], self.banks.row
        return all(opened[bank] == row for bank in burst.place[2])

    def _decide(self, cycle):
        if cycle != self._due:
            return
        self._due, self._lacks, self._blocked, port = NEVER, False, False, self._port
        kept: set = set()
        now = self._asks(port.writes if port.writing else port.reads, cycle, kept)
        later = self._asks(port.reads if port.writing else port.writes, cycle, None)
        kept.difference_update(port.claimed(cycle))
        soonest = min(now[2], later[2])
        command: Any = None  # (bank, row, banks that may be closed too)
        for activation, closes, _ in (now, later):
            command = command or activation
            for bank in closes:
                at = self.banks.precharge[bank]
                if bank in kept:
                    self._blocked = True
                elif at > cycle:
                    soonest = min(soonest, at)
                elif command is None:
                    command = bank, CLOSED, closes
        bank, at = self._refresh.wish(self.banks)
        if at <= cycle and self._refresh.goes(now[0] or later[0]):
            self._refresh.give(self.banks, bank, cycle)
            self._given(cycle)
        elif command is not None:
            opened, row, others = command
            self._give(opened, row, others, cycle, kept)
        else:
            self._rest(cycle, min(soonest, at), kept)

    def _rest(self, now, soonest, kept):
        """Nothing can be done for bursts and refreshes now."""
        port = self._port
        if self.spare and port.full:  # a bank that none of so many wants will most likely need another row
            banks, wanted, self.spare = self.banks, port.wanted, False
            for bank, row in enumerate(banks.row):
                if row == CLOSED or bank // port.ways in wanted or bank in kept:
                    continue
                self.spare = True
                if banks.precharge[bank] <= now:
                    banks.close(bank, now)
                    self._given(now)
                    return
                soonest = min(soonest, banks.precharge[bank])
        self._asked = soonest != NEVER or self._lacks
        if soonest != NEVER:
            self.look(soonest)

    def _given(self, now):
        self._free = now + 1
        self._asked = True
        self.look(now + 1)

    def _give(self, bank, row, others, now, kept):
        """An activation of a row, or a precharge, and next those in the same set, of ``others``."""
        banks, number = self.banks, bank // self._port.ways
        if row != CLOSED:
            banks.open(bank, row, now)
            self._port.opened(bank)
        else:
            banks.close(bank, now)
            for other in others:
                if other // self._port.ways == number and banks.row[other] != CLOSED and other not in kept:
                    if banks.precharge[other] <= now + 1:
                        now += 1
                        banks.close(other, now)
        self._given(now)

    def _asks(self, bursts, now, kept):
        """What bursts that wait, the oldest first, ask for: (bank, row) of an activation in cycle ``now``,
        banks to close, and when to look again; the banks that they need open go into ``kept``."""
        if not bursts:
            return NOTHING
        open_rows, held, opens = self.banks.row, self._refresh.held, self.banks.opens
        activation, closes, soonest = None, [], NEVER
        stuck, foes, mine = set(), {}, set()
        for burst in bursts:
            if burst.slot > now:
                soonest = burst.slot
                break
            number, row, banks = burst.place
            hits = open_rows[banks[0]] == row == open_rows[banks[-1]] and (len(banks) < 3 or self.has(burst))
            if stuck and burst.master in stuck:
                self._lacks = self._lacks or not hits
            elif hits:
                if kept is not None and not (mine and (burst.master, number) in mine):
                    kept.update(banks)
            else:
                # A burst begins when all its rows are open, so that two could wait for each other.
                keeps = kept is not None and foes.setdefault(number, row) == row
                self._lacks = True
                mine.add((burst.master, number))
                if open_rows[banks[0]] != row:
                    stuck.add(burst.master)
                for bank in banks:
                    present = open_rows[bank]
                    if present == row:
                        if keeps:
                            kept.add(bank)
                    elif bank in held:
                        pass
                    elif present != CLOSED:
                        closes.append(bank)
                    elif (at := opens(bank)) > now:
                        soonest = min(soonest, at)
                    elif activation is None:
                        activation = bank, row, ()
        return activation, closes, soonest
