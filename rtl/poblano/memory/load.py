"""The DMA engine's way from memory to vector memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..axi.reader import AXIReader
from ..axi.signature import AXIReadSignature
from ..config import LINE_BYTES
from ..interfaces import bus_write
from ..isa.commands import COMMAND_BYTES, Opcode
from ..isa.layout import operands
from ..stream.region_walk import RegionLayout, RegionWalk
from ..verilog import place

__all__ = ["LoadEngine"]

QUEUED = 2
"""Commands whose reads may have begun while an earlier one's data are being written."""


class LoadEngine(wiring.Component):
    """Executes LOAD commands: a memory beat a cycle, written to the lanes of a row of vector memory that it
    belongs to.

    ``done`` is high in the cycle in which the bus takes a command's last beat; in order. The reads of the
    next commands overlap the writes of a command. ``error`` is high for a cycle after ``done`` of all
    commands before the one that failed; from then on, and while ``flush`` is high, no read is begun. Only a
    reset ends this, to be given when ``idle``.

    Members
    -------
    cmd : In(stream(512)), LOAD commands
    axi : Out(AXIReadSignature)
    bus : Out(stream(BusWrite))
    done, error, idle : Out(1)
    flush : In(1)
    """

    def __init__(self, config):
        self.config = config
        memory = config.memory
        super().__init__(
            {
                "cmd": In(stream.Signature(8 * COMMAND_BYTES)),
                "axi": Out(
                    AXIReadSignature(addr_width=memory.addr_width, data_width=memory.data_width, id_width=1)
                ),
                "bus": Out(stream.Signature(bus_write(config))),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory, lanes, tiles = self.config.memory, self.config.tile.lanes, self.config.tiles
        line_bits = exact_log2(LINE_BYTES // memory.data_bytes)  # beats in a line
        row_beats = 4 * lanes // memory.data_bytes
        row_bits = exact_log2(row_beats)
        beat_lanes = lanes // row_beats
        width = 16 + line_bits

        reader = place(
            m,
            "reader",
            AXIReader(
                addr_width=memory.addr_width,
                data_width=memory.data_width,
                word_width=memory.data_width,
                depth=max(2, memory.outstanding * memory.burst_beats),
                burst_beats=memory.burst_beats,
                outstanding=memory.outstanding,
            ),
        )
        walk = place(m, "walk", RegionWalk(width=width))
        target = data.StructLayout({"region": RegionLayout(width=width), "tiles": tiles})
        queue = place(m, "queue", SyncFIFO(width=target.size, depth=QUEUED))
        connect(m, reader.axi, flipped(self.axi))

        command = operands(self.cmd.payload, Opcode.LOAD)
        region, following = Signal(target), target(queue.r_data)
        m.d.comb += [
            self.cmd.ready.eq(queue.w_rdy & reader.cmd.ready),
            reader.cmd.valid.eq(self.cmd.valid & queue.w_rdy),
            reader.cmd.payload.addr.eq(command.mem_addr),
            reader.cmd.payload.row_bytes.eq(command.lines * LINE_BYTES),
            reader.cmd.payload.stride.eq(command.mem_stride),
            reader.cmd.payload.rows.eq(command.rows),
            queue.w_en.eq(self.cmd.valid & reader.cmd.ready),
            region.region.base.eq(command.dst << line_bits),
            region.region.stride.eq(command.dst_stride << line_bits),
            region.region.rows.eq(command.rows),
            region.region.count.eq(command.lines << line_bits),
            region.tiles.eq(command.tiles),
            queue.w_data.eq(region),
            walk.cmd.valid.eq(queue.r_rdy),
            walk.cmd.payload.eq(following.region),
            queue.r_en.eq(walk.cmd.ready),
            reader.flush.eq(self.flush),
            self.idle.eq(reader.idle),
        ]
        failed, reported = Signal(), Signal()
        landed = Signal(range(QUEUED + 2))  # commands whose data are read, but not all written
        with m.If(reader.error):
            m.d.sync += failed.eq(1)
        m.d.comb += self.error.eq(failed & ~reported & (landed == 0))
        with m.If(self.error):
            m.d.sync += reported.eq(1)
        m.d.sync += landed.eq(landed + reader.done - self.done)
        mask = Signal(tiles)  # of the region being walked
        with m.If(queue.r_rdy & walk.cmd.ready):
            m.d.sync += mask.eq(following.tiles)

        index = walk.o.payload.index
        write = self.bus.payload.write
        m.d.comb += [
            self.bus.valid.eq(walk.o.valid & reader.o.valid),
            walk.o.ready.eq(reader.o.valid & self.bus.ready),
            reader.o.ready.eq(walk.o.valid & self.bus.ready),
            self.done.eq(self.bus.valid & self.bus.ready & walk.o.payload.last),
            self.bus.payload.tiles.eq(mask),
            write.space.eq(0),
            write.addr.eq(index[row_bits:]),
            write.mask.eq(((1 << beat_lanes) - 1) << index[:row_bits] * beat_lanes),
            write.data.eq(reader.o.payload.replicate(row_beats)),
        ]
        return m
