"""Reads that are requested ahead of their use."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..verilog import place
from .credit import Credit
from .fifo import FIFO, BufferedFIFO

__all__ = ["ReadAhead"]


class ReadAhead(wiring.Component):
    """Passes on requests only while there is room for their answers, and keeps these until they are taken.

    Latency: a request passes in the same cycle, an answer after the ``queue``'s latency.

    At most ``depth`` requests are unanswered or their answers not taken, so that an answer is always
    accepted. Answers come in the order of the requests, each in a later cycle than its request's transfer.
    With a port of ``n`` cycles of latency, a ``depth`` of ``n + 1`` and the queue's latency gives one a
    cycle.

    What is kept of an answer may depend on something that is known with the request, its tag: the owner
    makes ``answer`` of what comes and ``tag``.

    Parameters
    ----------
    request, tag, answer : shapes; all are only carried. ``tag`` may have no bits
    depth : requests, with a BufferedFIFO at least 3
    queue : what answers wait in: BufferedFIFO, FIFO or BypassFIFO
    ecc : whether a BufferedFIFO has check bits

    Members
    -------
    i : In(stream), ``request`` and its ``tag``
    req : Out(stream(request)), to what answers
    answered : In(1), the oldest request that has not been answered is answered in this cycle
    tag : Out(tag), the tag of the oldest request that has not been answered
    answer : In(answer), what is kept, with ``answered``
    o : Out(stream(answer))
    corrected, failed : Out(1), with ``ecc``, of the answer at ``o``
    """

    def __init__(self, *, request, answer, depth, tag=0, queue=BufferedFIFO, ecc=False):
        least = 3 if queue is BufferedFIFO else 1
        if not isinstance(depth, int) or depth < least:
            raise ValueError(f"depth must be at least {least}, not {depth!r}")
        self.depth, self.queue, self.ecc = depth, queue, ecc
        self.request_width, self.tag_width, self.answer_width = (
            Shape.cast(shape).width for shape in (request, tag, answer)
        )
        super().__init__(
            ({"corrected": Out(1), "failed": Out(1)} if ecc else {})
            | {
                "i": In(stream.Signature(data.StructLayout({"request": request, "tag": tag}))),
                "req": Out(stream.Signature(request)),
                "answered": In(1),
                "tag": Out(tag),
                "answer": In(answer),
                "o": Out(stream.Signature(answer)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        credit = place(m, "credit", Credit(total=self.depth))
        coded = {"ecc": True} if self.ecc else {}
        answers = place(m, "answers", self.queue(shape=self.answer_width, depth=self.depth, **coded))
        if self.ecc:
            m.d.comb += [self.corrected.eq(answers.corrected), self.failed.eq(answers.failed)]
        may, asked = Signal(), Signal()
        m.d.comb += [
            may.eq(credit.left != 0),
            Value.cast(self.req.payload).eq(self.i.payload.request),
            self.req.valid.eq(self.i.valid & may),
            self.i.ready.eq(self.req.ready & may),
            asked.eq(self.req.valid & self.req.ready),
            credit.take.eq(asked),
            credit.give.eq(self.o.valid & self.o.ready),
            answers.i.payload.eq(self.answer),
            answers.i.valid.eq(self.answered),
            Value.cast(self.o.payload).eq(answers.o.payload),
            self.o.valid.eq(answers.o.valid),
            answers.o.ready.eq(self.o.ready),
        ]
        if self.tag_width:
            tags = place(m, "tags", FIFO(shape=self.tag_width, depth=self.depth))
            m.d.comb += [
                tags.i.payload.eq(self.i.payload.tag),
                tags.i.valid.eq(asked),
                Value.cast(self.tag).eq(tags.o.payload),
                tags.o.ready.eq(self.answered),
            ]
        return m
