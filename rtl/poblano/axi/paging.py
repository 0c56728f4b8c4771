"""The sizes of page tables, and the addresses that they translate."""

from dataclasses import dataclass, field

from amaranth.utils import exact_log2

from ..config_error import FOLLOWS

__all__ = ["PAGE_ALIGNMENT", "WINDOW_BIT", "PagingConfig"]

WINDOW_BIT = 39
"""The bit of an address that is 1 in the window that page tables translate, and 0 in all other addresses."""
PAGE_ALIGNMENT = 4096
"""Pages begin at multiples of this in memory, so that no burst of a page is cut."""
MOST_OFFSET_BITS = 31
"""A stride, which is a page at most, has 32 bits."""


@dataclass(frozen=True, kw_only=True)
class PagingConfig:
    """Page tables: ``slots`` of them, each with room for ``pages`` pages; both are powers of two.

    An address of the window has, from the lowest bit on, the offset in a page, the number of the page in its
    slot's table, and the slot. A sequence that is served has a slot: its keys and values of a few positions
    in all layers are a page, which can lie anywhere in memory, and be shared with other sequences.

    A page has a part in each of the memory's ``homes``, all as far from the home's start; the offset's
    highest bits are the home.
    """

    slots: int = 64
    pages: int = 256
    homes: int = field(default=1, metadata=FOLLOWS)

    def __post_init__(self):
        for name, value in (("slots", self.slots), ("pages", self.pages)):
            if not isinstance(value, int) or value < 1 or value & (value - 1):
                raise ValueError(f"paging {name} must be a power of two of at least 1, not {value!r}")
        if self.part_bits < exact_log2(PAGE_ALIGNMENT):
            page = "a page" if self.homes == 1 else f"a page in each of {self.homes} homes"
            raise ValueError(
                f"paging: {self.slots} slots of {self.pages} pages leave {self.part_bits} bits for {page}"
            )

    @property
    def entries(self):
        """Pages in all tables."""
        return self.slots * self.pages

    @property
    def offset_bits(self):
        return min(MOST_OFFSET_BITS, WINDOW_BIT - exact_log2(self.entries))

    @property
    def part_bits(self):
        """Of :attr:`offset_bits`, those of an offset in a home's part."""
        return self.offset_bits - exact_log2(self.homes)

    @property
    def stride(self):
        """Bytes from a page to the next one in the window."""
        return 1 << self.offset_bits

    @property
    def part(self):
        """Bytes from a home's part of a page to the next home's, in the window."""
        return 1 << self.part_bits

    def address(self, slot, page=0, offset=0, home=0):
        """An address of the window."""
        return (
            1 << WINDOW_BIT | (slot * self.pages + page) << self.offset_bits | home << self.part_bits | offset
        )

    def parts(self, slot, page=0, offset=0):
        """The addresses of a page's parts, of each home."""
        return [self.address(slot, page, offset, home) for home in range(self.homes)]

    # Expressions of an address, see :mod:`.isa.expressions`.

    def inside(self, address):
        """Whether an address is in the window."""
        return (address >> WINDOW_BIT) == 1

    def offset(self, address):
        """In a home's part of a page."""
        return address & (self.part - 1)

    def home(self, address):
        return (address >> self.part_bits) & (self.homes - 1)

    def page(self, address):
        return (address >> self.offset_bits) & (self.pages - 1)

    def slot(self, address):
        """Of an address of the window; there may be none of this number."""
        return (address & ((1 << WINDOW_BIT) - 1)) >> (self.offset_bits + exact_log2(self.pages))
