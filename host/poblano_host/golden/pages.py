"""The golden chip's own page tables, from ``docs/specification.md`` alone."""

__all__ = ["PageTables"]


class PageTables:
    """What addresses of the window stand for: 2**39, plus slot, page, home and offset, of which the last two
    have ``offset_bits``. Each home has a part of each page.

    Members
    -------
    memory_bytes : that other addresses reach; home_bytes : of each home, of several
    page_bytes : of each page, in each home
    """

    def __init__(self, config, memory_bytes):
        self.memory_bytes, self.page_bytes = memory_bytes, 0
        paging = config.memory.paging
        self.slots, self.pages = (paging.slots, paging.pages) if paging else (0, 0)
        named = max(1, self.slots * self.pages).bit_length() - 1
        self.offset_bits = min(31, 39 - named)
        self.homes, self.home_size = config.memory.homes, config.memory.home_bytes
        self.home_bytes = self.home_size
        self._tables = {}

    def use(self, first, page_bytes):
        """Memory, or each home's of several, from ``first`` on is of pages alone, of ``page_bytes`` bytes."""
        self.page_bytes = page_bytes
        if self.homes == 1:
            self.memory_bytes = first
        else:
            self.home_bytes = first

    def set(self, slot, addresses):
        """The table of a slot: the address of each of its pages."""
        self._tables[slot] = list(addresses)

    def split(self, address):
        """(slot, page, home, offset) of an address of the window; None of another."""
        if not self.slots or address < 1 << 39:
            return None
        number, offset = divmod(address - (1 << 39), 1 << self.offset_bits)
        return *divmod(number, self.pages), *divmod(offset, (1 << self.offset_bits) // self.homes)

    def problem(self, address, stride, rows, row_bytes):
        """What is wrong with rows of memory the first of which is in the window; None: nothing.

        Either each row is in the page behind the last one's, at the same place, or all are in one page.
        """
        slot, page, _, offset = self.split(address)
        one_each = stride == 1 << self.offset_bits
        last = page + (rows - 1 if one_each else 0)
        end = offset + (0 if one_each else stride * (rows - 1)) + row_bytes
        count = len(self._tables.get(slot, ()))
        if end > self.page_bytes:
            return f"bytes {offset} to {end} of a page of {self.page_bytes} bytes"
        return f"page {last} of slot {slot}, which has {count}" if last >= count else None

    def translate(self, address):
        """Where an address that is used lies in memory."""
        place = self.split(address)
        if place is None:
            return address
        slot, page, home, offset = place
        return home * self.home_size + self._tables[slot][page] + offset
