"""Where bits can flip, by kind and block; each bit as likely as any other."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
import re

__all__ = ["KINDS_OF_BITS", "Place", "Places", "memory_places", "register_places"]

KINDS_OF_BITS = ("dram", "sram", "fifo", "flip-flop")
SRAM_ARRAY, QUEUE = "content", "storage"
"""What the array of an SRAM, and the SRAM of a queue, is called."""


@dataclass(frozen=True)
class Place:
    """``words`` words of ``width`` bits: of a register or a memory of the model, or, without one, of memory
    from ``address`` on, where a word is a burst of ``bytes`` bytes, and its check bits if it has some.

    ``block`` is the part of the chip, without the tile's and the home's number; ``name`` all of the path.
    """

    kind: str
    block: str
    name: str
    width: int
    words: int
    register: object = None
    address: int = 0
    bytes: int = 0

    @property
    def bits(self):
        return self.width * self.words


class Places:
    """Places of one kind.

    Members
    -------
    bits : of all places
    """

    def __init__(self, places):
        self._places = list(places)
        self._ends = list(accumulate(place.bits for place in self._places))
        self.bits = self._ends[-1] if self._ends else 0

    def __iter__(self):
        return iter(self._places)

    def at(self, number):
        """(place, word, bit) of bit ``number`` of all."""
        n = bisect_right(self._ends, number)
        place = self._places[n]
        word, bit = divmod(number - (self._ends[n] - place.bits), place.width)
        return place, word, bit

    def blocks(self):
        """Bits by block."""
        found: dict = {}
        for place in self._places:
            found[place.block] = found.get(place.block, 0) + place.bits
        return found


def register_places(registers):
    """The places of a model's registers and memories."""
    return [
        Place(
            _kind(register),
            _block(register.path),
            ".".join([*register.path, register.name]),
            register.width,
            register.depth,
            register,
        )
        for register in registers
    ]


def memory_places(regions, config):
    """Those of the memory of a ChipConfig: ``regions`` are (what lies there, first address, end)."""
    dram = config.memory.dram
    size = config.memory.data_bytes if dram is None else dram.timing.burst_bytes
    checks = dram.timing.sideband_bits if dram is not None and config.ecc else 0
    found = []
    for block, first, end in regions:
        low, high = -(-first // size), end // size  # whole bursts
        if high > low:
            found.append(
                Place("dram", block, block, 8 * size + checks, high - low, address=low * size, bytes=size)
            )
    return found


def _kind(register):
    if register.name != SRAM_ARRAY:  # other arrays are made of flip-flops
        return "flip-flop"
    return "fifo" if register.path[-1] == QUEUE else "sram"


def _block(path):
    """The first two of the instances that something is in, as tile.vector_unit."""
    return ".".join(re.sub(r"\d+$", "", part) for part in path[:2]) or "chip"
