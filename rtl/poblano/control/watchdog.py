"""The watchdog: notices that nothing on the chip goes on."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.errors import ErrorCode

__all__ = ["LIMIT_BITS", "Watchdog"]

LIMIT_BITS = 32


class Watchdog(wiring.Component):
    """Counts cycles in which nothing moves while something should, and says whose fault it is likely to be.

    Latency: ``strike`` is high in the last of ``limit`` cycles in a row with ``due`` and without ``moved``;
    ``expired`` in the last of the first ``limit`` cycles of ``resetting``, whatever moves.

    Blamed is the lowest unit with transactions of memory in flight; if none has, the fetch, if it has (both
    SILENT); then the lowest unit that has begun a command and does not wait for another; then the lowest that
    has begun one; then the lowest with a command that waits (all TIMEOUT); and if there is none the fetch.

    Parameters
    ----------
    units : of the chip

    Members
    -------
    limit : In(32), cycles; 0: the watchdog is off. Another limit counts from the next movement on.
    moved : In(1), something was transferred, began or ended
    due : In(1), a command waits or is in progress
    resetting : In(1), the queue is being reset
    in_flight, running, stalled, queued : In(units), units with transactions in flight, with commands begun
        and not completed, that wait for input or output, with commands that wait
    fetching : In(1), the fetch has transactions in flight
    strike, expired : Out(1)
    code : Out(4), unit : Out; fetch : Out(1), it is the fetch's, and no unit's
    """

    def __init__(self, *, units):
        self.units = units
        super().__init__(
            {
                "limit": In(LIMIT_BITS),
                "moved": In(1),
                "due": In(1),
                "resetting": In(1),
                "in_flight": In(units),
                "running": In(units),
                "stalled": In(units),
                "queued": In(units),
                "fetching": In(1),
                "strike": Out(1),
                "expired": Out(1),
                "code": Out(4),
                "unit": Out(ceil_log2(units)),
                "fetch": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal(LIMIT_BITS)  # cycles to the strike
        was_resetting, starts, last = Signal(), Signal(), Signal()
        m.d.sync += was_resetting.eq(self.resetting)
        m.d.comb += [
            starts.eq(Mux(self.resetting, ~was_resetting, was_resetting | self.moved | ~self.due)),
            last.eq(left == 1),
            self.strike.eq(last & ~starts & ~self.resetting),
            self.expired.eq(last & ~starts & self.resetting),
        ]
        with m.If(starts | last):
            m.d.sync += left.eq(self.limit)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)

        silent, begun, waits = self.in_flight.any(), self.running.any(), self.queued.any()
        idle = self.running & ~self.stalled
        blamed = Mux(silent, self.in_flight, Mux(idle.any(), idle, Mux(begun, self.running, self.queued)))
        m.d.comb += [
            self.code.eq(Mux(silent | self.fetching, ErrorCode.SILENT, ErrorCode.TIMEOUT)),
            self.fetch.eq(~silent & (self.fetching | ~begun & ~waits)),
        ]
        for n in reversed(range(self.units)):
            with m.If(blamed[n]):
                m.d.comb += self.unit.eq(n)
        return m
