"""Counts of corrected and failed words, by place."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..ecc.events import ECCEvents
from ..isa.ecc_registers import COUNT_BITS, dram_registers, ecc_places

__all__ = ["DramEvents", "ECCCounters"]


class DramEvents(data.StructLayout):
    """Events of a cycle in a home's DRAM: a burst was ``scrubbed``; the ``address`` of the burst that was
    corrected or failed."""

    def __init__(self, config: ChipConfig):
        super().__init__({"scrubbed": 1, "address": config.memory.addr_width})


class ECCCounters(wiring.Component):
    """The registers of :mod:`~poblano.isa.ecc_registers`. A place's events of a cycle count once.

    Latency: 1 cycle from an event to its count, combinational from ``address`` to ``data``.

    Parameters
    ----------
    config : ChipConfig, with ``ecc``

    Members
    -------
    events : In(ECCEvents()).array(n), of each place in the order of :func:`ecc_places`
    dram : In(DramEvents).array(homes), if there are DRAM controllers
    clear : In(1), all are 0
    address : In(12), of a register
    data : Out(32), known : Out(1), there is such a register
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        memory = config.memory
        drams = {"dram": In(DramEvents(config)).array(memory.homes)} if memory.dram is not None else {}
        super().__init__(
            drams
            | {
                "events": In(ECCEvents()).array(len(ecc_places(config))),
                "clear": In(1),
                "address": In(12),
                "data": Out(32),
                "known": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        registers = {}
        for place, events in zip(ecc_places(self.config), self.events):
            name = place.name.replace(".", "_")
            counts = [
                self._count(m, f"{name}_{kind}", COUNT_BITS, events[kind]) for kind in ("corrected", "failed")
            ]
            registers[place.address] = Cat(counts)
            if place.kind == "dram":
                self._dram(m, name, events, self.dram[place.home], registers, place.home)
        with m.Switch(self.address):
            for address, value in registers.items():
                with m.Case(address):
                    m.d.comb += [self.known.eq(1), self.data.eq(value)]
        return m

    def _count(self, m, name, bits, event):
        count = Signal(bits, name=name)
        with m.If(self.clear):
            m.d.sync += count.eq(0)
        with m.Elif(event & ~count.all()):
            m.d.sync += count.eq(count + 1)
        return count

    def _dram(self, m, name, events, dram, registers, home):
        """Scrubs, and the address: of what failed, if anything has, or else of what was corrected."""
        at = Signal.like(dram.address, name=f"{name}_address")
        failed = Signal(name=f"{name}_has_failed")
        with m.If(self.clear):
            m.d.sync += [at.eq(0), failed.eq(0)]
        with m.Elif(events.failed | events.corrected & ~failed):
            m.d.sync += [at.eq(dram.address), failed.eq(failed | events.failed)]
        addresses = dram_registers(home)
        registers[addresses["SCRUBS"]] = self._count(m, f"{name}_scrubs", 32, dram.scrubbed)
        registers[addresses["ADDRESS_LO"]] = at[:32]
        registers[addresses["ADDRESS_HI"]] = at[32:]
