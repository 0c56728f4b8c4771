"""Reads commands from the ring in memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..axi.signature import AXIReadSignature
from ..config import ChipConfig
from ..isa.commands import COMMAND_BYTES
from ..verilog import place

__all__ = ["BURST_COMMANDS", "CommandFetch", "FetchedLayout"]

BURST_COMMANDS = 4
"""Most commands in a burst; the ring is aligned to as many, so that no burst crosses 4 KiB."""
BURSTS_AHEAD = 2


class FetchedLayout(data.StructLayout):
    """A command, and whether memory answered the read of any part of it with an error."""

    def __init__(self):
        super().__init__({"command": 8 * COMMAND_BYTES, "error": 1})


class CommandFetch(wiring.Component):
    """Fetches the commands up to ``tail`` in order, in bursts of up to four commands, two bursts ahead.

    Latency: 1 cycle from ``tail`` to the first address, 3 from a command's last beat to the command.

    A burst has at most ``burst_beats`` beats, and lies in an aligned group of four commands.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    base : In, address of the ring, a multiple of 256
    size : In(32), its commands, a power of two of at least 4
    tail : In(32), commands written since the reset
    enable : In(1), begin new reads
    flush : In(1), begin none and discard data; ends with a reset
    idle : Out(1), no read in flight
    o : Out(stream of FetchedLayout)
    axi : Out(AXIReadSignature)
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "base": In(config.memory.addr_width),
                "size": In(32),
                "tail": In(32),
                "enable": In(1),
                "flush": In(1),
                "idle": Out(1),
                "o": Out(stream.Signature(FetchedLayout())),
                "axi": Out(
                    AXIReadSignature(
                        addr_width=config.memory.addr_width, data_width=config.memory.data_width, id_width=1
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.config.memory.data_width
        beats = COMMAND_BYTES // self.config.memory.data_bytes
        beat_bits = exact_log2(beats)
        burst = min(BURST_COMMANDS * beats, self.config.memory.burst_beats)
        depth = BURSTS_AHEAD * BURST_COMMANDS * beats
        fifo = place(m, "fifo", SyncFIFOBuffered(width=width + 1, depth=depth))
        ar, r = self.axi.ar, self.axi.r

        # All in beats: asked for since the reset, left up to the tail, to a burst's boundary.
        requested, left = Signal(32 + beat_bits), Signal(32 + beat_bits)
        count = Signal(range(burst + 1))
        room = Signal(range(depth + 1), init=depth)  # beats that nothing is reserved for
        in_flight = Signal(range(BURSTS_AHEAD + 1))
        to_boundary = burst - requested[: exact_log2(burst)]
        slot = requested & Cat(C(beats - 1, beat_bits), (self.size - 1)[:32])
        m.d.comb += [
            left.eq((self.tail << beat_bits) - requested),
            count.eq(Mux(left < to_boundary, left, to_boundary)),
        ]
        issue = Signal()
        with m.If(~ar.valid | ar.ready):
            m.d.sync += ar.valid.eq(0)
            with m.If(
                self.enable & ~self.flush & (left != 0) & (room >= burst) & (in_flight != BURSTS_AHEAD)
            ):
                m.d.comb += issue.eq(1)
                m.d.sync += [
                    ar.valid.eq(1),
                    ar.payload.addr.eq(self.base + (slot << exact_log2(self.config.memory.data_bytes))),
                    ar.payload.len.eq(count - 1),
                    requested.eq(requested + count),
                ]
        taken, given = Signal(), Signal()
        m.d.comb += [
            r.ready.eq(1),
            taken.eq(r.valid & r.ready),
            fifo.w_data.eq(Cat(r.payload.data, r.payload.resp[1])),
            fifo.w_en.eq(taken & ~self.flush),
            self.idle.eq(in_flight == 0),
        ]
        m.d.sync += [
            in_flight.eq(in_flight + issue - (taken & r.payload.last)),
            room.eq(room - Mux(issue, count, 0) + (fifo.r_en & fifo.r_rdy)),
        ]

        words, error = Signal(beats * width), Signal()
        have = Signal(range(beats + 1))
        m.d.comb += [
            self.o.payload.command.eq(words),
            self.o.payload.error.eq(error),
            self.o.valid.eq(have == beats),
            given.eq(self.o.valid & self.o.ready),
            fifo.r_en.eq((have != beats) | given),
        ]
        with m.If(given):
            m.d.sync += [have.eq(0), error.eq(0)]
        with m.If(fifo.r_en & fifo.r_rdy):
            m.d.sync += [
                words.eq(Cat(words, fifo.r_data[:width])[width:]),
                error.eq(fifo.r_data[width] | error & ~given),
                have.eq(Mux(given, 1, have + 1)),
            ]
        return m
