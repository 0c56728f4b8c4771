"""The KV buffer: memory of a home that is on the chip."""

from dataclasses import replace

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..axi.signature import AXIConfig, AXISignature, connect_read, connect_write
from ..ecc.events import ECCEvents
from ..verilog import place
from .axi_ram import AXIRam

__all__ = ["KVBuffer"]


class KVBuffer(wiring.Component):
    """``size`` bytes of SRAM that take the place of the last bytes of a home: a beat read and a beat written
    each cycle.

    Latency: that of :class:`AXIRam`.

    It is given bursts for its own addresses alone, and looks only at their low bits. Reads are answered in
    the order of their addresses, and so are writes. Contents survive a reset, and are not defined before
    they are written.

    Parameters
    ----------
    config : AXIConfig of the port
    size : bytes, a power of two
    ecc : whether every byte has check bits

    Members
    -------
    axi : In(AXISignature(config))
    events : Out(ECCEvents), with ``ecc``
    """

    def __init__(self, config: AXIConfig, *, size, ecc=False):
        self.config, self.size, self.ecc = config, size, ecc
        super().__init__({"axi": In(AXISignature(config))} | ({"events": Out(ECCEvents())} if ecc else {}))

    def elaborate(self, platform):
        m = Module()
        own = replace(self.config, addr_width=exact_log2(self.size))
        ram = AXIRam(
            size=self.size,
            addr_width=own.addr_width,
            data_width=own.data_width,
            id_widths=(own.id_width,),
            ecc=self.ecc,
        )
        place(m, "ram", ram)
        if self.ecc:
            m.d.comb += self.events.eq(ram.events)
        connect_read(m, self.axi.read, ram.read0)
        connect_write(m, self.axi.write, ram.write0)
        return m
