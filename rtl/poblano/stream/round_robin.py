"""Fair choice of one requester among several."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobin"]


def _goes_before(after, j, i):
    """Whether requester ``j`` goes before ``i``; ``after`` are those behind the one served last."""
    return after[i] == after[j] if j < i else after[j] & ~after[i]


class RoundRobin(wiring.Component):
    """Grants one of ``count`` requests.

    The grant is combinational, and stays with a requester (that keeps asking) until ``accept``; then the
    requester next in turn is served. A requester waits for at most ``count - 1`` accepted grants to others.

    Members
    -------
    request : In(count)
    open : Out(count), who is granted or would be by asking; it does not depend on one's own request, but
        if the grant is kept
    grant : Out(count), ``request & open``: one-hot, or 0 if nothing is requested
    accept : In(1), the granted requester is served in this cycle
    """

    def __init__(self, *, count):
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        self.count = count
        super().__init__({"request": In(count), "open": Out(count), "grant": Out(count), "accept": In(1)})

    def elaborate(self, platform):
        m = Module()
        after = Signal(self.count)  # the requesters behind the one served last
        held = Signal(self.count)
        for i in range(self.count):
            others = Cat(self.request[j] & _goes_before(after, j, i) for j in range(self.count) if j != i)
            m.d.comb += self.open[i].eq(Mux(held.any(), held[i], ~others.any()))
        m.d.comb += self.grant.eq(self.request & self.open)
        m.d.sync += held.eq(Mux(self.accept, 0, self.grant))
        with m.If(self.accept):
            m.d.sync += after.eq(~(self.grant | (self.grant - 1)))
        return m
