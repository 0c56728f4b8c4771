"""The banks of a DRAM: their rows, and when which commands may come."""

from collections import deque

__all__ = ["CLOSED", "Banks"]

CLOSED = -1
"""The row of a bank that has none open."""
FOUR = 4
"""Activations that may come in a window."""


class Banks:
    """As ``BankMachine`` and ``CommandWindows``: cycles are those in which commands are decided on. A bank's
    number is its way plus ``ways`` times its set.

    Members
    -------
    row : of each bank the row that is open, or ``CLOSED``
    whole : of each set the row that is open in all its banks, or ``CLOSED``
    precharge, read, write : of each bank, from which cycle on the command may come, if a row is open
    """

    def __init__(self, dram):
        t, timing = dram.cycles, dram.timing
        self._cycles, self._groups, self._ways = t, timing.groups, timing.ways
        count = timing.groups * timing.banks
        self.whole = [CLOSED] * timing.sets
        self.row = [CLOSED] * count
        self._activate, self.precharge, self.read, self.write = ([0] * count for _ in range(4))
        self._window = deque([-t.four_acts] * FOUR, FOUR)  # the last activations
        self._other, self._same = 0, [0] * timing.groups
        self._floor = 0  # from which cycle on there may be an activation

    def group(self, bank):
        return bank % self._groups

    def refreshes(self, bank):
        """From which cycle on a bank that is closed can be refreshed."""
        return max(self._activate[bank], self._other, self._same[bank % self._groups])

    def opens(self, bank):
        """From which cycle on a row of a bank that is closed can be opened."""
        at, same, floor = self._activate[bank], self._same[bank % self._groups], self._floor
        at = same if same > at else at
        return floor if floor > at else at

    def open(self, bank, row, now):
        """An activation."""
        t, rows, ways = self._cycles, self.row, self._ways
        rows[bank] = row
        first = bank - bank % ways
        if rows[first : first + ways].count(row) == ways:
            self.whole[bank // ways] = row
        self._activate[bank] = now + t.act_to_act
        self.precharge[bank] = now + t.act_to_precharge
        self.read[bank], self.write[bank] = now + t.act_to_read, now + t.act_to_write
        self._window.append(now)
        self._follow(bank, now, t.act_to_act_other)

    def close(self, bank, now):
        """A precharge."""
        self.row[bank] = self.whole[bank // self._ways] = CLOSED
        at = now + self._cycles.precharge_to_act
        if at > self._activate[bank]:
            self._activate[bank] = at

    def refresh(self, bank, now):
        """A refresh of one bank."""
        self._activate[bank] = now + self._cycles.refresh_bank
        self._follow(bank, now, self._cycles.refresh_to_refresh)

    def refresh_all(self, now):
        """All banks are closed, as soon as each of them may be, and refreshed together."""
        t = self._cycles
        opened = [bank for bank, row in enumerate(self.row) if row != CLOSED]
        if opened:
            now = max(now, *(self.precharge[bank] for bank in opened)) + t.precharge_to_act
        done = max(now, *self._activate) + t.refresh_all
        self.row, self.whole = [CLOSED] * len(self.row), [CLOSED] * len(self.whole)
        self._activate = [done] * len(self.row)

    def column(self, bank, last, write):
        """The last column command of a burst to a bank."""
        t = self._cycles
        free = last + (t.write_to_precharge if write else t.read_to_precharge)
        if free > self.precharge[bank]:
            self.precharge[bank] = free

    def _follow(self, bank, now, other):
        """What an activation or a refresh keeps from other banks."""
        other, window = now + other, self._window[0] + self._cycles.four_acts
        self._other = other = other if other > self._other else self._other
        self._same[bank % self._groups] = now + self._cycles.act_to_act_same
        self._floor = other if other > window else window
