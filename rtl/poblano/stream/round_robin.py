"""Fair choice of one requester among several."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobin"]


def _lowest(value):
    """The lowest set bit of ``value``, alone."""
    return value & (-value)[: len(value)]


class RoundRobin(wiring.Component):
    """Grants one of ``count`` requests.

    The grant is combinational, and stays with a requester (that keeps asking) until ``accept``; then the
    requester next in turn is served. A requester waits for at most ``count - 1`` accepted grants to others.

    Members
    -------
    request : In(count)
    grant : Out(count), one-hot, or 0 if nothing is requested
    accept : In(1), the granted requester is served in this cycle
    """

    def __init__(self, *, count):
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        self.count = count
        super().__init__({"request": In(count), "grant": Out(count), "accept": In(1)})

    def elaborate(self, platform):
        m = Module()
        after = Signal(self.count)  # the requesters behind the one served last
        held = Signal(self.count)
        later = Signal(self.count)
        m.d.comb += [
            later.eq(self.request & after),
            self.grant.eq(Mux(held.any(), held, Mux(later.any(), _lowest(later), _lowest(self.request)))),
        ]
        m.d.sync += held.eq(Mux(self.accept, 0, self.grant))
        with m.If(self.accept):
            m.d.sync += after.eq(~(self.grant | (self.grant - 1)))
        return m
