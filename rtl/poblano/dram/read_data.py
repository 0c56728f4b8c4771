"""From read commands to AXI read data."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIReadSignature
from ..stream.credit import Credit
from ..stream.delay import history
from ..stream.fifo import FIFO, BufferedFIFO
from ..verilog import place
from .config import DramConfig
from .signature import DramSignature

__all__ = ["ReadData"]


class ReadData(wiring.Component):
    """Takes the data of read commands from the pins when they come, and keeps them until AXI takes them.

    Latency: ``Cycles.read_latency`` + ``Cycles.burst`` + 2 cycles from a command to its beat.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    issue : In(1), a read command is given in this cycle (on the pins in the next); only with ``room``
    id, last : In, of the command's beat
    room : Out(1), there is room for one more beat
    pins : In({data, sideband})
    r : Out(stream), AXI's R
    """

    def __init__(self, config: DramConfig):
        self.config = config
        signature = DramSignature(config.timing, burst_cycles=config.cycles.burst)
        super().__init__(
            {
                "issue": In(1),
                "id": In(config.id_width),
                "last": In(1),
                "room": Out(1),
                "pins": In(signature.members["read"].shape),
                "r": Out(AXIReadSignature(config.axi).members["r"].signature.flip()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, cycles = self.config, self.config.cycles
        tag = data.StructLayout({"id": config.id_width, "last": 1})
        flight = cycles.read_latency + cycles.burst
        tags = place(m, "tags", FIFO(shape=tag, depth=flight + 1))
        beats = place(
            m,
            "beats",
            BufferedFIFO(
                shape=data.StructLayout({"tag": tag, "data": config.axi.data_width}), depth=config.read_beats
            ),
        )
        room = place(m, "room_left", Credit(total=config.read_beats))
        arrives = history(m, 1, "flight", self.issue, flight)[-1]
        bursts = [self.pins.data]  # the data of the burst's cycles, the first one first
        for n in range(cycles.burst - 1):
            earlier = Signal.like(self.pins.data, name=f"data{n}")
            m.d.sync += earlier.eq(bursts[0])
            bursts.insert(0, earlier)
        beat = beats.o.payload
        m.d.comb += [
            tags.i.valid.eq(self.issue),
            tags.i.payload.id.eq(self.id),
            tags.i.payload.last.eq(self.last),
            tags.o.ready.eq(arrives),
            beats.i.valid.eq(arrives),
            beats.i.payload.tag.eq(tags.o.payload),
            beats.i.payload.data.eq(Cat(bursts)),
            self.room.eq(room.left != 0),
            room.take.eq(self.issue),
            room.give.eq(self.r.valid & self.r.ready),
            self.r.valid.eq(beats.o.valid),
            beats.o.ready.eq(self.r.ready),
            self.r.payload.id.eq(beat.tag.id),
            self.r.payload.last.eq(beat.tag.last),
            self.r.payload.data.eq(beat.data),
        ]
        return m
