"""The row commands of a DRAM's controller: one a cycle."""

from .banks import CLOSED, Banks
from .port import NEVER

__all__ = ["Rows"]

WRITES = "writes"
"""The id of all writes: they are done in order."""


class Rows:
    """Opens and closes rows for the bursts that wait at ``port``, and for refreshes, as ``BurstQueue`` and
    ``DramController`` decide.

    Members
    -------
    banks : the :class:`Banks`
    """

    def __init__(self, port, refresh):
        self._port, self._refresh, self._clock = port, refresh, port.clock
        self.banks = Banks(port.dram)
        self._due = NEVER  # the cycle in which to look next
        self._free = 0  # from which on there is no row command yet
        self._asked = self._lacks = False  # a burst or a refresh may want one, a burst has not all its rows

    def wake(self):
        """A burst or a refresh may want a row command."""
        self._asked = True
        self.look(self._clock.now)

    def look(self, cycle):
        """Decide again in ``cycle``, as what bursts keep open has changed."""
        cycle = max(cycle, self._free)
        if self._asked and cycle < self._due:
            self._due = cycle
            self._clock.at(cycle, self._decide)

    def _decide(self):
        now = self._clock.now
        if now != self._due:
            return
        self._due, port = NEVER, self._port
        self._lacks = False
        kept: set = set()
        groups = [port.reads, port.writes]
        asks = [self._asks(bursts, now, kept if n == port.writing else None) for n, bursts in enumerate(groups)]
        kept.difference_update(port.claimed(now))
        soonest = min(ask[2] for ask in asks)
        command = None
        for n in (port.writing, not port.writing):
            activates, closes, _ = asks[n]
            if command is None and activates is not None:
                command = activates
            for bank in closes:
                if bank in kept:
                    continue
                at = self.banks.precharge[bank]
                if at > now:
                    soonest = min(soonest, at)
                elif command is None:
                    command = bank, CLOSED
        opens = any(ask[0] is not None for ask in asks)
        wish, at = self._refresh.wish(self.banks)
        if at <= now and self._refresh.goes(opens):
            self._refresh.give(self.banks, wish, now)
            self._given(now)
        elif command is not None:
            self._give(*command, now)
            self._given(now)
        else:
            self._rest(now, min(soonest, at), kept)

    def _rest(self, now, soonest, kept):
        """Nothing can be done for bursts and refreshes now."""
        port = self._port
        if port.full:  # the next row of a bank that none of so many wants is most likely another one
            banks, wanted = self.banks, port.wanted
            for bank, row in enumerate(banks.row):
                if row == CLOSED or bank in kept or bank // port.ways in wanted:
                    continue
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

    def _give(self, bank, row, now):
        """An activation of a row, or a precharge."""
        if row == CLOSED:
            self.banks.close(bank, now)
        else:
            self.banks.open(bank, row, now)
            self._port.opened(bank)

    def _asks(self, bursts, now, kept):
        """What bursts that wait, the oldest first, ask for: (bank, row) of an activation in cycle ``now``,
        banks to close, and when to look again; the banks that they need open go into ``kept``."""
        open_rows, held = self.banks.row, self._refresh.held
        activates, closes, soonest = None, [], NEVER
        stuck, rows, foes = set(), {}, {}
        for burst in bursts:
            if burst.slot > now:
                soonest = min(soonest, burst.slot)
                break
            master = WRITES if burst.write else burst.master
            number, row, banks = burst.place
            if master in stuck:
                self._lacks = True
                continue
            # A burst begins when all its rows are open, else two could wait for each other.
            hits = open_rows[banks[0]] == row and open_rows[banks[-1]] == row
            same = rows.setdefault((master, number), row) == row
            keeps = kept is not None and same and (hits or foes.get(number, row) == row)
            for bank in banks:
                present = open_rows[bank]
                if present == row:
                    if keeps:
                        kept.add(bank)
                    continue
                self._lacks = True
                if bank in held:
                    continue
                if present != CLOSED:
                    closes.append(bank)
                elif (at := self.banks.opens(bank)) > now:
                    soonest = min(soonest, at)
                elif activates is None:
                    activates = bank, row
            if not hits:
                if open_rows[banks[0]] != row:
                    stuck.add(master)
                foes.setdefault(number, row)
        return activates, closes, soonest
