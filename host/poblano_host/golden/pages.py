"""The golden chip's own page tables, from ``docs/specification.md`` alone."""

__all__ = ["PageTables"]


class PageTables:
    """What addresses of the window stand for: 2**39, plus slot, page and offset, of which the offset has
    ``offset_bits``.

    Members
    -------
    memory_bytes : that other addresses reach
    page_bytes : of each page
    """

    def __init__(self, config, memory_bytes):
        self.memory_bytes, self.page_bytes = memory_bytes, 0
        paging = config.memory.paging
        self.slots, self.pages = (paging.slots, paging.pages) if paging else (0, 0)
        named = max(1, self.slots * self.pages).bit_length() - 1
        self.offset_bits = min(31, 39 - named)
        self._tables = {}

    def use(self, first, page_bytes):
        """Memory from ``first`` on is of pages alone, of ``page_bytes`` bytes."""
        self.memory_bytes, self.page_bytes = first, page_bytes

    def set(self, slot, addresses):
        """The table of a slot: the address of each of its pages."""
        self._tables[slot] = list(addresses)

    def split(self, address):
        """(slot, page, offset) of an address of the window; None of another."""
        if not self.slots or address < 1 << 39:
            return None
        number, offset = divmod(address - (1 << 39), 1 << self.offset_bits)
        return *divmod(number, self.pages), offset

    def problem(self, address, stride, rows, row_bytes):
        """What is wrong with rows of memory the first of which is in the window; None: nothing.

        Either each row is in the page behind the last one's, at the same place, or all are in one page.
        """
        slot, page, offset = self.split(address)
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
        slot, page, offset = place
        return self._tables[slot][page] + offset
