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
        self._block = self._mark = None
        self._starts = []  # the places of the EXPERT commands of a mixture, which are its blocks'

    def before(self, op):
        """To be called before the entries of ``op`` are appended, and at the end with None."""
        block = op and op.block
        if block is self._block:
            return
        if self._block is not None:
            self._even()
            if block is None or block.mixture is not self._block.mixture:
                self._close()
        if block is not None and not self._starts:
            self._mark = self.counts.mark()
        if block is not None:
            self._starts.append(len(self.entries))
        self._block = block

    def _units(self, first):
        """How many commands each unit has in the entries from ``first`` on."""
        found = [0] * len(self.topology.units)
        for entry in self.entries[first:]:
            found[entry.op.unit] += 1
        return found

    def _even(self):
        """A block has as many commands for each tile's unit: NOPs where there are fewer."""
        first = self._starts[-1]
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
        end = len(self.entries)
        places = [
            next(n for n in range(start, end) if self._is_expert(self.entries[n])) for start in self._starts
        ]
        for n, place in enumerate(places):
            block_end = self._starts[n + 1] if n + 1 < len(places) else end
            found = self._units(place + 1)
            operands = self.entries[place].op.operands
            operands |= dict(commands=block_end - place - 1, skip=end - place - 1)
            operands |= {name: found[self.topology.unit(kind)] for kind, name in PASSED.items()}
        self.counts.forget(self._mark)
        self._starts = []

    @staticmethod
    def _is_expert(entry):
        return entry.op.opcode is Opcode.EXPERT and not entry.nop
