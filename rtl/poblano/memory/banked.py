"""A memory of several banks for several requesters: vector memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..ecc.events import ECCEvents, uses
from ..interfaces import ReadPortSignature
from ..stream.round_robin import RoundRobin
from ..stream.select import select, word_mux
from ..verilog import place
from .clear_walk import clear_walk
from .sram import sram

__all__ = ["BankedMemory"]


class BankedMemory(wiring.Component):
    """``rows`` rows of ``width`` bits in ``banks`` banks, selected by the low bits of the address.

    Every bank does one read and one write a cycle. Requests for the same bank are served in turn, so that a
    read waits for at most ``read_ports - 1`` other reads, a write for at most ``write_ports - 1`` other
    writes. Data come exactly :attr:`LATENCY` cycles after their request's transfer. A write that has been
    transferred is in memory: a read transferred in a later cycle sees it, one in the same cycle sees what
    was there before. Reset forgets reads in progress and keeps the contents. ``clear`` writes zeros to all
    rows, one of each bank a cycle; meanwhile no write is taken.

    Parameters
    ----------
    granularity : bits that a mask bit enables
    ecc : whether what a mask bit enables has check bits; a corrected word is written back

    Members
    -------
    read : In(ReadPortSignature).array(read_ports)
    write : In(stream({addr, mask, data})).array(write_ports)
    clear : In(1), clearing : Out(1), from the next cycle on until all is zero
    events : Out(ECCEvents), with ``ecc``, of the data that come in this cycle
    """

    LATENCY = 2

    def __init__(self, *, rows, width, granularity, banks, read_ports, write_ports, ecc=False):
        if width % granularity:
            raise ValueError(f"width must be a multiple of the granularity {granularity}, not {width!r}")
        if rows % banks:
            raise ValueError(f"rows must be a multiple of the banks, {banks}, not {rows!r}")
        self.rows, self.width, self.granularity, self.banks = rows, width, granularity, banks
        self.read_ports, self.write_ports, self.ecc = read_ports, write_ports, ecc
        addr_width = ceil_log2(rows)
        write = data.StructLayout({"addr": addr_width, "mask": width // granularity, "data": width})
        port = ReadPortSignature(addr_width=addr_width, shape=width, ecc=ecc)
        members = {
            "read": In(port).array(read_ports),
            "write": In(stream.Signature(write)).array(write_ports),
            "clear": In(1),
            "clearing": Out(1),
        }
        super().__init__(members | ({"events": Out(ECCEvents())} if ecc else {}))

    def elaborate(self, platform):
        m = Module()
        bank_bits, addr_bits = exact_log2(self.banks), ceil_log2(self.rows)
        place_of = data.StructLayout({"bank": bank_bits, "row": addr_bits - bank_bits})
        read_places = [place_of(port.req.payload) for port in self.read]
        write_places = [place_of(port.payload.addr) for port in self.write]
        readers, writers, row_data, memories = [], [], [], []  # by bank
        cleared = clear_walk(m, self, self.rows // self.banks)
        for b in range(self.banks):
            memory = place(
                m,
                f"bank{b}",
                sram(
                    width=self.width,
                    depth=self.rows // self.banks,
                    granularity=self.granularity,
                    ecc=self.ecc,
                ),
            )
            read, write = memory.read, memory.write
            reader = place(m, f"read{b}", RoundRobin(count=self.read_ports))
            writer = place(m, f"write{b}", RoundRobin(count=self.write_ports))
            row = Signal.like(self.write[0].payload, name=f"row{b}")
            m.d.comb += [
                reader.request.eq(
                    Cat(port.req.valid & (at.bank == b) for port, at in zip(self.read, read_places))
                ),
                reader.accept.eq(1),
                read.en.eq(reader.request.any()),
                read.addr.eq(select(reader.grant, [at.row for at in read_places])),
                writer.request.eq(
                    Cat(port.valid & (at.bank == b) for port, at in zip(self.write, write_places))
                ),
                writer.accept.eq(1),
                row.eq(select(writer.grant, [port.payload for port in self.write])),
                write.en.eq(Mux(self.clearing, ~0, Mux(writer.request.any(), row.mask, 0))),
                write.addr.eq(Mux(self.clearing, cleared, place_of(row.addr).row)),
                write.data.eq(Mux(self.clearing, 0, row.data)),
            ]
            readers.append(reader)
            writers.append(writer)
            row_data.append(read.data)
            memories.append(memory)
        for p, port in enumerate(self.read):
            granted = Cat(reader.grant[p] for reader in readers)
            # Not out of the grants, which have much to drive.
            m.d.comb += port.req.ready.eq(word_mux(read_places[p].bank, [r.open[p] for r in readers]))
            # Cycle 1: the banks.
            source = Signal(self.banks, name=f"source{p}")
            m.d.sync += source.eq(granted)
            # Cycle 2: the bank's data to the port.
            m.d.sync += [port.valid.eq(source.any()), port.data.eq(select(source, row_data))]
            if self.ecc:
                m.d.sync += port.failed.eq(select(source, [memory.failed.any() for memory in memories]))
        if self.ecc:
            asked = Signal(self.banks)  # in the cycle before
            m.d.sync += [
                asked.eq(Cat(reader.request.any() for reader in readers)),
                self.events.eq(uses(*zip(asked, memories))),
            ]
        for p, port in enumerate(self.write):
            free = word_mux(write_places[p].bank, [w.open[p] for w in writers])
            m.d.comb += port.ready.eq(free & ~self.clearing)
        return m
