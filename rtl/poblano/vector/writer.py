"""Writes a vector command's results to the own tile's memories or over the broadcast bus."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import BLOCK, LINE_WORDS, LocalConfig
from ..interfaces import BlockLayout, BusWrite, LocalWrite, RowLayout
from ..isa.vector_ops import Reduce, Sink
from ..stream.bypass import BypassFIFO
from ..stream.skid import Skid
from ..verilog import place
from .command import VectorCommand, adds_rows
from .walk import AddressWalk, row_group

__all__ = ["VectorWriter"]


class VectorWriter(wiring.Component):
    """Elements, as rows of vector memory or as quantised blocks in the order of :class:`.walk.RowWalk`, and
    single words of reduction results, a write a cycle.

    Latency: 1 cycle.

    Elements and results are each written in order, and take turns while there are elements to come. No
    input's ``ready`` depends on ``local.ready`` or ``bus.ready`` in the same cycle.

    Parameters
    ----------
    config : LocalConfig
    tiles : of the chip

    Members
    -------
    start : In(1), begin: In(VectorCommand), a command that begins in the next cycle
    command : In(VectorCommand), it; constant until ``finished``
    tile : In(5), the own tile's number
    i_row : In(stream of ``lanes`` FP32), i_block : In(stream of BlockLayout), i_result : In(stream of
        FP32)
    local : Out(stream of LocalWrite), if ``tiles`` is only the own tile; bus : Out(stream of BusWrite), else
    finished : Out(1), every write was accepted in a cycle before
    """

    def __init__(self, config: LocalConfig, *, tiles):
        self.config, self.tiles = config, tiles
        super().__init__(
            {
                "start": In(1),
                "begin": In(VectorCommand()),
                "command": In(VectorCommand()),
                "tile": In(5),
                "i_row": In(stream.Signature(RowLayout(config))),
                "i_block": In(stream.Signature(BlockLayout(config.sum_width))),
                "i_result": In(stream.Signature(32)),
                "local": Out(stream.Signature(LocalWrite(config))),
                "bus": Out(stream.Signature(BusWrite(config, tiles=tiles))),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queue = place(m, "queue", Skid(shape=LocalWrite(self.config)))
        # A result that waits for its turn stops nothing.
        result = place(m, "results", BypassFIFO(shape=32, depth=4))
        connect(m, flipped(self.i_result), result.i)
        quantised, turn, stored = Signal(), Signal(), Signal()
        m.d.comb += [
            quantised.eq(self.command.sink == Sink.QUANTISE),
            result.o.ready.eq(queue.i.ready & turn),
            self.i_row.ready.eq(queue.i.ready & ~turn),
            self.i_block.ready.eq(queue.i.ready & ~turn),
            queue.i.valid.eq(Mux(turn, result.o.valid, Mux(quantised, self.i_block.valid, self.i_row.valid))),
            stored.eq(queue.i.valid & queue.i.ready),
        ]
        elements = self._elements(m, quantised, stored & ~turn)
        results, word = self._results(m, stored & turn)
        # A register: the elements' `ready` is the lanes' clock enable.
        m.d.sync += turn.eq(~elements.active | (result.o.valid & ~turn))

        write = queue.i.payload
        with m.If(turn):
            self._write_word(m, write, word, result.o.payload)
        with m.Else():
            m.d.comb += [write.space.eq(quantised), write.addr.eq(elements.addr), write.mask.eq(~0)]
            with m.If(quantised):
                m.d.comb += write.data.block.eq(self.i_block.payload)
            with m.Else():
                m.d.comb += write.data.row.eq(self.i_row.payload)

        own = Signal()
        m.d.sync += own.eq(self.command.tiles == C(1, 32) << self.tile)
        m.d.comb += [
            self.local.payload.eq(queue.o.payload),
            self.bus.payload.tiles.eq(self.command.tiles),
            self.bus.payload.write.eq(queue.o.payload),
            self.local.valid.eq(queue.o.valid & own),
            self.bus.valid.eq(queue.o.valid & ~own),
            queue.o.ready.eq(Mux(own, self.local.ready, self.bus.ready)),
            self.finished.eq(~elements.active & ~results & ~queue.o.valid),
        ]
        return m

    def _elements(self, m, quantised, stored):
        """The walk through the elements' addresses."""
        config, command = self.config, self.command
        lines = lambda value: (value << exact_log2(LINE_WORDS)) >> exact_log2(config.lanes)
        place_of = lambda c, name: Mux(c.sink == Sink.QUANTISE, c[name], lines(c[name]))
        group = row_group(config.lanes)
        walk = place(
            m,
            "walk",
            AddressWalk(width=config.addr_width, group=group, beats=BLOCK // config.lanes, shared=True),
        )
        m.d.comb += [
            walk.start.eq(self.start & (self.begin.sink != Sink.NONE)),
            walk.base.eq(place_of(self.begin, "dst")),
            walk.stride.eq(place_of(command, "dst_stride")),
            walk.inner.eq(Mux(command.dst_step == 0, walk.stride, command.dst_step)),
            walk.share.eq(command.share),
            walk.single.eq(quantised),
            walk.rows.eq(command.rows),
            walk.blocks.eq(command.blocks),
            walk.step.eq(stored),
        ]
        if group > 1:
            m.d.comb += walk.together.eq(adds_rows(command))
        return walk

    def _results(self, m, stored):
        """Whether there are results to come, and the word of vector memory that the next goes to."""
        active, count = Signal(), Signal(16)
        lane_bits = exact_log2(self.config.lanes)
        word = Signal(data.StructLayout({"lane": lane_bits, "row": self.config.vmem_addr_width}))
        last = Signal()
        m.d.comb += last.eq(
            Mux(self.command.reduce == Reduce.ARGMAX, count[0], count == (self.command.rows - 1)[:16])
        )
        with m.If(stored):
            m.d.sync += [word.eq(word.as_value() + 1), count.eq(Mux(last, 0, count + 1)), active.eq(~last)]
        with m.If(self.start):
            m.d.sync += [
                active.eq(self.begin.reduce != Reduce.NONE),
                word.eq(self.begin.r << exact_log2(LINE_WORDS)),
            ]
        return active, word

    def _write_word(self, m, write, word, value):
        """The write of ``value`` to a word of vector memory."""
        m.d.comb += [
            write.addr.eq(word.row),
            write.mask.eq(1 << word.lane),
            write.data.row.eq(value.replicate(self.config.lanes)),
        ]
