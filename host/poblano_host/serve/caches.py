"""Where the keys and values of sequences are: their pages in memory, and the page tables of their slots."""

from poblano.config import LINE_BYTES
from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind

from ..runtime.backend import clear_memory

__all__ = ["Caches", "PagedCaches", "open_caches"]


def open_caches(backend, compiled):
    """The caches of a model that is in the memory of ``backend``: with page tables, or without."""
    return Caches(backend, compiled) if compiled.pages is None else PagedCaches(backend, compiled)


class Caches:
    """Of a chip without page tables: a sequence has the one page that its slot is.

    Members
    -------
    pages, positions : how many there are, and the positions of each
    """

    def __init__(self, backend, compiled):
        self.backend, self.compiled = backend, compiled
        self.pages, self.positions = compiled.slots, compiled.context

    def prepare(self, prepared):
        """Make pages, (from, to) in this order, copies of others or, from None, zero; the chip's cycles."""
        extents = self._extents
        commands = b"".join(
            _filled(self.compiled.config, None if source is None else extents(source), extents(page))
            for source, page in prepared
        )
        return self.backend.run(commands).cycles if commands else 0

    def _extents(self, slot):
        """(address, bytes) of a sequence's caches, of each attention in each home."""
        return [
            (address + slot * places.pitch, places.layout.size)
            for places in self.compiled.memory.caches
            for address in places.address
        ]

    def slot(self, sequence, pages):
        """The slot of a sequence that has ``pages``."""
        return pages[0]

    def keep(self, sequences):
        """Sequences other than these have no slot any more."""


class PagedCaches:
    """Of a chip with page tables: sequences have slots while they run, whose tables name their pages.

    Between steps pages are cleared and copied through slot 0, which is given its own table back behind that.

    Members
    -------
    pages, positions : how many there are, and the positions of each
    """

    def __init__(self, backend, compiled):
        self.backend, self.compiled, self.paging = backend, compiled, compiled.config.memory.paging
        self.pages, self.positions = compiled.pages.count, compiled.page_positions
        self._slots: dict = {}  # of sequences
        self._tables: dict = {}  # what the chip has, by slot
        for slot in range(compiled.slots):
            self._set(slot, ())

    def prepare(self, prepared):
        """As :meth:`Caches.prepare`."""
        cycles, size, before = 0, self.compiled.pages.bytes, self._tables[0]
        most = self.paging.pages // 2
        for at in range(0, len(prepared), most):
            some = prepared[at : at + most]
            self._set(0, [page for source, to in some for page in (to if source is None else source, to)])
            commands = b""
            for n, (source, _) in enumerate(some):
                first, to = ([(at, size) for at in self.paging.parts(0, 2 * n + k)] for k in (0, 1))
                commands += _filled(self.compiled.config, None if source is None else first, to)
            cycles += self.backend.run(commands).cycles
        self._set(0, before)
        return cycles

    def slot(self, sequence, pages):
        """As :meth:`Caches.slot`; its table names ``pages`` from now on."""
        if sequence not in self._slots:
            taken = set(self._slots.values())
            self._slots[sequence] = next(n for n in range(self.compiled.slots) if n not in taken)
        slot = self._slots[sequence]
        self._set(slot, pages)
        return slot

    def keep(self, sequences):
        """As :meth:`Caches.keep`: their tables are empty."""
        for sequence in [s for s in self._slots if s not in sequences]:
            self._set(self._slots.pop(sequence), ())

    def _set(self, slot, pages):
        if self._tables.get(slot) != tuple(pages):
            self._tables[slot] = tuple(pages)
            self.backend.set_pages(slot, [self.compiled.pages.address(page) for page in pages])


def _filled(config, source, target):
    """Commands (bytes) that make ``target`` a copy of ``source``, or zero if that is None; both are lists of
    (address, bytes). Copies go by way of the first tile's vector memory, of which nothing is kept from step
    to step."""
    if source is None:
        return b"".join(clear_memory(config, first, first + size) for first, size in target)
    dma, most = config.topology.unit(UnitKind.DMA), config.tile.vmem_lines
    commands = []
    for (start, size), (end, _) in zip(source, target):
        for first in range(0, size // LINE_BYTES, most):
            form = dict(mem_stride=0, rows=1, lines=min(most, size // LINE_BYTES - first))
            load = form | dict(mem_addr=start + LINE_BYTES * first, dst=0, dst_stride=0, tiles=1)
            store = form | dict(mem_addr=end + LINE_BYTES * first, src=0, src_stride=0, tile=0)
            commands += [Command(Opcode.LOAD, dma, load), Command(Opcode.STORE, dma, store)]
    return b"".join(command.encode() for command in commands)
