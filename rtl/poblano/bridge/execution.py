"""The request that the bridge executes: its registers, and what its states do with them."""

from amaranth.hdl import *

from ..axi.bursts import BOUNDARY_BYTES
from .protocol import (
    AXI_ERROR,
    CHIP_OPERATIONS,
    ENTRY_BYTES,
    STATISTICS,
    VALUE_BYTES,
    WAIT_BITS,
    Operation,
    Status,
)
from .uart import DIVIDER_BITS, LEAST_DIVIDER

__all__ = ["DATA_BITS", "REGISTER_BITS", "WORD", "Execution", "axi_status"]

DATA_BITS = 32
WORD = DATA_BITS // 8
REGISTER_BITS = 12
"""Of the address of a register."""
COUNTER_BITS = 16


def axi_status(response):
    """The status of AXI's ``response``, an error."""
    return Cat(response, C(AXI_ERROR >> 2))


class Execution:
    """The request in progress: the registers that its states in ``m`` share, and what several of them do.

    ``left`` counts the bytes of ``word``; ``got`` bytes of the request have been read, ``answer_bytes`` of
    the answer written. ``burst`` words are in a burst of memory, ``beats`` of them left; ``words`` are left
    after it. ``known`` are the facts of which a request is judged, a cycle after they are true.
    """

    def __init__(self, m, config):
        self.m, self.config, payload = m, config, config.payload
        self.sequence, self.operation, self.count, self.address = (
            Signal(bits, name=name)
            for name, bits in (("sequence", 8), ("operation", 8), ("count", 16), ("address", DATA_BITS))
        )
        self.header = Cat(self.sequence, self.operation, self.count, self.address)
        self.size = Signal(range(payload + 1))  # bytes of data in the request
        self.last_sequence = Signal(8)
        self.answer_bytes = Signal(range(payload + 1))
        self.status = Signal(Status)
        self.counters = [Signal(COUNTER_BITS, name=name) for name in STATISTICS]
        self.word = Signal(DATA_BITS)
        self.left = Signal(range(WORD + 1))
        self.got = Signal(range(payload + 1))
        self.byte = Signal(8)
        self.put = Signal()
        self.address_pending = Signal()
        self.register_pending = Signal()
        self.value_pending = Signal()
        self.words = self.count[2:]
        self.burst = Signal(range(payload // WORD + 1))
        self.first = Signal.like(self.burst)
        self.beats = Signal.like(self.burst)
        self.operations = [known for known in Operation if config.chip or known not in CHIP_OPERATIONS]
        self.facts = self._facts() | (self._chip_facts() if config.chip else {})
        self.known = {name: Signal(name=name) for name in self.facts}

    def _facts(self):
        count, address, addr_width = self.count, self.address, self.config.addr_width
        # A frame's data are less than a page: they pass the last address only from the last page.
        passes = address[12:addr_width].all() & self._past_page()
        facts = {
            "bad_address": (address[:2] != 0) | (address[addr_width:] != 0) | passes,
            "bad_register": (address[:2] != 0) | (address[REGISTER_BITS:] != 0),
            "bad_divider": (address < LEAST_DIVIDER) | (address[DIVIDER_BITS:] != 0),
            "bad_count": (count[:2] != 0) | (count == 0) | (count > self.config.payload),
            "no_count": count == 0,
            "one_word": count == WORD,
            "no_data": self.size == 0,
            "all_data": self.size == count,
        }
        facts |= {f"is_{known.name.lower()}": self.operation == known for known in self.operations}
        return facts | {"unknown": self.operation > max(self.operations)}

    def _past_page(self):
        return self.address[:12] + self.count > BOUNDARY_BYTES

    def _chip_facts(self):
        """The facts of what only a bridge before a chip does."""
        count, address, size, entry = self.count, self.address, self.size, ENTRY_BYTES.bit_length() - 1
        return {
            "bad_registers": (address[:2] != 0) | (address[REGISTER_BITS:] != 0) | self._past_page(),
            "bad_wait": address[WAIT_BITS:] != 0,
            "bad_values": (size == 0) | (size % VALUE_BYTES != 0) | (count == 0),
            "bad_table": (address[:entry] != 0) | (address[self.config.addr_width :] != 0),
        }

    def is_op(self, which):
        return self.known[f"is_{which.name.lower()}"]

    def increment(self, name):
        """Count in one of the STATISTICS."""
        counter = self.counters[STATISTICS.index(name)]
        self.m.d.sync += counter.eq(counter + ~counter.all())

    def finish(self, code):
        """Answer without data."""
        self.m.d.sync += [self.status.eq(code), self.answer_bytes.eq(0)]
        self.m.next = "ANSWER"

    def note(self, response):
        """Keep the first error."""
        with self.m.If(response[1] & (self.status == Status.OK)):
            self.m.d.sync += self.status.eq(axi_status(response))

    def accepted(self, channel, state):
        """Go on to ``state`` when the channel has taken what it is offered."""
        self.m.d.comb += channel.valid.eq(1)
        with self.m.If(channel.ready):
            self.m.next = state
