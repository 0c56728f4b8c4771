"""The address map: a byte's address as the place of a burst in a DRAM."""

from amaranth.hdl import *
from amaranth.lib import data
from amaranth.utils import exact_log2

from .timing import TimingSet

__all__ = ["AddressMap"]


class AddressMap:
    """From low to high: byte of a burst, way, column, set, row; the set is that of the address plus the row's
    :meth:`turn`, modulo the sets.

    A *set* is ``timing.ways`` banks in as many bank groups, its *ways*: the fewest that bursts have to go
    round so that one can follow the other at once. The number of a bank is that of its group plus ``groups``
    times its own in the group, and also way plus ``ways`` times set. A granule, of a row in each bank of a
    set, is contiguous: whoever reads a part of it opens no rows in other sets, where others may read
    meanwhile.

    The row is added so that streams at a distance of a power of two do not meet in one set for ever: parts of
    it, each of as many bits as the set has, as matrices and pages are at distances of megabytes. Sums and
    not exclusive or, and one of them subtracted, as after the last set of a row comes another set, one that
    was left long ago, whatever the row: a stream comes back to a set after all but one of the others at the
    earliest. Of a chip's address the pseudo-channel has been taken out before.

    Parameters
    ----------
    timing : TimingSet

    Members
    -------
    place : StructLayout of way, column, set and row
    granule : StructLayout of what a granule has in common, set and row
    """

    def __init__(self, timing: TimingSet):
        self.timing = timing
        self.bits = {
            "byte": exact_log2(timing.burst_bytes),
            "way": exact_log2(timing.ways),
            "column": exact_log2(timing.columns),
            "set": exact_log2(timing.sets),
            "row": exact_log2(timing.rows),
        }
        self.place = data.StructLayout({name: bits for name, bits in self.bits.items() if name != "byte"})
        self.granule = data.StructLayout({name: self.bits[name] for name in ("set", "row")})

    def turn(self, row):
        """By how much, modulo the sets, those of a ``row`` (a Python int or a Value) are turned."""
        bits = self.bits["set"]
        return row - (row >> bits) + (row >> 2 * bits)

    def set_of(self, address):
        """Python: the number of the set that an address, or each of an array of them, is in."""
        granule = address >> sum(self.bits[name] for name in ("byte", "way", "column"))
        return granule + self.turn(granule >> self.bits["set"]) & self.timing.sets - 1

    def split(self, address):
        """Python: a dict of byte, group, column, bank and row of the address."""
        fields, timing, place = {}, self.timing, self.set_of(address)
        for name, bits in self.bits.items():
            fields[name] = address & (1 << bits) - 1
            address >>= bits
        number = fields["way"] + (place << self.bits["way"])
        group, bank = number & timing.groups - 1, number >> exact_log2(timing.groups)
        return {name: fields[name] for name in ("byte", "column", "row")} | dict(group=group, bank=bank)

    def join(self, *, byte=0, group, column, bank, row):
        """Python: the address of a place; the inverse of :meth:`split`."""
        timing, number = self.timing, group + (bank << exact_log2(self.timing.groups))
        way, places = number & timing.ways - 1, number >> self.bits["way"]
        fields = dict(
            byte=byte, way=way, column=column, set=places - self.turn(row) & timing.sets - 1, row=row
        )
        address = shift = 0
        for name, bits in self.bits.items():
            address |= fields[name] << shift
            shift += bits
        return address

    def place_of(self, address):
        """In gates: the :attr:`place` of an address, combinational."""
        fields = {}
        low = 0
        for name, bits in self.bits.items():
            fields[name] = address[low : low + bits]
            low += bits
        number = (fields["set"] + self.turn(fields["row"]))[: self.bits["set"]]
        return self.place(Cat(fields["way"], fields["column"], number, fields["row"]))

    def address_of(self, place):
        """In gates: the address of the burst at a ``place``, combinational."""
        number = (place.set - self.turn(place.row))[: self.bits["set"]]
        return Cat(C(0, self.bits["byte"]), place.way, place.column, number, place.row)
