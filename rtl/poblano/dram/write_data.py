"""From AXI write data to the pins."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIWriteSignature
from ..stream.credit import Credit
from ..stream.delay import history
from ..stream.fifo import FIFO, BufferedFIFO
from ..verilog import place
from .config import DramConfig
from .signature import DramSignature

__all__ = ["WriteData"]


class WriteData(wiring.Component):
    """Keeps AXI write data until their write commands, puts them on the pins after these, and answers bursts.

    Latency: 2 cycles from a beat to ``beats``; ``Cycles.write_latency`` + 1 from a command to the pins; 1 from
    a burst's last command to its answer: whatever is read afterwards sees it.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    w : In(stream), AXI's W, in the order of the commands; b : Out(stream), AXI's B
    beats : Out, beats that no command has been given for
    room : Out(1), there is room for one more answer
    issue : In(1), a write command is given in this cycle (on the pins in the next); only with beats and room
    id, last : In, of the command's beat; ``last``: answer the burst
    pins : Out({data, strb, sideband})
    """

    def __init__(self, config: DramConfig):
        self.config = config
        axi = AXIWriteSignature(config.axi).members
        signature = DramSignature(config.timing, burst_cycles=config.cycles.burst)
        super().__init__(
            {
                "w": In(axi["w"].signature),
                "b": Out(axi["b"].signature.flip()),
                "beats": Out(range(config.write_beats + 1)),
                "room": Out(1),
                "issue": In(1),
                "id": In(config.id_width),
                "last": In(1),
                "pins": Out(signature.members["write"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, cycles = self.config, self.config.cycles
        width = config.axi.data_width
        beat = data.StructLayout({"data": width, "strb": width // 8})
        beats = place(m, "beats_kept", BufferedFIFO(shape=beat, depth=config.write_beats))
        answers = place(m, "answers", FIFO(shape=config.id_width, depth=config.writes))
        room = place(m, "room_left", Credit(total=config.writes))
        entered = history(m, 1, "entered", self.w.valid & self.w.ready, 1)[-1]
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
        pops = (
            history(m, 1, "issued", self.issue, cycles.write_latency)[-1]
            if cycles.write_latency
            else self.issue
        )
        word = Signal(beat)
        m.d.comb += [beats.o.ready.eq(pops), self.pins.data.eq(word.data), self.pins.strb.eq(word.strb)]
        with m.If(pops):
            m.d.sync += word.eq(beats.o.payload)
        with m.Elif(cycles.burst > 1):
            m.d.sync += [
                word.data.eq(word.data >> len(self.pins.data)),
                word.strb.eq(word.strb >> len(self.pins.strb)),
            ]
        return m
