"""Which memory an address is in."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.utils import exact_log2

__all__ = ["HomesConfig"]


@dataclass(frozen=True, kw_only=True)
class HomesConfig:
    """``count`` homes of ``size`` bytes each, one after the other. With a ``window`` the last so many bytes
    of each home are a place of their own: the places are the homes, then their windows. All are powers of
    two."""

    count: int
    size: int
    window: int = 0

    @property
    def places(self):
        """How many memories there are."""
        return self.count * (2 if self.window else 1)

    def of(self, address):
        """The number of the place of ``address``, a Value."""
        low = exact_log2(self.size)
        home = address[low : low + exact_log2(self.count)]
        if not self.window:
            return home
        return Cat(home, address[exact_log2(self.window) : low].all())
