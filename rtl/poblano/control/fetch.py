"""Reads commands from the ring in memory."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..interfaces import AXIReadSignature
from .commands import COMMAND_BYTES

__all__ = ["CommandFetch"]


class CommandFetch(wiring.Component):
    """Fetches the commands up to ``tail`` in order, up to four with a burst, two bursts ahead.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    base : In, address of the ring, a multiple of 4096. size : In(32), its commands, a power of two of at least 64.
    tail : In(32), commands written since the reset.
    enable : In(1), begin new reads. flush : In(1), begin none and discard data.
    idle : Out(1), no read in flight.
    error : Out(1), a read was answered with an error; held until the reset.
    o : Out(stream of 512 bits)
    axi : Out(AXIReadSignature)
    """

    BURST = 4
    """Commands in a burst: 256 bytes, which never cross 4 KiB."""

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__({
            "base": In(config.memory.addr_width),
            "size": In(32),
            "tail": In(32),
            "enable": In(1),
            "flush": In(1),
            "idle": Out(1),
            "error": Out(1),
            "o": Out(stream.Signature(8 * COMMAND_BYTES)),
            "axi": Out(AXIReadSignature(addr_width=config.memory.addr_width, data_width=config.memory.data_width,
                                        id_width=1)),
        })

    def elaborate(self, platform):
        m = Module()
        beats = COMMAND_BYTES // self.config.memory.data_bytes
        depth = 2 * self.BURST * beats
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=self.config.memory.data_width, depth=depth)
        ar, r = self.axi.ar, self.axi.r

        requested = Signal(32)  # commands asked for since the reset
        room = Signal(range(depth + 1), init=depth)  # beats that nothing is reserved for
        in_flight = Signal(range(3))
        left = Signal(32)
        count = Signal(range(self.BURST + 1))
        m.d.comb += left.eq(self.tail - requested)
        to_boundary = self.BURST - requested[:(self.BURST - 1).bit_length()]
        m.d.comb += count.eq(Mux(left < to_boundary, left, to_boundary))

        issue = Signal()
        with m.If(~ar.valid | ar.ready):
            m.d.sync += ar.valid.eq(0)
            with m.If(self.enable & ~self.flush & ~self.error & (left != 0) & (room >= self.BURST * beats) & (in_flight < 2)):
                m.d.comb += issue.eq(1)
                slot = requested & (self.size - 1)[:32]
                m.d.sync += [
                    ar.valid.eq(1),
                    ar.payload.addr.eq(self.base + (slot << (COMMAND_BYTES.bit_length() - 1))),
                    ar.payload.len.eq(count * beats - 1),
                    requested.eq(requested + count),
                ]
        taken = r.valid & r.ready
        m.d.comb += [
            r.ready.eq(1),
            fifo.w_data.eq(r.payload.data),
            fifo.w_en.eq(r.valid & ~self.flush),
            self.idle.eq((in_flight == 0) & ~ar.valid),
        ]
        with m.If(taken & r.payload.resp[1]):
            m.d.sync += self.error.eq(1)
        m.d.sync += in_flight.eq(in_flight + issue - (taken & r.payload.last))
        m.d.sync += room.eq(room - Mux(issue, count * beats, 0) + (fifo.r_en & fifo.r_rdy))

        words = Signal(beats * self.config.memory.data_width)
        have = Signal(range(beats + 1))
        m.d.comb += [
            self.o.payload.eq(words),
            self.o.valid.eq((have == beats) & ~self.error),
            fifo.r_en.eq(have != beats),
        ]
        with m.If(fifo.r_en & fifo.r_rdy):
            m.d.sync += [words.eq(Cat(words, fifo.r_data)[self.config.memory.data_width:]), have.eq(have + 1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += have.eq(0)
        return m
