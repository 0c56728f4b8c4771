"""Writes results of a matmul command to vector memories."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import LocalConfig, TileConfig
from ..ecc.events import ECCEvents, uses
from ..interfaces import BusWrite, LocalWrite, RowLayout
from ..stream.fifo import BufferedFIFO
from ..stream.loop_walk import LoopWalk
from ..stream.select import word_mux
from ..stream.skid import Skid
from ..verilog import place

__all__ = ["ResultWriter", "writer_command"]


def writer_command(config: LocalConfig, *, tiles):
    """A writer's command: lines of vector memory, the loops' bounds, the tiles that are written, and the rows
    that each of them gets (0: all)."""
    width = config.line_addr_width
    return {"dst": width, "dst_stride": width, "rows": 16, "groups": 16, "tiles": tiles, "spread": 16}


class ResultWriter(wiring.Component):
    """A row of vector memory for each group, row and ``lanes`` columns, to the own tile or over the bus.

    Latency: 3 cycles.

    All ``tiles`` get every row of a result; or, with ``spread``, the lowest of them gets so many rows, from
    ``dst`` on, then the next so many from there on, and so forth.

    ``done`` is high in the cycle after the command's last write was accepted. Lines that ``dst`` and
    ``dst_stride`` name must start a row of vector memory.

    Parameters
    ----------
    config : TileConfig
    tiles : of the chip

    Members
    -------
    cmd : In(stream of :func:`writer_command`)
    tile : In(5), the own tile
    i : In(stream of ``scalers`` FP32)
    local, bus : Out(stream of LocalWrite, of BusWrite)
    done : Out(1)
    events : Out(ECCEvents), with ``config.ecc``, of results that wait
    """

    LATENCY, DONE = 3, 1
    """Cycles of a result, and from the last write to ``done``."""

    def __init__(self, config: TileConfig, *, tiles):
        self.config, self.tiles = config, tiles
        super().__init__(
            ({"events": Out(ECCEvents())} if config.ecc else {})
            | {
                "cmd": In(stream.Signature(data.StructLayout(writer_command(config.local, tiles=tiles)))),
                "tile": In(5),
                "i": In(stream.Signature(data.ArrayLayout(32, config.scalers))),
                "local": Out(stream.Signature(LocalWrite(config.local))),
                "bus": Out(stream.Signature(BusWrite(config.local, tiles=tiles))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tile, local = self.config, self.config.local
        parts, pieces = (
            tile.array.cols // tile.lanes,
            tile.scalers // tile.lanes,
        )  # rows of a result, of a word from the accumulator
        walk = place(
            m,
            "walk",
            LoopWalk(
                fields=writer_command(local, tiles=self.tiles),
                loops={"group": "groups", "row": "rows", "part": parts},
            ),
        )
        connect(m, flipped(self.cmd), walk.cmd)
        at = walk.o.payload
        piece = at.index.part[: exact_log2(pieces)]

        # The FIFO cuts the path from the memories' readiness to the accumulator's clock enable.
        # Where results come faster than rows are written, it holds those of a group, so that the next group
        # goes on.
        late = tile.tokens * parts // pieces * (pieces - 1) // pieces
        rows = data.ArrayLayout(data.ArrayLayout(32, tile.lanes), pieces)
        results = place(m, "results", BufferedFIFO(shape=rows, depth=late + 4, ecc=tile.ecc))
        if tile.ecc:
            m.d.sync += self.events.eq(uses((results.o.valid & results.o.ready, results)))
        m.d.comb += [
            results.i.payload.eq(self.i.payload),
            results.i.valid.eq(self.i.valid),
            self.i.ready.eq(results.i.ready),
        ]

        width = local.vmem_addr_width
        base, base_reg, row, row_reg = Signal(width), Signal(width), Signal(width), Signal(width)
        move, tile_ends = Signal(), Signal()
        target = Signal(self.tiles)
        self._deal(m, at, move & at.last.part, target, tile_ends)
        # A register between the walk and the memories' readiness.
        row_write = data.StructLayout(
            {"addr": width, "row": RowLayout(local), "tiles": self.tiles, "own": 1, "last": 1}
        )
        queue = place(m, "queue", Skid(shape=row_write))
        put, out = queue.i.payload, queue.o.payload
        write = Signal(LocalWrite(local))
        m.d.comb += [
            base.eq(Mux(at.first.group, local.rows_of(at.command.dst), base_reg)),
            row.eq(Mux(at.first.row, base, row_reg)),
            put.addr.eq(row + at.index.part),
            put.row.eq(word_mux(piece, list(results.o.payload))),
            put.tiles.eq(target),
            put.own.eq(target == C(1, 1) << self.tile),
            put.last.eq(at.last.as_value().all()),
            queue.i.valid.eq(walk.o.valid & results.o.valid),
            move.eq(queue.i.valid & queue.i.ready),
            write.addr.eq(out.addr),
            write.mask.eq(C(1, 1).replicate(tile.lanes)),
            write.data.row.eq(out.row),
            self.local.payload.eq(write),
            self.bus.payload.tiles.eq(out.tiles),
            self.bus.payload.write.eq(write),
            self.local.valid.eq(queue.o.valid & out.own),
            self.bus.valid.eq(queue.o.valid & ~out.own),
            queue.o.ready.eq(Mux(out.own, self.local.ready, self.bus.ready)),
            walk.o.ready.eq(move),
            results.o.ready.eq(move & (piece.all() if pieces > 1 else 1)),
        ]
        with m.If(move & at.last.part):
            m.d.sync += row_reg.eq(Mux(tile_ends, base, row + local.rows_of(at.command.dst_stride)))
            with m.If(at.last.row):
                m.d.sync += base_reg.eq(base + parts)
        m.d.sync += self.done.eq(queue.o.valid & queue.o.ready & out.last)
        return m

    def _deal(self, m, at, row_ends, target, tile_ends):
        """Drives the tiles that get the row, ``target``, and whether it is the last that a tile is dealt."""
        command = at.command
        tiles, left = Signal.like(command.tiles), Signal.like(command.spread)  # to come; rows of the lowest
        tiles_reg, left_reg = Signal.like(tiles), Signal.like(left)
        lowest, dealt = Signal.like(tiles), Signal()
        m.d.comb += [
            dealt.eq(command.spread != 0),
            tiles.eq(Mux(at.first.row, command.tiles, tiles_reg)),
            left.eq(Mux(at.first.row, command.spread, left_reg)),
            lowest.eq(tiles & -tiles),
            target.eq(Mux(dealt, lowest, command.tiles)),
            tile_ends.eq(dealt & (left == 1)),
        ]
        with m.If(row_ends):
            m.d.sync += [
                tiles_reg.eq(Mux(tile_ends, tiles & ~lowest, tiles)),
                left_reg.eq(Mux(tile_ends, command.spread, left - 1)),
            ]
