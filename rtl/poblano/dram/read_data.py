"""From read commands to AXI read data."""

from typing import Any

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIReadSignature
from ..ecc.events import ECCEvents, uses
from ..stream.credit import Credit
from ..stream.delay import history
from ..stream.fifo import FIFO, BufferedFIFO
from ..verilog import place
from .address import AddressMap
from .check import BurstCheck
from .config import DramConfig
from .signature import DramSignature
from .upkeep import Found, Purpose

__all__ = ["ReadData"]

SLVERR = 2


class ReadData(wiring.Component):
    """Takes the data of read commands from the pins when they come, and keeps them until AXI takes them.

    Latency: ``Cycles.read_latency`` + ``Cycles.burst`` + 2 cycles from a command to its beat, with
    ``config.ecc`` 4.

    With ``config.ecc`` bursts are corrected by their sidebands. A beat for AXI has an error response if a
    word of it is not known; the controller's own reads give ``old``, which does not wait.

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

    With ``config.ecc``:

    place : In(place), purpose : In(Purpose), of the command's beat
    old : Out({valid, data, failed}), a beat that was read for a write, and which of its words are not known
    found : Out(Found), what the beat of this cycle was like; all 0 if there is none
    events : Out(ECCEvents), of beats that waited for AXI
    """

    def __init__(self, config: DramConfig):
        self.config = config
        signature = DramSignature(config.timing, burst_cycles=config.cycles.burst)
        members = {
            "issue": In(1),
            "id": In(config.id_width),
            "last": In(1),
            "room": Out(1),
            "pins": In(signature.members["read"].shape),
            "r": Out(AXIReadSignature(config.axi).members["r"].signature.flip()),
        }
        if config.ecc:
            old = {"valid": 1, "data": config.axi.data_width, "failed": config.code.words}
            members |= {
                "place": In(AddressMap(config.timing).place),
                "purpose": In(Purpose),
                "old": Out(data.StructLayout(old)),
                "found": Out(Found(config)),
                "events": Out(ECCEvents()),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config, cycles = self.config, self.config.cycles
        tag: dict = {"id": config.id_width, "last": 1}
        beat: Any = {"tag": data.StructLayout(tag), "data": config.axi.data_width}
        if config.ecc:
            tag |= {"place": AddressMap(config.timing).place, "purpose": Purpose}
            beat["failed"] = 1
        flight = cycles.read_latency + cycles.burst
        tags = place(m, "tags", FIFO(shape=data.StructLayout(tag), depth=flight + 1))
        beats = place(
            m, "beats", BufferedFIFO(shape=data.StructLayout(beat), depth=config.read_beats, ecc=config.ecc)
        )
        room = place(m, "room_left", Credit(total=config.read_beats))
        arrives = history(m, 1, "flight", self.issue, flight)[-1]
        burst = self._burst(m, "data", self.pins.data)
        beat, entering = beats.o.payload, beats.i.payload
        if config.ecc:
            enters = self._check(m, arrives, tags, burst, beats)
            m.d.comb += self.r.payload.resp.eq(Mux(beat.failed | beats.failed, SLVERR, 0))
            m.d.sync += self.events.eq(uses((self.r.valid & self.r.ready, beats)))
            takes = self.issue & (self.purpose == Purpose.MASTER)
        else:
            enters = [beats.i.valid.eq(arrives), entering.tag.eq(tags.o.payload), entering.data.eq(burst)]
            takes = self.issue
        m.d.comb += [
            tags.i.valid.eq(self.issue),
            tags.i.payload.id.eq(self.id),
            tags.i.payload.last.eq(self.last),
            tags.o.ready.eq(arrives),
            *enters,
            self.room.eq(room.left != 0),
            room.take.eq(takes),
            room.give.eq(self.r.valid & self.r.ready),
            self.r.valid.eq(beats.o.valid),
            beats.o.ready.eq(self.r.ready),
            self.r.payload.id.eq(beat.tag.id),
            self.r.payload.last.eq(beat.tag.last),
            self.r.payload.data.eq(beat.data),
        ]
        return m

    def _burst(self, m, name, pins):
        """What was on ``pins`` in the cycles of a burst, the first one first, in the last of them."""
        parts = [pins]
        for n in range(self.config.cycles.burst - 1):
            earlier = Signal.like(pins, name=f"{name}{n}")
            m.d.sync += earlier.eq(parts[0])
            parts.insert(0, earlier)
        return Cat(parts)

    def _check(self, m, arrives, tags, burst, beats):
        """What arrives is corrected; what a master has asked for goes to ``beats`` by the assignments."""
        check = place(m, "check", BurstCheck(self.config))
        tag, checked = Signal.like(tags.o.payload), Signal()
        m.d.sync += [checked.eq(arrives), tag.eq(tags.o.payload)]
        for_write = (tag.purpose == Purpose.MERGE) | (tag.purpose == Purpose.SCRUB)
        failed = check.failed.any()
        m.d.comb += [
            tags.i.payload.place.eq(self.place),
            tags.i.payload.purpose.eq(self.purpose),
            check.data.eq(burst),
            check.sideband.eq(self._burst(m, "sideband", self.pins.sideband)),
            check.parity.eq(tags.o.payload.place.as_value().xor()),
            self.old.valid.eq(checked & for_write),
            self.old.data.eq(check.o),
            self.old.failed.eq(check.failed),
            self.found.valid.eq(checked),
            self.found.place.eq(tag.place),
            self.found.purpose.eq(tag.purpose),
            self.found.corrected.eq(checked & check.corrected),
            self.found.broken.eq(checked & check.broken),
            self.found.failed.eq(checked & failed),
        ]
        entering = beats.i.payload
        return [
            beats.i.valid.eq(checked & (tag.purpose == Purpose.MASTER)),
            entering.tag.id.eq(tag.id),
            entering.tag.last.eq(tag.last),
            entering.data.eq(check.o),
            entering.failed.eq(failed),
        ]
