"""Patches words of memory from a table beside them."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIConfig, AXIReadSignature, AXIWriteSignature
from .execution import DATA_BITS, axi_status
from .protocol import ENTRY_BYTES, KIND_BIT, VALUE_BYTES, Status

__all__ = ["Patcher"]

BYTE = 8
VALUE_BITS = BYTE * VALUE_BYTES
BEATS = ENTRY_BYTES * BYTE // DATA_BITS


class Patcher(wiring.Component):
    """For each entry of a table in memory, writes its word plus the value of its kind to its address.

    Latency: 11 cycles an entry, and memory's for a read of four beats and a write of two.

    Sums are modulo 2**64. The first entry whose address is none of a word, whose kind has no value or whose
    accesses fail ends it; those before have been written. One AXI transaction is in flight at most.

    Parameters
    ----------
    addr_width : of memory
    payload : most bytes of values, a power of two

    Members
    -------
    start : In(1), high until ``done``
    table : In(32), address of the table, a multiple of its entries' size; count : In(16), entries, at least
        1; size : In, bytes of values; all constant from ``start`` to ``done``
    addr : Out, of a byte of the values; data : In(8), in the cycle after
    read, write : Out(AXIReadSignature), Out(AXIWriteSignature), 32-bit data
    done : Out(1), high for a cycle; status : Out(Status), at ``done``
    """

    def __init__(self, *, addr_width, payload):
        self.addr_width, self.payload = addr_width, payload
        axi = AXIConfig(addr_width=addr_width, data_width=DATA_BITS)
        super().__init__(
            {
                "start": In(1),
                "table": In(DATA_BITS),
                "count": In(16),
                "size": In(range(payload + 1)),
                "addr": Out((payload - 1).bit_length()),
                "data": In(BYTE),
                "read": Out(AXIReadSignature(axi)),
                "write": Out(AXIWriteSignature(axi)),
                "done": Out(1),
                "status": Out(Status),
            }
        )

    def elaborate(self, platform):
        m = Module()
        entry = Signal(data.StructLayout({"word": VALUE_BITS, "address": KIND_BIT, "kind": 64 - KIND_BIT}))
        address, left = Signal(self.addr_width + 1), Signal(16)
        index, carry = Signal(range(VALUE_BYTES + 1)), Signal()
        waiting, second = Signal(), Signal()  # the write's address is not taken; its second beat is next
        self._channels(m, entry, address, waiting, second)
        m.d.comb += self.addr.eq(Cat(index[: VALUE_BYTES.bit_length() - 1], entry.kind))
        m.d.sync += self.done.eq(0)

        def ends(code=None):
            m.d.sync += self.done.eq(1)
            if code is not None:
                m.d.sync += self.status.eq(code)
            m.next = "IDLE"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [address.eq(self.table), left.eq(self.count)]
                with m.If(self.start & ~self.done):
                    m.d.sync += self.status.eq(Status.OK)
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.read.ar.valid.eq(1)
                m.d.sync += [index.eq(0), carry.eq(0)]
                with m.If(self.read.ar.ready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.r.ready.eq(1)
                with m.If(self.read.r.valid):
                    m.d.sync += entry.eq(Cat(entry.as_value()[DATA_BITS:], self.read.r.payload.data))
                    self._note(m, self.read.r.payload.resp)
                    with m.If(self.read.r.payload.last):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += address.eq(address + ENTRY_BYTES)
                m.next = "ADD"
                with m.If(self.status != Status.OK):
                    ends()
                with m.Elif(self._bad(entry)):
                    ends(Status.BAD_ENTRY)
            with m.State("ADD"):
                # Cycle 1: a byte of the value is read. Cycle 2: it is added to the word's.
                m.d.sync += index.eq(index + 1)
                with m.If(index != 0):
                    total = entry.word[:BYTE] + self.data + carry
                    m.d.sync += [entry.word.eq(Cat(entry.word[BYTE:], total[:BYTE])), carry.eq(total[BYTE])]
                with m.If(index == VALUE_BYTES):
                    m.d.sync += [waiting.eq(1), second.eq(0)]
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.write.w.valid.eq(1)
                with m.If(self.write.w.ready):
                    m.d.sync += [entry.word.eq(entry.word >> DATA_BITS), second.eq(1)]
                    with m.If(second):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.write.b.ready.eq(1)
                with m.If(self.write.b.valid):
                    self._note(m, self.write.b.payload.resp)
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += left.eq(left - 1)
                m.next = "ASK"
                with m.If((self.status != Status.OK) | (left == 1)):
                    ends()
                with m.Elif(address[-1]):
                    ends(Status.BAD_ADDRESS)
        return m

    def _channels(self, m, entry, address, waiting, second):
        """What the AXI channels carry, and the write's address, which waits until it is taken."""
        read, write = self.read, self.write
        m.d.comb += [
            read.ar.payload.addr.eq(address),
            read.ar.payload.len.eq(BEATS - 1),
            write.aw.valid.eq(waiting),
            write.aw.payload.addr.eq(entry.address),
            write.aw.payload.len.eq(VALUE_BITS // DATA_BITS - 1),
            write.w.payload.data.eq(entry.word),
            write.w.payload.strb.eq(~0),
            write.w.payload.last.eq(second),
        ]
        with m.If(write.aw.ready):
            m.d.sync += waiting.eq(0)

    def _bad(self, entry):
        """Whether an entry's address is none of a word in memory, or its kind has no value."""
        outside = entry.address[self.addr_width :].any() | (entry.address % VALUE_BYTES != 0)
        return outside | (entry.kind >= self.size // VALUE_BYTES)

    def _note(self, m, response):
        """Keep the first error."""
        with m.If(response[1] & (self.status == Status.OK)):
            m.d.sync += self.status.eq(axi_status(response))
