"""Writes a vector command's results to the own tile's memories or over the broadcast bus."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import BLOCK, LINE_WORDS, ChipConfig
from ..interfaces import bus_write, local_write
from ..stream.round_robin import RoundRobin
from ..verilog import place
from .quantiser import QuantisedBlock

__all__ = ["VectorWriter"]


class VectorWriter(wiring.Component):
    """Elements, as rows of vector memory or as quantised blocks, and single words of reduction results, a
    write a cycle.

    Latency: 2 cycles.

    Begins in the cycle after ``start``; the other inputs stay until ``finished``. Elements and results are
    each written in order, and take turns. Inputs pass FIFOs, so that none's ``ready`` depends on
    ``local.ready`` or ``bus.ready`` in the same cycle.

    Members
    -------
    start : In(1)
    elements : In(1), there are elements; quantised : In(1), they are blocks
    dst, dst_stride, rows, blocks, r, tiles : In, as in the command
    results : In(16), the number of reduction results
    tile : In(5), the own tile's number
    i_row : In(stream of ``lanes`` FP32), i_block : In(stream of QuantisedBlock), i_result : In(stream of
        FP32)
    local : Out(stream of LocalWrite), if ``tiles`` is only the own tile; bus : Out(stream of BusWrite), else
    finished : Out(1), every write was accepted (undefined in the cycle of ``start``)
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "elements": In(1),
                "quantised": In(1),
                "dst": In(16),
                "dst_stride": In(16),
                "rows": In(16),
                "blocks": In(11),
                "r": In(16),
                "tiles": In(32),
                "results": In(16),
                "tile": In(5),
                "i_row": In(stream.Signature(32 * config.tile.lanes)),
                "i_block": In(stream.Signature(QuantisedBlock(config.tile.array.arithmetic))),
                "i_result": In(stream.Signature(32)),
                "local": Out(stream.Signature(local_write(config))),
                "bus": Out(stream.Signature(bus_write(config))),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tile = self.config.tile
        lane_bits = exact_log2(tile.lanes)
        queues = []
        for name, port, depth in (
            ("rows", self.i_row, 4),
            ("blocks", self.i_block, 2),
            ("results", self.i_result, 4),
        ):
            queue = place(
                m, f"{name}_fifo", SyncFIFOBuffered(width=len(Value.cast(port.payload)), depth=depth)
            )
            m.d.comb += [queue.w_data.eq(port.payload), queue.w_en.eq(port.valid), port.ready.eq(queue.w_rdy)]
            queues.append(queue)
        rows, blocks, results = queues

        # Elements: a row of vector memory or a block at a time.
        width = tile.local_addr_width
        base, stride, parts = Signal(width), Signal(width), Signal(16)
        lines = lambda value: (value << exact_log2(LINE_WORDS)) >> lane_bits
        m.d.comb += [
            base.eq(Mux(self.quantised, self.dst, lines(self.dst))),
            stride.eq(Mux(self.quantised, self.dst_stride, lines(self.dst_stride))),
            parts.eq(Mux(self.quantised, self.blocks, self.blocks << exact_log2(BLOCK // tile.lanes))),
        ]
        addr, row = Signal(width), Signal(width)
        rows_left, parts_left, results_left = Signal(16), Signal(16), Signal(16)
        word = Signal(tile.vmem_addr_width + lane_bits)

        turn = place(m, "turn", RoundRobin(count=2))
        element, result = turn.grant
        own, move = Signal(), Signal()
        write = Signal(local_write(self.config))
        one_hot = Signal(tile.lanes)
        m.d.comb += [
            turn.request.eq(Cat(Mux(self.quantised, blocks.r_rdy, rows.r_rdy), results.r_rdy)),
            turn.accept.eq(move),
            own.eq(self.tiles == C(1, 32) << self.tile),
            one_hot.eq(1 << word[:lane_bits]),
            write.space.eq(element & self.quantised),
            write.addr.eq(Mux(element, addr, word[lane_bits:])),
            write.mask.eq(Mux(element, C(1, 1).replicate(tile.lanes), one_hot)),
            write.data.eq(
                Mux(
                    result,
                    results.r_data.replicate(tile.lanes),
                    Mux(self.quantised, blocks.r_data, rows.r_data),
                )
            ),
            self.local.payload.eq(write),
            self.bus.payload.tiles.eq(self.tiles),
            self.bus.payload.write.eq(write),
            self.local.valid.eq(turn.grant.any() & own),
            self.bus.valid.eq(turn.grant.any() & ~own),
            move.eq((self.local.valid & self.local.ready) | (self.bus.valid & self.bus.ready)),
            rows.r_en.eq(move & element & ~self.quantised),
            blocks.r_en.eq(move & element & self.quantised),
            results.r_en.eq(move & result),
            self.finished.eq((rows_left == 0) & (results_left == 0)),
        ]
        with m.If(move & element):
            m.d.sync += [addr.eq(addr + 1), parts_left.eq(parts_left - 1)]
            with m.If(parts_left == 1):
                m.d.sync += [
                    addr.eq(row + stride),
                    row.eq(row + stride),
                    parts_left.eq(parts),
                    rows_left.eq(rows_left - 1),
                ]
        with m.If(move & result):
            m.d.sync += [word.eq(word + 1), results_left.eq(results_left - 1)]
        with m.If(self.start):
            m.d.sync += [
                addr.eq(base),
                row.eq(base),
                parts_left.eq(parts),
                rows_left.eq(Mux(self.elements, self.rows, 0)),
                word.eq(self.r << exact_log2(LINE_WORDS)),
                results_left.eq(self.results),
            ]
        return m
