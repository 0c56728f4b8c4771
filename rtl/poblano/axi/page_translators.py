"""Ports whose addresses page tables translate."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..verilog import place
from .paging import PagingConfig
from .signature import AXIConfig, AXIReadSignature, AXIWriteSignature
from .translator import AddressTranslator, PageAnswer

__all__ = ["AXIReadTranslator", "AXIWriteTranslator"]

SLVERR = 2


class _PageTranslator(wiring.Component):
    """What both have: the ports, and an :class:`AddressTranslator` in the channel of addresses."""

    SIGNATURE: type

    def __init__(
        self,
        virtual: AXIConfig,
        physical: AXIConfig,
        paging: PagingConfig,
        *,
        home_bits: int | None = None,
        ecc=False,
    ):
        self.virtual, self.physical, self.paging, self.ecc = virtual, physical, paging, ecc
        self.home_bits = physical.addr_width if home_bits is None else home_bits
        super().__init__(
            {
                "i": In(self.SIGNATURE(virtual)),
                "o": Out(self.SIGNATURE(physical)),
                "lookup": Out(stream.Signature(range(paging.entries))),
                "answer": In(PageAnswer(self.home_bits)),
                "answered": In(1),
                "forget": In(1),
            }
        )

    def _translate(self, m, inside, outside):
        """Translates the addresses of channel ``inside``; whether an entry has failed."""
        addresses = AddressTranslator(self.virtual, self.physical, self.paging, home_bits=self.home_bits)
        place(m, "addresses", addresses)
        connect(m, flipped(inside), addresses.i)
        connect(m, addresses.o, flipped(outside))
        connect(m, addresses.lookup, flipped(self.lookup))
        m.d.comb += [
            addresses.answer.eq(self.answer),
            addresses.answered.eq(self.answered),
            addresses.forget.eq(self.forget),
        ]
        failed = Signal()
        if self.ecc:
            with m.If(addresses.failed):
                m.d.sync += failed.eq(1)
        return failed


class AXIReadTranslator(_PageTranslator):
    """A read master's port with the addresses of memory in place of those of the window.

    Latency: as :class:`AddressTranslator`; data pass in the same cycle.

    With ``ecc``, from an entry on that check bits could not correct all data have an error response, until a
    reset.

    Parameters
    ----------
    virtual, physical : AXIConfig of the master and of memory
    paging : PagingConfig
    home_bits : of an address in a home; by default all are of one
    ecc : whether entries have check bits

    Members
    -------
    i : In(AXIReadSignature(virtual)), o : Out(AXIReadSignature(physical))
    lookup, answer, answered, forget : as of :class:`AddressTranslator`
    """

    SIGNATURE = AXIReadSignature

    def elaborate(self, platform):
        m = Module()
        failed = self._translate(m, self.i.ar, self.o.ar)
        connect(m, flipped(self.o.r), flipped(self.i.r))
        with m.If(failed):
            m.d.comb += self.i.r.payload.resp.eq(SLVERR)
        return m


class AXIWriteTranslator(_PageTranslator):
    """A write master's port with the addresses of memory in place of those of the window.

    Latency: as :class:`AddressTranslator`; data and answers pass in the same cycle.

    With ``ecc``, from an entry on that check bits could not correct nothing is written, and all answers are
    errors, until a reset.

    Parameters
    ----------
    virtual, physical : AXIConfig of the master and of memory
    paging : PagingConfig
    home_bits : of an address in a home; by default all are of one
    ecc : whether entries have check bits

    Members
    -------
    i : In(AXIWriteSignature(virtual)), o : Out(AXIWriteSignature(physical))
    lookup, answer, answered, forget : as of :class:`AddressTranslator`
    """

    SIGNATURE = AXIWriteSignature

    def elaborate(self, platform):
        m = Module()
        failed = self._translate(m, self.i.aw, self.o.aw)
        connect(m, flipped(self.i.w), flipped(self.o.w))
        connect(m, flipped(self.o.b), flipped(self.i.b))
        with m.If(failed):
            m.d.comb += [self.o.w.payload.strb.eq(0), self.i.b.payload.resp.eq(SLVERR)]
        return m
