"""The DMA engine's way from local memories to memory."""

from functools import reduce
from operator import or_

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..axi.signature import AXIWriteSignature
from ..axi.writer import AXIWriter
from ..config import BLOCK, LINE_BYTES
from ..interfaces import block_port, vmem_port
from ..isa.commands import COMMAND_BYTES, Opcode
from ..isa.layout import CommandLayout
from ..stream.region import Walk
from ..verilog import place

__all__ = ["StoreEngine"]

ROOM = 16
"""Beats asked for and not yet given to the writer: enough for a beat a cycle through memory and FIFO."""
SCALE_BYTES = 4


class StoreEngine(wiring.Component):
    """Executes STORE, STORE_BLOCK and STORE_SCALE: a beat a cycle from the local memories of a tile to
    memory.

    Latency: 1 cycle from a command to its first local read, 3 from an answer to the memory's port.

    ``done`` is high for a cycle when memory has answered all of a command's writes; in order. The local
    reads of the next command begin when those of a command have ended, while its writes are still under
    way. ``error``, ``flush`` and ``idle`` are as in :class:`AXIWriter`.

    Members
    -------
    cmd : In(stream(512)), commands of these opcodes
    axi : Out(AXIWriteSignature)
    vmem, amem : Out(ReadPortSignature).array(tiles)
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
                    AXIWriteSignature(addr_width=memory.addr_width, data_width=memory.data_width, id_width=1)
                ),
                "vmem": Out(vmem_port(config)).array(config.tiles),
                "amem": Out(block_port(config)).array(config.tiles),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory, tiles = self.config.memory, self.config.tiles
        beat_bytes = memory.data_bytes
        beat_bits = exact_log2(beat_bytes)
        # A line has as many beats as a block's elements: 32 bytes.
        line_bits = exact_log2(LINE_BYTES // beat_bytes)
        row_bits = exact_log2(4 * self.config.tile.lanes // beat_bytes)
        width = self.config.tile.place_width + line_bits

        writer = place(
            m,
            "writer",
            AXIWriter(
                addr_width=memory.addr_width,
                data_width=memory.data_width,
                burst_beats=memory.burst_beats,
                outstanding=memory.outstanding_writes,
                ahead=memory.outstanding,
            ),
        )
        walk = place(m, "walk", Walk(width=width))
        fifo = place(m, "fifo", SyncFIFOBuffered(width=memory.data_width, depth=ROOM + 1))
        connect(m, writer.axi, flipped(self.axi))

        # A command, when the reads of the one before have been answered.
        store = CommandLayout(Opcode.STORE)(self.cmd.payload)
        block = CommandLayout(Opcode.STORE_BLOCK)(self.cmd.payload)
        is_store, is_scale = store.opcode == Opcode.STORE, store.opcode == Opcode.STORE_SCALE
        row_bytes = Signal(range(self.config.tile.vmem_lines * LINE_BYTES + 1))
        first = Signal(range(BLOCK))  # byte of the block
        waiting = Signal(range(ROOM + 1))  # reads not answered
        quiet = Signal()
        m.d.comb += [
            row_bytes.eq(Mux(is_store, store.lines * LINE_BYTES, Mux(is_scale, SCALE_BYTES, block.length))),
            first.eq(Mux(is_store | is_scale, 0, block.offset)),
            quiet.eq(~walk.o.valid & (waiting == 0)),
            self.cmd.ready.eq(quiet & writer.cmd.ready),
            writer.cmd.valid.eq(self.cmd.valid & quiet),
            writer.cmd.payload.addr.eq(store.mem_addr),
            writer.cmd.payload.row_bytes.eq(row_bytes),
            writer.cmd.payload.stride.eq(store.mem_stride),
            writer.cmd.payload.rows.eq(store.rows),
            walk.cmd.valid.eq(self.cmd.valid & self.cmd.ready),
            walk.cmd.payload.base.eq((store.src << line_bits) + first[beat_bits:]),
            walk.cmd.payload.stride.eq(store.src_stride << line_bits),
            walk.cmd.payload.rows.eq(store.rows),
            walk.cmd.payload.count.eq(Mux(row_bytes < beat_bytes, 1, row_bytes[beat_bits:])),
            writer.flush.eq(self.flush),
            self.done.eq(writer.done),
            self.error.eq(writer.error),
            self.idle.eq(writer.idle),
        ]
        from_vmem, scale = Signal(), Signal()
        tile = Signal(tiles)  # one-hot
        length = Signal(range(LINE_BYTES + 1))  # bytes of a row, if they are less than a beat
        offset = Signal(beat_bits)  # first of them in the beat
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += [
                from_vmem.eq(is_store),
                scale.eq(is_scale),
                tile.eq(Cat(store.tile == t for t in range(tiles))),
                length.eq(Mux(is_store, 0, row_bytes)),
                offset.eq(first[:beat_bits]),
            ]

        # Requests, while there is room for the answers.
        index = walk.o.payload.index
        credit = Signal(range(ROOM + 1), init=ROOM)
        may, asked, answered = Signal(), Signal(), Signal()
        m.d.comb += [may.eq(walk.o.valid & (credit != 0)), walk.o.ready.eq(asked)]
        for t in range(tiles):
            for port, wanted, low in (
                (self.vmem[t], from_vmem, row_bits),
                (self.amem[t], ~from_vmem, line_bits),
            ):
                m.d.comb += [port.req.valid.eq(may & wanted & tile[t]), port.req.payload.eq(index[low:])]
        ports = [*self.vmem, *self.amem]
        m.d.comb += [
            asked.eq(Cat(port.req.valid & port.req.ready for port in ports).any()),
            answered.eq(Cat(port.valid for port in ports).any()),
        ]
        m.d.sync += [
            waiting.eq(waiting + asked - answered),
            credit.eq(credit - asked + (fifo.r_rdy & fifo.r_en)),
        ]

        # Answers: the beat of the row or block that was asked for, and its bytes everywhere in the beat.
        sub_bits = max(row_bits, line_bits)
        sub = C(0)
        if sub_bits:
            subs = place(m, "subs", SyncFIFO(width=sub_bits, depth=ROOM))
            m.d.comb += [subs.w_en.eq(asked), subs.w_data.eq(index), subs.r_en.eq(answered)]
            sub = subs.r_data
        row = reduce(or_, [Mux(port.valid, port.data, 0) for port in self.vmem])
        bytes_ = reduce(or_, [Mux(port.valid, port.data.data, 0) for port in self.amem])
        scales = reduce(or_, [Mux(port.valid, port.data.meta.scale, 0) for port in self.amem])
        block_beat = bytes_.word_select(sub[:line_bits], memory.data_width)
        beat = Signal(memory.data_width)
        m.d.comb += beat.eq(Mux(from_vmem, row.word_select(sub[:row_bits], memory.data_width), block_beat))
        with m.If(scale):
            m.d.comb += beat.eq(scales.replicate(beat_bytes // SCALE_BYTES))
        with m.Else():
            for bits in range(1, beat_bits):
                with m.If(length == 1 << bits):
                    part = block_beat.word_select(offset[bits:], 8 << bits)
                    m.d.comb += beat.eq(part.replicate(beat_bytes >> bits))
        m.d.comb += [
            fifo.w_en.eq(answered),
            fifo.w_data.eq(beat),
            writer.i.valid.eq(fifo.r_rdy),
            writer.i.payload.eq(fifo.r_data),
            fifo.r_en.eq(writer.i.ready),
        ]
        return m
