"""When the banks of a DRAM are refreshed: as ``BankRefresher``, or all together."""

from poblano.dram.refresher import LATE

__all__ = ["Refresh"]

BEGUN = 2
"""Cycles from a choice to its first command."""


class Refresh:
    """Of the DRAM behind ``port``.

    Members
    -------
    closed : by bank the cycle until which it is refreshed
    """

    def __init__(self, port):
        self._port, self._dram = port, port.dram
        self.closed, self._pending, self._rounds = {}, set(), 0
        self._free = 0  # when the next bank can be chosen
        self._paced = 0  # when no bank is refreshed any more
        self._looking = False

    def _passed(self, now):
        """Intervals that have passed."""
        return now // self._port.cycles.interval

    def all_due(self, now):
        """Whether all banks are to be refreshed together now."""
        return not self._dram.refreshes_banks and self._rounds < self._passed(now)

    def all_done(self, now):
        """All banks are refreshed together: until when."""
        self._rounds += 1
        t, port = self._port.cycles, self._port
        at = max([now, *(free for bank in list(port.rows) if (free := port.close(bank)) is not None)])
        done = at + t.precharge_to_act + t.refresh_all
        self.closed = dict.fromkeys(range(port.sets), done)
        port.settle()
        return done

    def choose(self, left=None):
        """Refresh a bank, if one is due: best ``left``, which a stream has just left, or one that nobody
        wants."""
        port, now = self._port, self._port.clock.now
        if now < self._free or not self._dram.refreshes_banks:
            return
        passed = self._passed(now)
        if not self._pending:
            if self._rounds >= passed:
                return
            self._pending = set(range(port.sets))
        bank = None
        if left in self._pending and left not in port.firsts:
            bank = left
        elif port.quiet:
            bank = min(self._pending)
        elif now >= self._paced:
            unwanted = self._pending - port.wanted
            late = passed - self._rounds >= LATE
            bank = min(unwanted or (self._pending if late else ()), default=None)
        if bank is None:
            self._look(self._paced)
        else:
            self._begin(bank, now)

    def _begin(self, bank, now):
        """Close a bank's rows and refresh it in all groups."""
        port, t = self._port, self._port.cycles
        free, at = port.close(bank), now + BEGUN
        if free is not None:
            at = max(at, free) + port.ways - 1 + t.precharge_to_act
        self._free = at + (port.ways - 1) * t.refresh_to_refresh + BEGUN
        self._paced = self.closed[bank] = self._free + t.refresh_bank
        self._pending.discard(bank)
        self._rounds += not self._pending
        port.settle()
        self._look(self._free)

    def _look(self, cycle):
        """See again whether a bank is due."""
        if not self._looking and cycle > self._port.clock.now and self._port.active:
            self._looking = True
            self._port.clock.at(cycle, self._looked)

    def _looked(self):
        self._looking = False
        self.choose()
