"""A memory whose words have check bits."""

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..verilog import place
from .words import CodedWord, WordDecoder, WordEncoder

__all__ = ["ECCMemory"]


class ECCMemory(wiring.Component):
    """``depth`` words of ``width`` bits with check bits: a read and a write each cycle.

    Latency: 1 cycle.

    What is written together, a *granule* of ``granularity`` bits, is a :class:`CodedWord` in the memory
    ``array``. ``read.data`` is the corrected word in the cycle after ``read.en``, and stays until the next;
    of a word that is written in the same cycle it is the one before. ``corrected`` and ``failed`` belong to
    it, and stay as long: of a granule that ``failed`` the data are not what was written. Contents survive a
    reset, and are not defined before they are written; zeros are without an error.

    With ``write_back``, granules that were corrected are written while they are at ``read.data`` and there
    is no other write, if nothing has been written to their word since it was read. Where there is a write in
    each of these cycles, that is left to the next read.

    Parameters
    ----------
    width, depth : bits of a word, words
    granularity : bits that are written together, a divisor of ``width``, which is the default
    write_back : whether what was corrected is written

    Members
    -------
    read : ``en`` In(1), ``addr`` In, ``data`` Out(width)
    write : ``en`` In(width / granularity), ``addr`` In, ``data`` In(width)
    corrected, failed : Out(width / granularity), of the granules of ``read.data``
    """

    def __init__(self, *, width, depth, granularity=None, write_back=False):
        granularity = width if granularity is None else granularity
        if width < 1 or depth < 1 or width % granularity:
            raise ValueError(
                f"a memory of {depth!r} words of {width!r} bits can't be written by {granularity!r} bits"
            )
        self.width, self.depth, self.granularity = width, depth, granularity
        self.write_back = write_back
        addr, granules = max(1, ceil_log2(depth)), width // granularity
        super().__init__(
            {
                "read": In(wiring.Signature({"en": Out(1), "addr": Out(addr), "data": In(width)})),
                "write": In(wiring.Signature({"en": Out(granules), "addr": Out(addr), "data": Out(width)})),
                "corrected": Out(granules),
                "failed": Out(granules),
            }
        )

    def elaborate(self, platform):
        m = Module()
        granules, kept = self.width // self.granularity, CodedWord(self.granularity).bits
        m.submodules.array = array = memory.Memory(shape=granules * kept, depth=self.depth, init=[])
        read, write = array.read_port(), array.write_port(granularity=kept)
        m.d.comb += [read.en.eq(self.read.en), read.addr.eq(self.read.addr)]
        encoded, repaired = [], []
        for n in range(granules):
            encoder = place(m, f"encoder{n}", WordEncoder(self.granularity))
            decoder = place(m, f"decoder{n}", WordDecoder(self.granularity))
            m.d.comb += [
                encoder.i.eq(self.write.data.word_select(n, self.granularity)),
                decoder.i.eq(read.data.word_select(n, kept)),
                self.read.data.word_select(n, self.granularity).eq(decoder.o),
                self.corrected[n].eq(decoder.corrected),
                self.failed[n].eq(decoder.failed),
            ]
            encoded.append(encoder.o)
            repaired.append(decoder.repaired)
        m.d.comb += [write.en.eq(self.write.en), write.addr.eq(self.write.addr), write.data.eq(Cat(encoded))]
        if self.write_back:
            self._write_back(m, write, Cat(repaired))
        return m

    def _write_back(self, m, write, repaired):
        """Writes what was corrected, where nothing else is written."""
        addr, current = Signal.like(self.read.addr), Signal()  # of the word at `read.data`: not written since
        writes = Signal()
        m.d.comb += writes.eq(self.write.en.any())
        with m.If(~writes):
            m.d.comb += [
                write.en.eq(Mux(current, self.corrected & ~self.failed, 0)),
                write.addr.eq(addr),
                write.data.eq(repaired),
            ]
        with m.If(self.read.en):
            m.d.sync += [addr.eq(self.read.addr), current.eq(~(writes & (self.write.addr == self.read.addr)))]
        with m.Elif(~writes | (self.write.addr == addr)):
            m.d.sync += current.eq(0)
