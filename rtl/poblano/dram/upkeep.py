"""Why a DRAM's bursts are read, where check bits are kept."""

from dataclasses import replace

from amaranth.lib import data, enum

from .address import AddressMap

__all__ = ["Found", "Purpose", "upkeep"]


class Purpose(enum.Enum, shape=2):
    """Who reads a burst."""

    MASTER = 0
    MERGE = 1
    """A write of a part of it."""
    SCRUB = 2
    """The scrubber, to write it again."""
    PATROL = 3
    """The scrubber, to see whether bits have flipped."""


def upkeep(config):
    """The DramConfig of the controller's own reads: their id is a :class:`Purpose`."""
    return replace(config, id_width=2)


class Found(data.StructLayout):
    """Whether a burst has been read in this cycle, and what was found: one flipped bit in a word, two in a
    word, or that the bytes of a word are not known."""

    def __init__(self, config):
        super().__init__(
            {
                "valid": 1,
                "place": AddressMap(config.timing).place,
                "purpose": Purpose,
                "corrected": 1,
                "broken": 1,
                "failed": 1,
            }
        )
