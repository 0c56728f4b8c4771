"""Repairs a DRAM's flipped bits before others flip beside them."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..stream.fifo import FIFO
from ..verilog import place
from .address import AddressMap
from .config import DramConfig
from .queue import BurstLayout
from .upkeep import Found, Purpose, upkeep

__all__ = ["Scrubber"]

WAITING = 4
"""Bursts to be written again. A further one is left to the next read of it."""


class Scrubber(wiring.Component):
    """Walks through all of a DRAM, and has the bursts written again that were not as they should be.

    Latency: 1 cycle from what was found to ``scrub``.

    In each ``config.scrub_interval`` cycles it reads the next burst: when the DRAM is ``idle``, or without
    waiting at the end of the interval. Where this read or a master's finds flipped bits, it has the burst
    written as it is read then: corrected, or with two flipped bits as poison. What was only poison, or of
    another place, is left.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    idle : In(1), nobody waits for the DRAM
    read : Out(stream(BurstLayout(upkeep)))
    found : In(Found)
    scrub : Out(stream(place))
    """

    def __init__(self, config: DramConfig):
        self.config = config
        super().__init__(
            {
                "idle": In(1),
                "read": Out(stream.Signature(BurstLayout(upkeep(config)))),
                "found": In(Found(config)),
                "scrub": Out(stream.Signature(AddressMap(config.timing).place)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, places = self.config, AddressMap(self.config.timing)
        cycle = Signal(range(config.scrub_interval))
        due, late, ends = Signal(), Signal(), Signal()  # a read; it waits no more
        burst = Signal(config.addr_width - exact_log2(config.timing.burst_bytes))
        taken = self.read.valid & self.read.ready
        m.d.comb += [
            ends.eq(cycle == config.scrub_interval - 1),
            self.read.valid.eq(due & (self.idle | late)),
            self.read.payload.place.eq(places.place_of(Cat(C(0, places.bits["byte"]), burst))),
            self.read.payload.id.eq(Purpose.PATROL),
            self.read.payload.last.eq(1),
        ]
        m.d.sync += cycle.eq(Mux(ends, 0, cycle + 1))
        with m.If(ends):
            m.d.sync += [due.eq(1), late.eq(due & ~taken)]
        with m.Elif(taken):
            m.d.sync += [due.eq(0), late.eq(0)]
        with m.If(taken):
            m.d.sync += burst.eq(burst + 1)

        found = self.found
        queue = place(m, "queue", FIFO(shape=places.place, depth=WAITING))
        by_reader = (found.purpose == Purpose.MASTER) | (found.purpose == Purpose.PATROL)
        m.d.comb += [
            queue.i.valid.eq((found.corrected | found.broken) & by_reader),
            queue.i.payload.eq(found.place),
            self.scrub.valid.eq(queue.o.valid),
            self.scrub.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.scrub.ready),
        ]
        return m
