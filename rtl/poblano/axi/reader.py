"""Two-dimensional reads from memory into a FIFO."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..stream.credit import Credit
from ..stream.fifo import FIFO, BufferedFIFO
from ..verilog import place
from .bursts import BOUNDARY_BYTES, Bursts, TransferLayout
from .signature import AXIConfig, AXIReadSignature

__all__ = ["AXIReader"]


class AXIReader(wiring.Component):
    """Reads transfers from memory in order into a FIFO of ``depth`` words of ``word_width`` bits, the first
    beat lowest.

    Latency: 2 cycles from a command to its first address, and from a word's last beat to the word.

    A burst is begun only when the FIFO has room for all of it, so that data are always accepted. Up to
    ``outstanding`` bursts are in flight; all have id 0 and hence come back in order. When memory allows, a
    beat a cycle is read, across rows and transfers, though there is a cycle between the addresses of two
    transfers. A transfer is a whole number of words; its rows are multiples of a beat.

    On an error response ``error`` is high for a cycle, and the reader stops for good: it begins no burst,
    discards data, gives no ``done``. While ``flush`` is high it does likewise. Only a reset leaves these
    states, to be given when ``idle``.

    Parameters
    ----------
    config : AXIConfig
    word_width : bits of a word, a multiple of a beat's
    depth : words, at least 2
    burst_beats : greatest number of beats in a burst, a power of two
    outstanding : most bursts in flight
    marks : whether the last words of transfers are marked
    ecc : whether the words in the FIFO have check bits

    Members
    -------
    cmd : In(stream(TransferLayout))
    axi : Out(AXIReadSignature)
    o : Out(stream(word_width))
    last : Out(1), the word offered is its transfer's last; only if it ``marks`` them
    done : Out(1), high for a cycle when a transfer's last word has entered the FIFO; in order
    error : Out(1)
    flush : In(1)
    idle : Out(1), no burst is in flight
    full : Out(1), for the counters: waits for room in the FIFO
    corrected, failed : Out(1), with ``ecc``, of the word at ``o``
    """

    ADDRESS, LATENCY, DONE = 2, 2, 1
    """Cycles from a command to its first address, from a word's last beat to the word, and to ``done``."""

    def __init__(
        self, config: AXIConfig, *, word_width, depth, burst_beats, outstanding, marks=False, ecc=False
    ):
        if word_width % config.data_width:
            raise ValueError(
                f"word_width must be a multiple of data_width {config.data_width}, not {word_width!r}"
            )
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self.config, self.word_width, self.depth = config, word_width, depth
        self.burst_beats, self.outstanding, self.marks, self.ecc = burst_beats, outstanding, marks, ecc
        super().__init__(
            ({"corrected": Out(1), "failed": Out(1)} if ecc else {})
            | {
                "cmd": In(stream.Signature(TransferLayout(addr_width=config.addr_width))),
                "axi": Out(AXIReadSignature(config)),
                "o": Out(stream.Signature(word_width)),
                **({"last": Out(1)} if marks else {}),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
                "full": Out(1),
            }
        )

    @property
    def beats(self):
        """Beats in a word."""
        return self.word_width // self.config.data_width

    @property
    def longest(self):
        """Beats in the longest burst: those of at most half of the FIFO, as what is left of a partial word
        must not keep a burst out."""
        half = self.depth * self.beats // 2
        return min(self.burst_beats, BOUNDARY_BYTES // self.config.data_bytes, 1 << half.bit_length() - 1)

    def elaborate(self, platform):
        m = Module()
        failed, stop = Signal(), Signal()
        m.d.comb += stop.eq(failed | self.flush)
        # Of each burst in flight, whether it is its transfer's last.
        in_flight = place(m, "in_flight", FIFO(shape=1, depth=self.outstanding))
        # One more word than there are credits: a BufferedFIFO can refuse its last one for a cycle.
        width = self.word_width + self.marks
        words = place(m, "words", BufferedFIFO(shape=width, depth=self.depth + 1, ecc=self.ecc))
        m.d.comb += [
            Cat(self.o.payload, *([self.last] if self.marks else ())).eq(words.o.payload),
            self.o.valid.eq(words.o.valid),
            words.o.ready.eq(self.o.ready),
        ]
        if self.ecc:
            m.d.comb += [self.corrected.eq(words.corrected), self.failed.eq(words.failed)]
        self._requests(m, in_flight, stop)
        self._answers(m, in_flight, words, stop, failed)
        return m

    def _requests(self, m, in_flight, stop):
        """Begins bursts that there is room for."""
        config, ar = self.config, self.axi.ar
        bursts = place(
            m,
            "bursts",
            Bursts(addr_width=config.addr_width, data_width=config.data_width, burst_beats=self.longest),
        )
        connect(m, flipped(self.cmd), bursts.cmd)
        capacity = self.depth * self.beats
        credit = place(  # in beats
            m, "credit", Credit(total=capacity, most_taken=self.longest, most_given=self.beats)
        )
        burst, free, fits, begin = Signal.like(bursts.o.payload), Signal(), Signal(), Signal()
        m.d.comb += [
            burst.eq(bursts.o.payload),
            free.eq((~ar.valid | ar.ready) & in_flight.i.ready & ~stop),
            fits.eq(credit.left > burst.len),
            begin.eq(bursts.o.valid & free & fits),
            bursts.o.ready.eq(free & fits),
            in_flight.i.valid.eq(begin),
            in_flight.i.payload.eq(burst.last),
            credit.take.eq(Mux(begin, burst.len + 1, 0)),
            credit.give.eq(Mux(self.o.valid & self.o.ready, self.beats, 0)),
            self.full.eq(bursts.o.valid & ~fits),
            self.idle.eq(~in_flight.o.valid),
        ]
        with m.If(begin):
            m.d.sync += [ar.valid.eq(1), ar.payload.addr.eq(burst.addr), ar.payload.len.eq(burst.len)]
        with m.Elif(ar.ready):
            m.d.sync += ar.valid.eq(0)

    def _answers(self, m, in_flight, words, stop, failed):
        """Makes words of beats, and notes the ends of transfers."""
        r = self.axi.r
        bad, take, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            r.ready.eq(1),
            bad.eq(r.valid & r.payload.resp[1] & ~stop),
            take.eq(r.valid & ~r.payload.resp[1] & ~stop),
            ends.eq(r.valid & r.payload.last),
            in_flight.o.ready.eq(ends),
        ]
        m.d.sync += [self.error.eq(bad), self.done.eq(take & ends & in_flight.o.payload)]
        with m.If(bad):
            m.d.sync += failed.eq(1)

        if self.marks:
            m.d.comb += words.i.payload[-1].eq(ends & in_flight.o.payload)
        target = words.i.payload[: self.word_width]
        if self.beats == 1:
            m.d.comb += [words.i.valid.eq(take), target.eq(r.payload.data)]
            return
        beat = Signal(range(self.beats))
        word = Signal(data.ArrayLayout(self.config.data_width, self.beats))
        earlier = Signal(data.ArrayLayout(self.config.data_width, self.beats - 1))
        last = beat == self.beats - 1
        m.d.comb += [word.eq(Cat(earlier, r.payload.data)), words.i.valid.eq(take & last), target.eq(word)]
        with m.If(take):
            m.d.sync += [
                beat.eq(Mux(last, 0, beat + 1)),
                earlier.eq(Cat(word[k] for k in range(1, self.beats))),
            ]
