"""The DMA engine's way from local memories to memory."""

from functools import reduce
from operator import or_

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..axi.signature import AXIWriteSignature
from ..axi.writer import AXIWriter
from ..config import BLOCK, LINE_BYTES, LocalConfig, MemoryConfig
from ..ecc.events import ECCEvents, uses
from ..interfaces import block_port, vmem_port
from ..isa.commands import COMMAND_BYTES, Opcode
from ..isa.layout import CommandLayout
from ..stream.gather import Gather
from ..stream.read_ahead import ReadAhead
from ..stream.region_walk import RegionWalk
from ..verilog import place

__all__ = ["StoreEngine"]

ROOM = 16
"""Beats asked for and not yet given to the writer: enough for a beat a cycle through memory and FIFO."""
WORD_BYTES = 4
"""Bytes of a scale and of a constant."""


class StoreEngine(wiring.Component):
    """Executes the STOREs: a beat a cycle from the local memories of a tile, or a constant, to memory.

    Latency: 1 cycle from a command to its first local read, 3 from an answer to the memory's port.

    ``done`` is high for a cycle when memory has answered all of a command's writes; in order. The local
    reads of the next command begin when those of a command have ended, while its writes are still under
    way. ``error``, ``flush`` and ``idle`` are as in :class:`AXIWriter`.

    With ``config.ecc``, ``poisoned`` is high for a cycle, before ``done``, when a beat has come out of a
    local memory or of the queue behind them that its check bits could not correct.

    Scales and constant words whose rows follow each other in whole beats are written in whole beats,
    constants a beat a cycle.

    Parameters
    ----------
    config : MemoryConfig
    local : LocalConfig of the tiles
    tiles : of the chip

    Members
    -------
    cmd : In(stream(512)), commands of these opcodes
    axi : Out(AXIWriteSignature)
    vmem, amem : Out(ReadPortSignature).array(tiles)
    done, error, idle : Out(1)
    flush : In(1)
    poisoned : Out(1), events : Out(ECCEvents), with ``config.ecc``; events are those of the queue
    """

    READ, LATENCY = 1, 3
    """Cycles from a command to its first local read, and from an answer to the memory's port."""

    def __init__(self, config: MemoryConfig, local: LocalConfig, *, tiles):
        self.config, self.local, self.tiles = config, local, tiles
        super().__init__(
            ({"poisoned": Out(1), "events": Out(ECCEvents())} if config.ecc else {})
            | {
                "cmd": In(stream.Signature(8 * COMMAND_BYTES)),
                "axi": Out(AXIWriteSignature(config.command_axi)),
                "vmem": Out(vmem_port(local)).array(tiles),
                "amem": Out(block_port(local)).array(tiles),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory = self.config
        # A line has as many beats as a block's elements: 32 bytes. A wider beat has lines, but of one block.
        line_bits = exact_log2(memory.beat_lines * LINE_BYTES // memory.data_bytes)
        row_bits = exact_log2(4 * self.local.lanes // memory.data_bytes)
        width = self.local.place_width + line_bits

        writer = place(
            m,
            "writer",
            AXIWriter(
                memory.command_axi,
                burst_beats=memory.burst_beats,
                outstanding=memory.outstanding_writes,
                ahead=memory.outstanding,
                any_order=memory.several,
            ),
        )
        walk = place(m, "walk", RegionWalk(width=width))
        reads = place(
            m,
            "reads",
            ReadAhead(
                request=width, tag=max(row_bits, line_bits), answer=self._beat, depth=ROOM, ecc=memory.ecc
            ),
        )
        connect(m, writer.axi, flipped(self.axi))
        self._gather(m, reads.o, writer.i)
        m.d.comb += [
            reads.i.payload.request.eq(walk.o.payload.index),
            reads.i.payload.tag.eq(walk.o.payload.index),
            reads.i.valid.eq(walk.o.valid),
            walk.o.ready.eq(reads.i.ready),
        ]
        if memory.ecc:
            given = reads.o.valid & reads.o.ready
            locals_ = Cat(port.valid & port.failed for port in [*self.vmem, *self.amem]).any()
            m.d.sync += [
                self.poisoned.eq(locals_ | given & reads.failed),
                self.events.eq(uses((given, reads))),
            ]
        region = self._commands(m, writer, walk, reads, line_bits)
        self._requests(m, reads, region, row_bits, line_bits)
        self._answers(m, reads, region, row_bits, line_bits)
        return m

    @property
    def _beat(self):
        """What is kept of an answer: a beat and whether only a word of it is wanted."""
        return data.StructLayout({"word": self.config.data_width, "parts": 1})

    def _gather(self, m, answers, beats):
        """Answers to beats."""
        words = self.config.data_bytes // WORD_BYTES
        if words == 1:
            m.d.comb += beats.payload.eq(answers.payload.word)
            m.d.comb += [beats.valid.eq(answers.valid), answers.ready.eq(beats.ready)]
            return
        gather = place(m, "gather", Gather(width=8 * WORD_BYTES, count=words))
        m.d.comb += [
            Value.cast(gather.i.payload).eq(Value.cast(answers.payload)),
            gather.i.valid.eq(answers.valid),
            answers.ready.eq(gather.i.ready),
            beats.payload.eq(Value.cast(gather.o.payload)),
            beats.valid.eq(gather.o.valid),
            gather.o.ready.eq(beats.ready),
        ]

    def _commands(self, m, writer, walk, reads, line_bits):
        """Takes a command when the reads of the one before have been answered; the region that is read."""
        memory = self.config
        beat_bytes = memory.data_bytes
        beat_bits = exact_log2(beat_bytes)
        store = CommandLayout(Opcode.STORE)(self.cmd.payload)
        block = CommandLayout(Opcode.STORE_BLOCK)(self.cmd.payload)
        constant = CommandLayout(Opcode.STORE_WORD)(self.cmd.payload)
        is_store, is_scale = store.opcode == Opcode.STORE, store.opcode == Opcode.STORE_SCALE
        is_constant = store.opcode == Opcode.STORE_WORD
        row_bytes = Signal(range((LINE_BYTES << self.local.line_addr_width) + 1))
        first = Signal(range(BLOCK))  # byte of the block
        waiting = Signal(range(ROOM + 1))  # reads not answered
        words, parts, quiet = Signal(), Signal(), Signal()
        word_bits = exact_log2(beat_bytes // WORD_BYTES)
        # The wide beats of a STORE have whole lines.
        wide = exact_log2(memory.beat_lines)
        at = lambda place: (Mux(is_store, place[wide:], place) if wide else place) << line_bits
        m.d.comb += [
            words.eq(is_scale | is_constant),
            row_bytes.eq(Mux(is_store, store.lines * LINE_BYTES, Mux(words, WORD_BYTES, block.length))),
            parts.eq(
                words
                & (store.mem_stride == WORD_BYTES)
                & ~store.mem_addr[:beat_bits].any()
                & ~store.rows[:word_bits].any()
            ),
            first.eq(Mux(is_store | words, 0, block.offset)),
            quiet.eq(~walk.o.valid & (waiting == 0)),
            self.cmd.ready.eq(quiet & writer.cmd.ready),
            writer.cmd.valid.eq(self.cmd.valid & quiet),
            writer.cmd.payload.addr.eq(store.mem_addr),
            writer.cmd.payload.row_bytes.eq(Mux(parts, store.rows * WORD_BYTES, row_bytes)),
            writer.cmd.payload.stride.eq(store.mem_stride),
            writer.cmd.payload.rows.eq(Mux(parts, 1, store.rows)),
            walk.cmd.valid.eq(self.cmd.valid & self.cmd.ready),
            walk.cmd.payload.base.eq(at(store.src) + first[beat_bits:]),
            walk.cmd.payload.stride.eq(at(store.src_stride)),
            walk.cmd.payload.rows.eq(Mux(parts & is_constant, store.rows >> word_bits, store.rows)),
            walk.cmd.payload.count.eq(Mux(row_bytes < beat_bytes, 1, row_bytes[beat_bits:])),
            writer.flush.eq(self.flush),
            self.done.eq(writer.done),
            self.error.eq(writer.error),
            self.idle.eq(writer.idle),
        ]
        region = Signal(
            data.StructLayout(
                {
                    "from_vmem": 1,
                    "scale": 1,  # scales, not blocks
                    "constant": 1,  # nothing is read
                    "value": 8 * WORD_BYTES,  # the constant
                    "parts": 1,  # of a beat's answer a word is wanted
                    "tile": self.tiles,  # one-hot
                    "length": range(LINE_BYTES + 1),  # bytes of a row, if they are less than a beat
                    "offset": beat_bits,  # first of them in the beat
                }
            )
        )
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += [
                region.from_vmem.eq(is_store),
                region.scale.eq(is_scale),
                region.constant.eq(is_constant),
                region.value.eq(constant.value),
                region.parts.eq(parts & ~is_constant),
                region.tile.eq(Cat(store.tile == t for t in range(self.tiles))),
                region.length.eq(Mux(is_store, 0, row_bytes)),
                region.offset.eq(first[:beat_bits]),
            ]
        m.d.sync += waiting.eq(waiting + (reads.req.valid & reads.req.ready) - reads.answered)
        return region

    def _requests(self, m, reads, region, row_bits, line_bits):
        """Asks the tile's memory for the row or block of a beat."""
        asked = []
        for t in range(self.tiles):
            for port, wanted, low in (
                (self.vmem[t], region.from_vmem, row_bits),
                (self.amem[t], ~region.from_vmem & ~region.constant, line_bits),
            ):
                m.d.comb += [
                    port.req.valid.eq(reads.req.valid & wanted & region.tile[t]),
                    port.req.payload.eq(reads.req.payload[low:]),
                ]
                asked.append(port.req.valid & port.req.ready)
        given = Signal()  # a constant needs no memory's answer
        m.d.sync += given.eq(reads.req.valid & region.constant)
        m.d.comb += [
            reads.req.ready.eq(Cat(asked).any() | region.constant),
            reads.answered.eq(Cat(port.valid for port in [*self.vmem, *self.amem]).any() | given),
        ]

    def _answers(self, m, reads, region, row_bits, line_bits):
        """Keeps the beat of the row or block that was asked for, and its bytes everywhere in the beat."""
        width, beat_bytes = self.config.data_width, self.config.data_bytes
        chosen = lambda values: reduce(or_, [Mux(port.valid, value, 0) for port, value in values])
        row = chosen((port, Value.cast(port.data)) for port in self.vmem)
        elements = chosen((port, port.data.data) for port in self.amem)
        scales = chosen((port, port.data.meta.scale) for port in self.amem)
        block_beat = elements.word_select(reads.tag[:line_bits], width)
        answer = reads.answer
        m.d.comb += [
            answer.parts.eq(region.parts),
            answer.word.eq(Mux(region.from_vmem, row.word_select(reads.tag[:row_bits], width), block_beat)),
        ]
        words = beat_bytes // WORD_BYTES
        with m.If(region.constant):
            m.d.comb += answer.word.eq(region.value.replicate(words))
        with m.Elif(region.scale):
            m.d.comb += answer.word.eq(scales.replicate(words))
        with m.Else():
            for bits in range(1, exact_log2(beat_bytes)):
                with m.If(region.length == 1 << bits):
                    part = block_beat.word_select(region.offset[bits:], 8 << bits)
                    m.d.comb += answer.word.eq(part.replicate(beat_bytes >> bits))
