"""Blocks of commands of experts, which may be passed over, in a program's order."""

from poblano.isa.commands import Opcode
from poblano.isa.opcodes.experts import PASSED

from .builder import Op
from .template import Entry

__all__ = ["Blocks"]


class Blocks:
    """Completes a program's EXPERT commands while its ``entries`` are appended, whose waits ``counts``
    gives."""

    def __init__(self, config, counts, entries):
        self.topology, self.counts, self.entries = config.topology, counts, entries
        self._block = None
        self._starts = []  # where the blocks of a mixture begin: their slots and places in entries
        self._sure = []  # slots and marks: of its start, and of those that no lower slot has followed

    def before(self, op):
        """To be called before the entries of ``op`` are appended, and at the end with None."""
        block = op and op.block
        if block is self._block:
            return
        if self._block is not None:
            self._even()
            if block is None or block.mixture is not self._block.mixture:
                self._close()
        if block is not None:
            self._begin(block.slot)
        self._block = block

    def _begin(self, slot):
        """A block of a slot. Those of higher slots may have been passed over: what their commands have waited
        for is not known."""
        if not self._starts:
            self._sure.append((-1, self.counts.mark()))
        while self._sure[-1][0] > slot:
            self._sure.pop()
        self.counts.slot = slot
        self.counts.forget(self._sure[-1][1], above=slot)
        self._sure.append((slot, self.counts.mark()))
        self._starts.append((slot, len(self.entries)))

    def _units(self, first, end=None):
        """How many commands each unit has in the entries from ``first`` on."""
        found = [0] * len(self.topology.units)
        for entry in self.entries[first:end]:
            found[entry.op.unit] += 1
        return found

    def _even(self):
        """A block has as many commands for each tile's unit: NOPs where there are fewer."""
        _, first = self._starts[-1]
        last, found = self.entries[-1].op, self._units(first)
        for kind in PASSED:
            units = self.topology.units_of(kind)
            most = max(found[unit] for unit in units)
            for unit in units:
                for _ in range(most - found[unit]):
                    self.counts.skip(unit)
                    nop = Op(Opcode.NOP, unit, {}, last.layer, "even", block=last.block, segment=last.segment)
                    self.entries.append(Entry(nop, (), nop=True))

    def _close(self):
        """All blocks of a mixture are there: what its EXPERT commands pass over is known."""
        last = len(self.entries)
        for n, (slot, start) in enumerate(self._starts):
            place = next(k for k in range(start, last) if self._is_expert(self.entries[k]))
            behind = self._starts[n + 1 :]
            end = behind[0][1] if behind else last
            # A slot without an expert is followed by none with one.
            passed = next((first for other, first in behind if other < slot), last)
            found = self._units(place + 1, passed)
            operands = self.entries[place].op.operands
            operands |= dict(commands=end - place - 1, skip=passed - place - 1)
            operands |= {name: found[self.topology.unit(kind)] for kind, name in PASSED.items()}
        self.counts.slot = None
        self.counts.forget(self._sure[0][1])
        self._starts, self._sure = [], []

    @staticmethod
    def _is_expert(entry):
        return entry.op.opcode is Opcode.EXPERT and not entry.nop
