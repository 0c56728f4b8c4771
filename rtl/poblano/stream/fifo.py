"""Queues with a stream on both sides."""

from typing import Any

from amaranth.hdl import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..ecc.words import CodedWord, WordDecoder, WordEncoder
from ..verilog import is_sram, place

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
        super().__init__(self._members(shape))

    def _members(self, shape):
        return {
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(self.depth + 1)),
        }

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

    With ``ecc`` a memory that is :func:`~poblano.verilog.is_sram` keeps each payload with check bits, as a
    :class:`~poblano.ecc.words.CodedWord`. There is then a second register, behind the decoder: latency and
    the payloads that there may be inside are one more. ``corrected`` and ``failed`` belong to the payload
    at ``o``: a bit of it has been corrected; it is not what was put in.

    Parameters
    ----------
    ecc : whether there are check bits, ``corrected`` and ``failed``

    Members
    -------
    corrected, failed : Out(1), with ``ecc``
    """

    QUEUE: Any = fifo.SyncFIFOBuffered

    def __init__(self, *, shape, depth, ecc=False):
        self.ecc = ecc
        super().__init__(shape=shape, depth=depth)

    def _members(self, shape):
        members = super()._members(shape)
        if self.ecc:
            members |= {"level": Out(range(self.depth + 2)), "corrected": Out(1), "failed": Out(1)}
        return members

    @property
    def coded(self):
        """Whether payloads are kept with check bits."""
        return self.ecc and is_sram(self.width, self.depth - 1)  # one is in the output register

    def elaborate(self, platform):
        if not self.coded:
            return super().elaborate(platform)
        queue = self.QUEUE(width=CodedWord(self.width).bits, depth=self.depth)
        queue._MustUse__used = True
        m = queue.elaborate(platform)
        encoder = place(m, "encoder", WordEncoder(self.width))
        decoder = place(m, "decoder", WordDecoder(self.width))
        payload = Signal(self.width, reset_less=True)
        corrected, failed = Signal(), Signal()
        m.d.comb += [
            Value.cast(encoder.i).eq(Value.cast(self.i.payload)),
            queue.w_data.eq(encoder.o),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            decoder.i.eq(queue.r_data),
            queue.r_en.eq(~self.o.valid | self.o.ready),
            Value.cast(self.o.payload).eq(payload),
            self.corrected.eq(corrected),
            self.failed.eq(failed),
            self.level.eq(queue.level + self.o.valid),
        ]
        with m.If(queue.r_en):
            m.d.sync += [
                self.o.valid.eq(queue.r_rdy),
                payload.eq(decoder.o),
                corrected.eq(decoder.corrected),
                failed.eq(decoder.failed),
            ]
        return m
