"""Writes a vector command's results to the own tile's memories or over the broadcast bus."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
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
    words of reduction results, as many at once as rows are added up together, a write a cycle.

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
        self.words = min(row_group(config.lanes), LINE_WORDS)
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
        # Results that wait for their turn stop nothing.
        result = place(m, "results", BypassFIFO(shape=self._results, depth=4 if self.words == 1 else 2))
        self._collect(m, result.i)
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
        results, word = self._words(m, stored & turn, result.o.payload.ends)
        # A register: the elements' `ready` is the lanes' clock enable.
        m.d.sync += turn.eq(~elements.active | (result.o.valid & ~turn))

        write = queue.i.payload
        with m.If(turn):
            self._write_words(m, write, word, result.o.payload)
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
        place_of = lambda c, name: Mux(c.sink == Sink.QUANTISE, c[name], config.rows_of(c[name]))
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

    @property
    def _results(self):
        """Results that are written at once: the last of ``words`` that is one, and whether the command has no
        more."""
        return data.StructLayout(
            {"words": data.ArrayLayout(32, self.words), "last": range(self.words), "ends": 1}
        )

    def _collect(self, m, results):
        """Puts results together."""
        count, final = Signal(16), Signal(16)
        ends, full = Signal(), Signal()
        row_ends = Signal()  # a register, as `ready` depends on it: whether `count` is `final`
        slot = count[: exact_log2(self.words)]
        i, command, o = self.i_result, self.command, results.payload
        m.d.comb += [
            ends.eq(Mux(command.reduce == Reduce.ARGMAX, count[0], row_ends)),
            full.eq(ends | (slot == self.words - 1)),
            results.valid.eq(i.valid & full),
            i.ready.eq(results.ready | ~full),
            o.last.eq(slot),
            o.ends.eq(ends),
            o.words[-1].eq(i.payload),
        ]
        for n in range(self.words - 1):
            kept = Signal(32, name=f"result{n}")
            m.d.comb += o.words[n].eq(Mux(slot == n, i.payload, kept))
            with m.If(i.valid & (slot == n)):
                m.d.sync += kept.eq(i.payload)
        m.d.comb += final.eq((command.rows - 1)[:16])
        m.d.sync += row_ends.eq(count == final)
        with m.If(i.valid & i.ready):
            m.d.sync += [
                count.eq(Mux(ends, 0, count + 1)),
                row_ends.eq(Mux(ends, final == 0, (count + 1)[:16] == final)),
            ]

    def _words(self, m, stored, ends):
        """Whether there are results to come, and the word of vector memory that the next go to."""
        active = Signal()
        lane_bits = exact_log2(self.config.lanes)
        word = Signal(data.StructLayout({"lane": lane_bits, "row": self.config.vmem_addr_width}))
        with m.If(stored):
            m.d.sync += [word.eq(word.as_value() + self.words), active.eq(~ends)]
        with m.If(self.start):
            m.d.sync += [
                active.eq(self.begin.reduce != Reduce.NONE),
                word.eq(self.begin.r << exact_log2(LINE_WORDS)),
            ]
        return active, word

    def _write_words(self, m, write, word, results):
        """The write of ``results`` to words of vector memory."""
        m.d.comb += [
            write.addr.eq(word.row),
            write.mask.eq(Cat(C(1, 1), (results.last >= n for n in range(1, self.words))) << word.lane),
            write.data.row.eq(results.words.as_value().replicate(self.config.lanes // self.words)),
        ]
