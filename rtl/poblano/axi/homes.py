"""Which memory port an address is behind."""

from dataclasses import dataclass

from amaranth.utils import exact_log2

__all__ = ["HomesConfig"]


@dataclass(frozen=True, kw_only=True)
class HomesConfig:
    """``count`` homes of ``size`` bytes each, one after the other; both are powers of two."""

    count: int
    size: int

    def of(self, address):
        """The number of the home of ``address``, a Value."""
        low = exact_log2(self.size)
        return address[low : low + exact_log2(self.count)]
