"""The address map: a byte's address as bank group, column, bank and row."""

from amaranth.hdl import *
from amaranth.lib import data
from amaranth.utils import exact_log2

from .timing import TimingSet

__all__ = ["AddressMap"]


class AddressMap:
    """From low to high: byte of a burst, bank group, column, bank, row; the bank is that of the address
    plus the row, modulo the banks.

    Bursts in a row go round the bank groups, and a granule, of a row in each group, is contiguous. The row
    is added so that streams at a distance of a power of two do not meet in one bank for ever. A sum and not
    an exclusive or, as after the last bank of a row comes another bank, one that was left long ago,
    whatever the row: a stream comes back to a bank after all but one of the others at the earliest. Of a
    chip's address the pseudo-channel has been taken out before.

    Parameters
    ----------
    timing : TimingSet

    Members
    -------
    place : StructLayout of group, column, bank and row
    granule : StructLayout of what a granule has in common, bank and row
    """

    def __init__(self, timing: TimingSet):
        self.timing = timing
        self.bits = {
            "byte": exact_log2(timing.burst_bytes),
            "group": exact_log2(timing.groups),
            "column": exact_log2(timing.columns),
            "bank": exact_log2(timing.banks),
            "row": exact_log2(timing.rows),
        }
        self.place = data.StructLayout({name: bits for name, bits in self.bits.items() if name != "byte"})
        self.granule = data.StructLayout({name: self.bits[name] for name in ("bank", "row")})

    def split(self, address):
        """Python: a dict of byte, group, column, bank and row of the address."""
        fields = {}
        for name, bits in self.bits.items():
            fields[name] = address & (1 << bits) - 1
            address >>= bits
        fields["bank"] = (fields["bank"] + fields["row"]) & self.timing.banks - 1
        return fields

    def join(self, *, byte=0, group, column, bank, row):
        """Python: the address of a place; the inverse of :meth:`split`."""
        fields = dict(
            byte=byte, group=group, column=column, bank=(bank - row) & self.timing.banks - 1, row=row
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
        bank = (fields["bank"] + fields["row"])[: self.bits["bank"]]
        return self.place(Cat(fields["group"], fields["column"], bank, fields["row"]))

    def address_of(self, place):
        """In gates: the address of the burst at a ``place``, combinational."""
        bank = (place.bank - place.row)[: self.bits["bank"]]
        return Cat(C(0, self.bits["byte"]), place.group, place.column, bank, place.row)
