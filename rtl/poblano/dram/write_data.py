"""From AXI write data to the pins."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIWriteSignature
from ..ecc.encoder import ECCEncoder
from ..ecc.events import ECCEvents, uses
from ..stream.credit import Credit
from ..stream.delay import delay, history
from ..stream.fifo import FIFO, BufferedFIFO
from ..verilog import place
from .address import AddressMap
from .config import DramConfig
from .signature import DramSignature

__all__ = ["WriteData"]


class WriteData(wiring.Component):
    """Keeps AXI write data until their write commands, puts them on the pins after these, and answers bursts.

    Latency: 2 cycles from a beat to ``beats``; ``Cycles.write_latency`` + 1 from a command to the pins; 1
    from a burst's last command to its answer: whatever is read afterwards sees it.

    With ``config.ecc`` all of a burst is written, with its sideband: bytes without a strobe as they were
    before, and as poison if that is not known. A beat then counts in ``beats`` once it is ``whole``.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    w : In(stream), AXI's W (``config.ecc``: its data and strb), in the order of the commands
    b : Out(stream), AXI's B
    beats : Out, beats that no command has been given for
    room : Out(1), there is room for one more answer
    issue : In(1), a write command is given in this cycle (on the pins in the next); only with beats and room
    id, last : In, of the command's beat; ``last``: answer the burst
    pins : Out({data, strb, sideband})

    With ``config.ecc``:

    place : In(place), of the command's beat
    whole : In(1), the next beat, or all that it does not write, is known
    old : In({valid, data, failed}), the next beat with strobes missing before it is written
    merged : Out(1), an ``old`` has been used
    events : Out(ECCEvents), of beats that waited for their commands
    """

    ANSWER = 1
    """Cycles from a burst's last command to its answer."""

    def __init__(self, config: DramConfig):
        self.config = config
        axi = AXIWriteSignature(config.axi).members
        signature = DramSignature(config.timing, burst_cycles=config.cycles.burst)
        members = {
            "w": In(axi["w"].signature),
            "b": Out(axi["b"].signature.flip()),
            "beats": Out(range(config.write_beats + 1)),
            "room": Out(1),
            "issue": In(1),
            "id": In(config.id_width),
            "last": In(1),
            "pins": Out(signature.members["write"].shape),
        }
        if config.ecc:
            width = config.axi.data_width
            members |= {
                "w": In(stream.Signature(data.StructLayout({"data": width, "strb": width // 8}))),
                "place": In(AddressMap(config.timing).place),
                "whole": In(1),
                "old": In(data.StructLayout({"valid": 1, "data": width, "failed": config.code.words})),
                "merged": Out(1),
                "events": Out(ECCEvents()),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config, cycles = self.config, self.config.cycles
        width = config.axi.data_width
        beat = data.StructLayout({"data": width, "strb": width // 8})
        beats = place(m, "beats_kept", BufferedFIFO(shape=beat, depth=config.write_beats, ecc=config.ecc))
        answers = place(m, "answers", FIFO(shape=config.id_width, depth=config.writes))
        room = place(m, "room_left", Credit(total=config.writes))
        enters = self.w.valid & self.w.ready
        entered = self.whole if config.ecc else history(m, 1, "entered", enters, 1)[-1]
        m.d.sync += self.beats.eq(self.beats + entered - self.issue)
        m.d.comb += [
            beats.i.valid.eq(self.w.valid),
            self.w.ready.eq(beats.i.ready),
            beats.i.payload.data.eq(self.w.payload.data),
            beats.i.payload.strb.eq(self.w.payload.strb),
            self.room.eq(room.left != 0),
            room.take.eq(self.issue & self.last),
            room.give.eq(self.b.valid & self.b.ready),
            answers.i.valid.eq(self.issue & self.last),
            answers.i.payload.eq(self.id),
            self.b.valid.eq(answers.o.valid),
            self.b.payload.id.eq(answers.o.payload),
            answers.o.ready.eq(self.b.ready),
        ]
        if config.ecc:
            self._merge(m, beats)
            return m
        pops = (
            history(m, 1, "issued", self.issue, cycles.write_latency)[-1]
            if cycles.write_latency
            else self.issue
        )
        word = Signal(beat)
        m.d.comb += [beats.o.ready.eq(pops), self.pins.data.eq(word.data), self.pins.strb.eq(word.strb)]
        self._to_pins(m, pops, word, beats.o.payload)
        return m

    def _to_pins(self, m, starts, word, burst):
        """The register ``word`` has the parts of a ``burst`` that are on the pins, the present one lowest."""
        with m.If(starts):
            m.d.sync += word.eq(burst)
        with m.Elif(self.config.cycles.burst > 1):
            m.d.sync += [word[name].eq(word[name] >> len(self.pins[name])) for name in word.shape().members]

    def _merge(self, m, beats):
        """To the pins, a cycle after the parts of a beat have been put together."""
        config, words = self.config, self.config.code
        latency, width = config.cycles.write_latency, config.axi.data_width
        issued = history(m, 1, "issued", self.issue, latency)
        where = Signal.like(self.place)
        m.d.sync += where.eq(self.place)
        parity = delay(m, 1, "parity", where.as_value().xor(), latency - 2)
        pops, ends = issued[latency - 1], issued[latency]
        kept = place(
            m,
            "old",
            BufferedFIFO(
                shape=data.StructLayout({"data": width, "failed": words.words}),
                depth=config.writes + 1,
                ecc=True,
            ),
        )
        # Not out of strobes that may have failed: then all beats behind would get the bytes of others.
        partials = place(m, "partials", FIFO(shape=1, depth=config.write_beats + 1))
        partial = partials.o.payload
        new, old = beats.o.payload, kept.o.payload
        burst = Signal(width)
        poison, odd = Signal(words.words), Signal()
        m.d.comb += [
            kept.i.valid.eq(self.old.valid),
            kept.i.payload.data.eq(self.old.data),
            kept.i.payload.failed.eq(self.old.failed),
            partials.i.payload.eq(~beats.i.payload.strb.all()),
            partials.i.valid.eq(beats.i.valid & beats.i.ready),
            partials.o.ready.eq(pops),
            beats.o.ready.eq(pops),
            self.merged.eq(pops & partial),
            kept.o.ready.eq(self.merged),
        ]
        m.d.sync += odd.eq(parity)
        for n in range(width // 8):
            byte = Mux(new.strb[n], new.data.word_select(n, 8), old.data.word_select(n, 8))
            m.d.sync += burst.word_select(n, 8).eq(byte)
        for n in range(words.words):
            missing = ~new.strb.word_select(n, words.bytes).all()
            m.d.sync += poison[n].eq(beats.failed | missing & (old.failed[n] | kept.failed))
        m.d.sync += self.events.eq(uses((pops, beats), (self.merged, kept)))
        word = Signal(data.StructLayout({"data": width, "sideband": config.timing.sideband_bits}))
        after = Signal(word.shape())
        m.d.comb += [after.data.eq(burst), after.sideband.eq(self._sideband(m, burst, poison, odd))]
        self._to_pins(m, ends, word, after)
        m.d.comb += [
            self.pins.data.eq(word.data),
            self.pins.strb.eq(-1),
            self.pins.sideband.eq(word.sideband),
        ]

    def _sideband(self, m, burst, poison, odd):
        """Of a burst's data, which of its words are poison, and the parity of its place."""
        words = self.config.code
        sidebands = []
        for n in range(words.words):
            encoder = place(m, f"encoder{n}", ECCEncoder(words.code))
            m.d.comb += encoder.data.eq(Cat(burst.word_select(n, 8 * words.bytes), poison[n], odd))
            sideband = Signal(words.sideband, name=f"sideband{n}")
            m.d.comb += [
                sideband.checks.eq(encoder.checks),
                sideband.poison.eq(poison[n]),
                sideband.parity.eq(odd),
            ]
            sidebands.append(sideband)
        return Cat(sidebands)
