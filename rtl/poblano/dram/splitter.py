"""AXI bursts as bursts within granules."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..axi.bursts import BOUNDARY_BYTES
from .address import AddressMap
from .config import DramConfig
from .queue import BurstLayout

__all__ = ["BurstSplitter"]


class BurstSplitter(wiring.Component):
    """Cuts AXI bursts where a granule ends; one piece a cycle, in order.

    Latency: none; the pieces after the first come 1 cycle after the one before. Where a granule has at least the
    4 KiB that an AXI burst must not cross, every burst is one piece.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    i : In(stream({id, addr, len})), as in AXI4
    o : Out(stream(BurstLayout))
    """

    def __init__(self, config: DramConfig):
        self.config = config
        super().__init__(
            {"i": In(stream.Signature(config.axi.address)), "o": Out(stream.Signature(BurstLayout(config)))}
        )

    def elaborate(self, platform):
        m = Module()
        config, o = self.config, self.o.payload
        beat = exact_log2(config.timing.burst_bytes)
        burst = Signal.like(self.i.payload)  # what is left of it
        m.d.comb += [
            burst.eq(self.i.payload),
            self.o.valid.eq(self.i.valid),
            o.place.eq(AddressMap(config.timing).place_of(burst.addr)),
            o.id.eq(burst.id),
            o.len.eq(burst.len),
            o.last.eq(1),
            self.i.ready.eq(self.o.ready),
        ]
        if config.granule >= BOUNDARY_BYTES:
            return m
        more, rest = Signal(), Signal.like(self.i.payload)
        room = Signal(len(o.len))  # beats to the end of the granule, less one
        m.d.comb += [
            room.eq(~burst.addr[beat:][: len(o.len)]),
            o.last.eq(burst.len <= room),
            self.i.ready.eq(self.o.ready & o.last),
        ]
        with m.If(more):
            m.d.comb += burst.eq(rest)
        with m.If(~o.last):
            m.d.comb += o.len.eq(room)
        with m.If(self.o.valid & self.o.ready):
            after = burst.addr[beat:] + room + 1
            m.d.sync += [
                more.eq(~o.last),
                rest.eq(burst),
                rest.addr.eq(Cat(C(0, beat), after)),
                rest.len.eq(burst.len - room - 1),
            ]
        return m
