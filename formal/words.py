"""A memory whose words a harness can name."""

from amaranth.hdl import *

from poblano.memory.sram import SRAM

__all__ = ["Words"]


class Words(SRAM):
    """An SRAM of registers, whose ``words`` an invariant can name."""

    def __init__(self, *, ecc, **size):
        super().__init__(**size)
        names = range(1 << len(self.read.addr))
        self.words = Array(Signal(self.width, name=f"word{n}", reset_less=True) for n in names)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.read.en):
            m.d.sync += self.read.data.eq(self.words[self.read.addr])
        with m.If(self.write.en):
            m.d.sync += self.words[self.write.addr].eq(self.write.data)
        return m
