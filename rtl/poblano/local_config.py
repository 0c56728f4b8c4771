"""The units of local memories, and the configuration of a tile's."""

from dataclasses import dataclass

from amaranth.utils import exact_log2

__all__ = ["BLOCK", "LINE_BYTES", "LINE_WORDS", "LocalConfig"]

BLOCK = 32
"""Elements in a block: the number formats' shared-scale block along K."""
LINE_BYTES = 32
"""Bytes in a line: the unit of vector-memory addresses in commands (8 FP32 words)."""
LINE_WORDS = LINE_BYTES // 4


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """A tile's local memories, as those see them who read and write them.

    A row of vector memory has ``lanes`` FP32 words, a word of activation memory ``segments`` blocks, each of
    which has a sum of ``sum_width`` bits. ``vmem_addr_width`` are the bits of a row's address,
    ``amem_addr_width`` those of a block's. With ``ecc`` words have check bits.
    """

    lanes: int
    segments: int
    sum_width: int
    vmem_addr_width: int
    amem_addr_width: int
    ecc: bool = False

    @property
    def row_width(self):
        """Bits of a row of vector memory."""
        return 32 * self.lanes

    @property
    def word_addr_width(self):
        """Bits of the address of a word of activation memory."""
        return self.amem_addr_width - exact_log2(self.segments)

    @property
    def line_addr_width(self):
        """Bits of the address of a line of vector memory."""
        return self.vmem_addr_width + exact_log2(self.lanes) - exact_log2(LINE_WORDS)

    @property
    def place_width(self):
        """Bits of a local address in commands: a line of vector memory or a block of activation memory."""
        return max(self.line_addr_width, self.amem_addr_width)

    def rows_of(self, lines):
        """A number of lines of vector memory, or a line's address, as that of rows: a Python int or a
        Value."""
        return (lines << exact_log2(LINE_WORDS)) >> exact_log2(self.lanes)

    @property
    def addr_width(self):
        """Bits of a write's address: a row or a block."""
        return max(self.vmem_addr_width, self.amem_addr_width)
