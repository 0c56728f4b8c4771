"""Bytes over an asynchronous serial line: 8 data bits, the lowest first, no parity, one stop bit."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DIVIDER_BITS", "LEAST_DIVIDER", "UARTReceiver", "UARTTransmitter"]

DIVIDER_BITS = 16
LEAST_DIVIDER = 4
"""Fewest clock cycles in a bit."""
DATA_BITS = 8


class UARTReceiver(wiring.Component):
    """Takes each bit in its middle; a byte comes in the cycle after the middle of its stop bit.

    Latency: 1 cycle from the middle of the stop bit.

    A byte that is not accepted in the cycle in which it comes is lost. A start bit that ends before its
    middle is ignored. After a stop bit that is 0, the line must become 1 before the next start bit.

    Members
    -------
    rx : In(1), synchronised to the clock
    divider : In(16), cycles in a bit, at least 4; constant within a byte
    o : Out(stream(8))
    error : Out(1), high for a cycle: there was no stop bit
    """

    def __init__(self):
        super().__init__(
            {"rx": In(1), "divider": In(DIVIDER_BITS), "o": Out(stream.Signature(DATA_BITS)), "error": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        count = Signal(DIVIDER_BITS)
        left = Signal(range(DATA_BITS + 3))  # bits to be sampled, with start and stop bit
        high = Signal()  # the line has been 1 since the last byte
        byte = Signal(DATA_BITS)
        sample, stop = Signal(), Signal()
        m.d.comb += [sample.eq((left != 0) & (count == 0)), stop.eq(sample & (left == 1))]
        m.d.sync += [
            self.o.valid.eq(stop & self.rx),
            self.error.eq(stop & ~self.rx),
            count.eq(Mux(sample, self.divider - 1, count - 1)),
            high.eq(self.rx | (high & ~stop)),
        ]
        with m.If(stop):
            m.d.sync += self.o.payload.eq(byte)
        with m.If(left == 0):
            m.d.sync += count.eq((self.divider >> 1) - 1)
            with m.If(high & ~self.rx):
                m.d.sync += left.eq(DATA_BITS + 2)
        with m.If(sample):
            m.d.sync += [
                left.eq(Mux((left == DATA_BITS + 2) & self.rx, 0, left - 1)),
                byte.eq(Cat(byte[1:], self.rx)),
            ]
        return m


class UARTTransmitter(wiring.Component):
    """Sends a byte in ``10 * divider`` cycles, from the cycle after its transfer on; a cycle later the next
    is taken.

    Latency: 1 cycle to the start bit.

    Members
    -------
    tx : Out(1)
    divider : In(16), cycles in a bit, at least 4; constant while not ``idle``
    i : In(stream(8))
    idle : Out(1), all that was accepted has been sent, with its stop bit
    """

    def __init__(self):
        super().__init__(
            {
                "tx": Out(1, init=1),
                "divider": In(DIVIDER_BITS),
                "i": In(stream.Signature(DATA_BITS)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count = Signal(DIVIDER_BITS)
        left = Signal(range(DATA_BITS + 3))  # bits to be sent, with start and stop bit
        bits = Signal(DATA_BITS + 1)  # what follows the bit on the line
        ends = Signal()
        m.d.comb += [ends.eq(count == 0), self.idle.eq(left == 0), self.i.ready.eq(self.idle)]
        m.d.sync += count.eq(Mux(ends | self.idle, self.divider - 1, count - 1))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.tx.eq(0), bits.eq(Cat(self.i.payload, 1)), left.eq(DATA_BITS + 2)]
        with m.Elif(ends & ~self.idle):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1)), left.eq(left - 1)]
        return m
