"""When the banks of a DRAM are refreshed: as ``BankRefresher``, or all together, as ``Refresher``."""

from poblano.dram.refresher import LATE, REFUSED, URGENT

from .banks import CLOSED
from .clock import NEVER

__all__ = ["Refresh"]

BEGUN = 1
"""Cycles from a choice to its first command."""


class Refresh:
    """Of the DRAM behind ``port``.

    Members
    -------
    held : banks that are being closed and refreshed, which no burst may use
    """

    def __init__(self, port):
        self._port, self._clock = port, port.clock
        self._interval, self._length = port.dram.cycles.interval, port.dram.cycles.refresh_bank
        self._together = not port.dram.refreshes_banks
        self.held, self._from, self._refused = [], 0, 0
        self._pending, self._rounds = set(), 0  # sets that are to be refreshed in this round, rounds
        self._paced = 0  # when no bank is refreshed any more
        self._looks = NEVER
        self._clock.beside(self._interval, self._passed)

    def _passed(self):
        """An interval has passed."""
        self._clock.beside(self._clock.now + self._interval, self._passed)
        if self._together:
            self._rounds += 1
            self._port.rows.banks.refresh_all(self._clock.now)
            self._port.rows.wake(self._clock.now)
        else:
            self.choose()

    def choose(self, left=None):
        """Refresh a set, if one is due: best ``left``, which a stream has just left, or one that nobody
        wants."""
        if self._together or self.held:
            return
        port, now = self._port, self._clock.now
        due = now // self._interval - self._rounds
        if not self._pending:
            if due <= 0:
                return
            self._pending = set(range(port.sets))
        pending, chosen = self._pending, None
        if left in pending and left not in port.firsts:
            chosen = left
        elif port.quiet:
            chosen = min(pending)
        else:
            paced = now >= self._paced
            chosen = min(pending - port.wanted, default=None) if paced and due > 0 else None
            if chosen is None and due >= LATE and (paced or due >= URGENT):
                chosen = min(pending)
        if chosen is not None:
            pending.discard(chosen)
            self._rounds += not pending
            first = chosen * port.ways
            self.held, self._from = list(range(first, first + port.ways)), now + BEGUN
            port.rows.wake(now)
        elif now < self._paced < self._looks:
            self._looks = self._paced
            self._clock.beside(self._paced, self._looked)

    def _looked(self):
        self._looks = NEVER
        self.choose()

    def wish(self, banks):
        """The bank that a refresh is to close or refresh next, None if there is none, and from when on."""
        best, soonest = -1, NEVER
        for bank in self.held:
            opened = banks.row[bank] != CLOSED
            at = max(self._from, banks.precharge[bank] if opened else banks.refreshes(bank))
            if at < soonest:
                best, soonest = bank, at
        return best, soonest

    def goes(self, opens):
        """Whether its command goes now, though a row could be opened for a burst."""
        if not opens or self._refused >= REFUSED:
            self._refused = 0
            return True
        self._refused += 1
        return False

    def give(self, banks, bank, now):
        """Its command is given."""
        if banks.row[bank] != CLOSED:
            banks.close(bank, now)
            return
        banks.refresh(bank, now)
        self.held.remove(bank)
        self._paced = now + 1 + self._length
        if not self.held:
            self._clock.at(now + 1, self.choose)
