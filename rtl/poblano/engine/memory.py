"""The engine's memory, with one port or two."""

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..memory.sram import SRAM
from ..verilog import place

__all__ = ["EngineMemory", "MemoryPortSignature"]

LANE = 32


class MemoryPortSignature(wiring.Signature):
    """The user's side of a memory that writes words of 32 bits each.

    Members
    -------
    read : ``en``, ``addr``; always accepted; ``data``, in the next cycle
    write : ``en`` for each 32 bits, ``addr``, ``data``; counts only with ``ready``, which may depend on
        ``read.en``
    """

    def __init__(self, *, width, depth):
        addr = (depth - 1).bit_length()
        super().__init__(
            {
                "read": Out(wiring.Signature({"en": Out(1), "addr": Out(addr), "data": In(width)})),
                "write": Out(
                    wiring.Signature(
                        {"en": Out(width // LANE), "addr": Out(addr), "data": Out(width), "ready": In(1)}
                    )
                ),
            }
        )


class EngineMemory(wiring.Component):
    """``depth`` words of ``width`` bits. With one of ``ports``, no write is accepted in the cycle of a
    read.

    Latency: 1 cycle.
    """

    def __init__(self, *, width, depth, ports):
        self.width, self.depth, self.ports = width, depth, ports
        super().__init__({"port": In(MemoryPortSignature(width=width, depth=depth))})

    def elaborate(self, platform):
        m = Module()
        read, write = self.port.read, self.port.write
        if self.ports == 2:
            sram = place(m, "memory", SRAM(width=self.width, depth=self.depth, granularity=LANE))
            m.d.comb += [
                sram.read.en.eq(read.en),
                sram.read.addr.eq(read.addr),
                read.data.eq(sram.read.data),
                sram.write.en.eq(write.en),
                sram.write.addr.eq(write.addr),
                sram.write.data.eq(write.data),
                write.ready.eq(1),
            ]
            return m
        m.submodules.memory = words = memory.Memory(shape=self.width, depth=self.depth, init=[])
        read_port, write_port = words.read_port(), words.write_port(granularity=LANE)
        addr = Signal.like(read.addr)
        m.d.comb += [
            write.ready.eq(~read.en),
            addr.eq(Mux(read.en, read.addr, write.addr)),
            read_port.addr.eq(addr),
            read_port.en.eq(read.en),
            read.data.eq(read_port.data),
            write_port.addr.eq(addr),
            write_port.en.eq(Mux(read.en, 0, write.en)),
            write_port.data.eq(write.data),
        ]
        return m
