"""A memory of one read and one write port, which a macro can replace."""

from pathlib import Path

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..ecc.memory import ECCMemory

__all__ = ["SRAM", "sram"]


def sram(*, width, depth, granularity=None, ecc=False, write_back=True):
    """An :class:`SRAM`, or with ``ecc`` the :class:`~poblano.ecc.memory.ECCMemory` of the same size."""
    if not ecc:
        return SRAM(width=width, depth=depth, granularity=granularity)
    return ECCMemory(width=width, depth=depth, granularity=granularity, write_back=write_back)


class SRAM(wiring.Component):
    """``depth`` words of ``width`` bits: a read and a write each cycle.

    Latency: 1 cycle.

    ``read.data`` is the word in the cycle after ``read.en``, and stays until the next; of a word that is
    written in the same cycle it is the one before. Contents survive a reset, and are not defined before
    they are written.

    In the Verilog every SRAM is an instance of the one module ``poblano_sram`` (``sram.v``), whose
    parameters say its size.

    Parameters
    ----------
    width, depth : bits of a word, words
    granularity : bits that are written together, a divisor of ``width``, which is the default

    Members
    -------
    read : ``en`` In(1), ``addr`` In, ``data`` Out(width)
    write : ``en`` In(width / granularity), ``addr`` In, ``data`` In(width)
    """

    VERILOG = Path(__file__).with_name("sram.v")

    def __init__(self, *, width, depth, granularity=None):
        granularity = width if granularity is None else granularity
        if width < 1 or depth < 1 or width % granularity:
            raise ValueError(
                f"a memory of {depth!r} words of {width!r} bits can't be written by {granularity!r} bits"
            )
        self.width, self.depth, self.granularity = width, depth, granularity
        addr = max(1, ceil_log2(depth))
        super().__init__(
            {
                "read": In(wiring.Signature({"en": Out(1), "addr": Out(addr), "data": In(width)})),
                "write": In(
                    wiring.Signature({"en": Out(width // granularity), "addr": Out(addr), "data": Out(width)})
                ),
            }
        )

    @property
    def verilog_parameters(self):
        return {
            "WIDTH": self.width,
            "DEPTH": self.depth,
            "ADDR": len(self.read.addr),
            "GRANULARITY": self.granularity,
        }

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = words = memory.Memory(shape=self.width, depth=self.depth, init=[])
        read, write = words.read_port(), words.write_port(granularity=self.granularity)
        m.d.comb += [
            read.en.eq(self.read.en),
            read.addr.eq(self.read.addr),
            self.read.data.eq(read.data),
            write.en.eq(self.write.en),
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
        ]
        return m
