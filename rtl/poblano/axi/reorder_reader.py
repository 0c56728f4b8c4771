"""Two-dimensional reads from memories that answer in any order."""

from amaranth.hdl import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from ..ecc.events import ECCEvents, uses
from ..ecc.memory import ECCMemory
from ..stream.fifo import FIFO
from ..verilog import place
from .bursts import BOUNDARY_BYTES, Bursts, TransferLayout
from .signature import AXIConfig, AXIReadSignature

__all__ = ["AXIReorderReader"]


class AXIReorderReader(wiring.Component):
    """Reads transfers from memories that answer bursts in any order, beats of different bursts mixed, and
    gives the beats in order.

    Latency: 2 cycles from a command to its first address, and from a beat to its offer, if none is before it.

    Up to ``outstanding`` bursts are in flight or have beats that are not taken; each has an id of its own
    and room for all of its beats, so that data are always accepted. When memory allows, a beat a cycle is
    read, across rows and transfers, though there is a cycle between the addresses of two transfers. The rows
    of a transfer are multiples of a beat.

    When the turn of a beat comes that is an error response, ``error`` is high for a cycle, and the reader
    stops for good: it begins no burst, gives no beat but one that waits at ``o``, and no ``done``. While
    ``flush`` is high it does likewise. Only a reset leaves these states, to be given when ``idle``.

    Parameters
    ----------
    config : AXIConfig, with an id for each of the bursts
    burst_beats : greatest number of beats in a burst, a power of two
    outstanding : most bursts, a power of two
    ecc : whether kept beats have check bits; one that failed is as an error response

    Members
    -------
    cmd : In(stream(TransferLayout))
    axi : Out(AXIReadSignature)
    o : Out(stream(data_width))
    done : Out(1), high for a cycle after a transfer's last beat has come to ``o``; in order
    error : Out(1)
    flush : In(1)
    idle : Out(1), no burst is in flight
    full : Out(1), for the counters: waits for room
    events : Out(ECCEvents), with ``ecc``
    """

    def __init__(self, config: AXIConfig, *, burst_beats, outstanding, ecc=False):
        if 1 << config.id_width < outstanding:
            raise ValueError(f"ids of {config.id_width} bits are too few for {outstanding!r} bursts")
        self.config, self.burst_beats, self.outstanding = config, burst_beats, outstanding
        self.ecc = ecc
        super().__init__(
            ({"events": Out(ECCEvents())} if ecc else {})
            | {
                "cmd": In(stream.Signature(TransferLayout(addr_width=config.addr_width))),
                "axi": Out(AXIReadSignature(config)),
                "o": Out(stream.Signature(config.data_width)),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
                "full": Out(1),
            }
        )

    @property
    def longest(self):
        """Beats in the longest burst."""
        return min(self.burst_beats, BOUNDARY_BYTES // self.config.data_bytes)

    def elaborate(self, platform):
        m = Module()
        failed, stop = Signal(), Signal()
        m.d.comb += stop.eq(failed | self.flush)
        # The bursts in the order in which they were begun.
        burst = data.StructLayout({"len": range(self.longest), "last": 1})
        begun = place(m, "begun", FIFO(shape=burst, depth=self.outstanding))
        # Of each burst, by its id, the beats that have come.
        come = [Signal(range(self.longest + 1), name=f"come{n}") for n in range(self.outstanding)]
        self._requests(m, begun, come, stop)
        self._answers(m, begun, come, stop, failed)
        return m

    def _requests(self, m, begun, come, stop):
        """Begins bursts that there is room for."""
        config, ar, r = self.config, self.axi.ar, self.axi.r
        bursts = place(
            m,
            "bursts",
            Bursts(addr_width=config.addr_width, data_width=config.data_width, burst_beats=self.longest),
        )
        connect(m, flipped(self.cmd), bursts.cmd)
        burst, free, begin, ends = Signal.like(bursts.o.payload), Signal(), Signal(), Signal()
        number = Signal(ceil_log2(self.outstanding))
        in_flight = Signal(range(self.outstanding + 1))
        m.d.comb += [
            burst.eq(bursts.o.payload),
            free.eq((~ar.valid | ar.ready) & begun.i.ready & ~stop),
            begin.eq(bursts.o.valid & free),
            bursts.o.ready.eq(free),
            begun.i.valid.eq(begin),
            begun.i.payload.len.eq(burst.len),
            begun.i.payload.last.eq(burst.last),
            ends.eq(r.valid & r.payload.last),
            self.full.eq(bursts.o.valid & ~begun.i.ready),
            self.idle.eq(in_flight == 0),
        ]
        m.d.sync += in_flight.eq(in_flight + begin - ends)
        with m.If(begin):
            m.d.sync += [
                number.eq(number + 1),
                ar.valid.eq(1),
                ar.payload.id.eq(number),
                ar.payload.addr.eq(burst.addr),
                ar.payload.len.eq(burst.len),
            ]
        with m.Elif(ar.ready):
            m.d.sync += ar.valid.eq(0)
        for n, count in enumerate(come):
            with m.If(r.valid & (r.payload.id == n)):
                m.d.sync += count.eq(count + 1)
            with m.If(begin & (number == n)):
                m.d.sync += count.eq(0)

    def _answers(self, m, begun, come, stop, failed):
        """Keeps beats, each in its place, and gives them in order."""
        r = self.axi.r
        beat = data.StructLayout({"data": self.config.data_width, "bad": 1})
        write, read, flags = self._beats(m, beat)
        beat_bits = exact_log2(self.longest)
        turn, index = Signal(ceil_log2(self.outstanding)), Signal(beat_bits)  # of the next beat
        counts = Array(come)
        there, take, ends = Signal(), Signal(), Signal()
        kept, fresh, last = Signal(), Signal(), Signal()  # of the beat that was read last
        got, bad = beat(read.data), Signal()
        place_of = lambda burst, beat: Cat(beat[:beat_bits], burst[: len(turn)])
        m.d.comb += [
            r.ready.eq(1),
            write.en.eq(r.valid),
            write.addr.eq(place_of(r.payload.id, counts[r.payload.id[: len(turn)]])),
            beat(write.data).data.eq(r.payload.data),
            beat(write.data).bad.eq(r.payload.resp[1]),
            bad.eq(got.bad if flags is None else got.bad | flags.failed),
            there.eq(begun.o.valid & (counts[turn] > index)),
            take.eq(there & (~kept | self.o.ready) & ~stop & ~(fresh & bad)),
            ends.eq(index == begun.o.payload.len),
            begun.o.ready.eq(take & ends),
            read.en.eq(take),
            read.addr.eq(place_of(turn, index)),
            self.o.valid.eq(kept & ~bad),
            self.o.payload.eq(got.data),
        ]
        m.d.sync += [
            fresh.eq(take),
            kept.eq(take | kept & ~(self.o.ready | bad)),
            last.eq(ends & begun.o.payload.last),
            self.error.eq(fresh & bad & ~stop),
            self.done.eq(fresh & ~bad & last & ~stop),
        ]
        with m.If(take):
            m.d.sync += index.eq(Mux(ends, 0, index + 1))
            with m.If(ends):
                m.d.sync += turn.eq(turn + 1)
        with m.If(fresh & bad):
            m.d.sync += failed.eq(1)
        if flags is not None:
            m.d.sync += self.events.eq(uses((fresh & ~stop, flags)))

    def _beats(self, m, beat):
        """The write and the read port of the memory of beats, and what has their ``corrected`` and ``failed``
        with ``ecc``."""
        depth = self.outstanding * self.longest
        if self.ecc:
            beats = place(m, "beats", ECCMemory(width=beat.size, depth=depth))
            return beats.write, beats.read, beats
        m.submodules.beats = beats = memory.Memory(shape=beat.size, depth=depth, init=[])
        return beats.write_port(), beats.read_port(), None
