"""Reads commands from the ring in memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..axi.signature import AXIReadSignature
from ..config import MemoryConfig
from ..ecc.events import ECCEvents, uses
from ..isa.commands import COMMAND_BYTES
from ..stream.credit import Credit
from ..stream.fifo import BufferedFIFO
from ..verilog import place

__all__ = ["BURST_COMMANDS", "CommandFetch", "FetchedLayout"]

BURST_COMMANDS = 4
"""Most commands in a burst; the ring is aligned to as many, so that no burst crosses 4 KiB."""


class FetchedLayout(data.StructLayout):
    """A command, and whether memory answered the read of any part of it with an error, or check bits
    could not correct one."""

    def __init__(self):
        super().__init__({"command": 8 * COMMAND_BYTES, "error": 1})


class CommandFetch(wiring.Component):
    """Fetches the commands up to ``tail`` in order, in bursts of up to four commands, as many
    bursts ahead as ``config.fetch_bursts``.

    Latency: 1 cycle from ``tail`` to the first address, 3 from a command's last beat to the command.

    With ``skips`` the next commands can be passed over: of these what was not asked for is not read.

    A burst has at most ``burst_beats`` beats, and lies in an aligned group of four commands. With several
    memories a burst begins when none is in flight at another one, as all have one id.

    Parameters
    ----------
    config : MemoryConfig
    skips : whether there is ``skip``

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
    skip : In(1), count : In(16): the next so many commands do not come; none is transferred in this cycle
    events : Out(ECCEvents), with ``config.ecc``, of beats that wait
    """

    ADDRESS, LATENCY = 1, 3
    """Cycles from ``tail`` to the first address, and from a command's last beat to the command."""

    def __init__(self, config: MemoryConfig, *, skips=False):
        self.config, self.skips = config, skips
        super().__init__(
            ({"events": Out(ECCEvents())} if config.ecc else {})
            | ({"skip": In(1), "count": In(16)} if skips else {})
            | {
                "base": In(config.addr_width),
                "size": In(32),
                "tail": In(32),
                "enable": In(1),
                "flush": In(1),
                "idle": Out(1),
                "o": Out(stream.Signature(FetchedLayout())),
                "axi": Out(AXIReadSignature(config.axi)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats = COMMAND_BYTES // self.config.data_bytes
        depth = self.config.fetch_bursts * BURST_COMMANDS * beats
        beat = data.StructLayout({"data": self.config.data_width, "error": 1})
        fifo = place(m, "fifo", BufferedFIFO(shape=beat, depth=depth, ecc=self.config.ecc))
        if self.config.ecc:
            m.d.sync += self.events.eq(uses((fifo.o.valid & fifo.o.ready, fifo)))
        have = Signal(range(beats + 1))  # beats of the command that comes next
        jump = Signal(32 + exact_log2(beats)) if self.skips else None
        dropping = Signal(range(depth + 1)) if self.skips else None
        outstanding = self._requests(m, fifo, beats, depth, jump)
        self._commands(m, fifo, beats, have, dropping)
        if self.skips:
            self._skip(m, have, outstanding, jump, dropping, beats)
        return m

    def _skip(self, m, have, outstanding, jump, dropping, beats):
        """Beats that were asked for are dropped as they come, others not asked for; ``dropping`` counts the
        former, ``jump`` is the latter."""
        passed = Signal(len(jump))
        m.d.comb += passed.eq((self.count << exact_log2(beats)) - have)
        with m.If(self.skip & (self.count != 0)):
            with m.If(passed < outstanding):
                m.d.sync += dropping.eq(passed)
            with m.Else():
                m.d.sync += dropping.eq(outstanding)
                m.d.comb += jump.eq(passed - outstanding)
            m.d.sync += have.eq(0)

    def _requests(self, m, fifo, beats, depth, jump):
        """Begins bursts that there is room for, and puts their beats into the FIFO. How many beats were asked
        for and have not left it."""
        ar, r = self.axi.ar, self.axi.r
        beat_bits = exact_log2(beats)
        burst = min(BURST_COMMANDS * beats, self.config.burst_beats)
        credit = place(m, "credit", Credit(total=depth, most_taken=burst))

        # All in beats: asked for since the reset, left up to the tail, to a burst's boundary.
        requested, left = Signal(32 + beat_bits), Signal(32 + beat_bits)
        count = Signal(range(burst + 1))
        most = self.config.fetch_bursts
        in_flight = Signal(range(most + 1))
        to_boundary = burst - requested[: exact_log2(burst)]
        slot = requested & Cat(C(beats - 1, beat_bits), (self.size - 1)[:32])
        m.d.comb += [
            left.eq((self.tail << beat_bits) - requested),
            count.eq(Mux(left < to_boundary, left, to_boundary)),
        ]
        at = self.base + (slot << exact_log2(self.config.data_bytes))
        may = self.enable & ~self.flush & (left != 0) & (credit.left >= burst) & (in_flight != most)
        if self.config.several:
            home = self.config.home_map.of
            may &= (in_flight == 0) | (home(at) == home(ar.payload.addr))
        if jump is not None:
            may &= ~left[-1] & ~self.skip  # the commands behind those passed over may not be there yet
        issue = Signal()
        with m.If(~ar.valid | ar.ready):
            m.d.sync += ar.valid.eq(0)
            with m.If(may):
                m.d.comb += issue.eq(1)
                m.d.sync += [
                    ar.valid.eq(1),
                    ar.payload.addr.eq(at),
                    ar.payload.len.eq(count - 1),
                    requested.eq(requested + count),
                ]
        taken = Signal()
        m.d.comb += [
            r.ready.eq(1),
            taken.eq(r.valid & r.ready),
            fifo.i.payload.data.eq(r.payload.data),
            fifo.i.payload.error.eq(r.payload.resp[1]),
            fifo.i.valid.eq(taken & ~self.flush),
            credit.take.eq(Mux(issue, count, 0)),
            credit.give.eq(fifo.o.valid & fifo.o.ready),
            self.idle.eq(in_flight == 0),
        ]
        m.d.sync += in_flight.eq(in_flight + issue - (taken & r.payload.last))
        if jump is not None:
            with m.If(self.skip):
                m.d.sync += requested.eq(requested + jump)
        return depth - credit.left

    def _commands(self, m, fifo, beats, have, dropping):
        """Collects the beats of a command."""
        words, error = Signal(data.ArrayLayout(self.config.data_width, beats)), Signal()
        bad = fifo.o.payload.error | fifo.failed if self.config.ecc else fifo.o.payload.error
        given = Signal()
        if dropping is not None:
            bad &= dropping == 0
        m.d.comb += [
            self.o.payload.command.eq(words),
            self.o.payload.error.eq(error),
            self.o.valid.eq(have == beats),
            given.eq(self.o.valid & self.o.ready),
            fifo.o.ready.eq((have != beats) | given),
        ]
        arrives = fifo.o.valid & fifo.o.ready
        if dropping is not None:
            with m.If(self.skip):
                m.d.comb += fifo.o.ready.eq(0)
            with m.Elif(dropping != 0):
                m.d.comb += fifo.o.ready.eq(1)
                arrives &= dropping == 0
                with m.If(fifo.o.valid):
                    m.d.sync += dropping.eq(dropping - 1)
        with m.If(given):
            m.d.sync += [have.eq(0), error.eq(0)]
        with m.If(arrives):
            m.d.sync += [
                words.eq(Cat(*(words[k] for k in range(1, beats)), fifo.o.payload.data)),
                error.eq(bad | error & ~given),
                have.eq(Mux(given, 1, have + 1)),
            ]
