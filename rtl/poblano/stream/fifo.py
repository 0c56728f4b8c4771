"""Queues with a stream on both sides."""

from typing import Any

from amaranth.hdl import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FIFO", "BufferedFIFO"]


class FIFO(wiring.Component):
    """Keeps up to ``depth`` payloads, and gives them in the order in which they came.

    Latency: 1 cycle from a payload to its offer, if none is before it.

    One enters and one leaves each cycle. ``i.ready`` is 1 while fewer than ``depth`` are inside, whatever
    leaves in that cycle. The memory is read combinationally, and is for flip-flops: a small queue.

    Parameters
    ----------
    shape : of the payload, which the queue only carries: queues of one width and depth are one module
    depth : payloads, at least 1

    Members
    -------
    i : In(stream(shape))
    o : Out(stream(shape))
    level : Out(range(depth + 1)), the payloads inside
    """

    QUEUE: Any = fifo.SyncFIFO  # its level is not in amaranth-stubs

    def __init__(self, *, shape, depth):
        if not isinstance(depth, int) or depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self.width, self.depth = Shape.cast(shape).width, depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        queue = self.QUEUE(width=self.width, depth=self.depth)
        queue._MustUse__used = True  # elaborated here, not as a submodule: one module, not two
        m = queue.elaborate(platform)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            Value.cast(self.o.payload).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.level.eq(queue.level),
        ]
        return m


class BufferedFIFO(FIFO):
    """A :class:`FIFO` whose memory is read in a clock cycle, so that it may be a block RAM or a macro.

    Latency: 2 cycles from a payload to its offer, if none is before it; 1 with depth 1.

    Of the ``depth`` payloads the oldest is in an output register: while it is on its way there, ``i.ready``
    may be 0 with ``depth - 1`` inside. Depth 1 takes a payload every other cycle.
    """

    QUEUE = fifo.SyncFIFOBuffered
