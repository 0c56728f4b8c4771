"""The DMA engine's way from memory to vector memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..axi.reader import AXIReader
from ..axi.reorder_reader import AXIReorderReader
from ..axi.signature import AXIReadSignature
from ..config import LINE_BYTES, LocalConfig, MemoryConfig
from ..ecc.events import ECCEvents, uses
from ..interfaces import BusWrite
from ..isa.commands import COMMAND_BYTES, Opcode
from ..isa.layout import CommandLayout
from ..stream.fifo import FIFO
from ..stream.region_walk import RegionLayout, RegionWalk
from ..stream.skid import Skid
from ..verilog import place

__all__ = ["LoadEngine"]


class LoadEngine(wiring.Component):
    """Executes LOAD commands: a memory beat a cycle, written to the lanes of a row of vector memory that it
    belongs to.

    Latency: 2 cycles from a command to its first address, 3 from a beat to the bus.

    ``done`` is high in the cycle after the bus took a command's last beat; in order. The reads of the next
    commands, ``config.queued_loads`` at most, overlap the writes of a command. ``error`` is high for a cycle
    after ``done`` of all commands before the one that failed; from then on, and while ``flush`` is high, no
    read is begun. Only a reset ends this, to be given when ``idle``. With ``config.ecc``, ``poisoned`` is
    high for a cycle, that of ``done`` at the latest, when a beat has been written that its check bits could
    not correct.

    Parameters
    ----------
    config : MemoryConfig
    local : LocalConfig of the tiles
    tiles : of the chip

    Members
    -------
    cmd : In(stream(512)), LOAD commands
    axi : Out(AXIReadSignature)
    bus : Out(stream(BusWrite))
    done, error, idle : Out(1)
    flush : In(1)
    poisoned : Out(1), events : Out(ECCEvents), with ``config.ecc``
    """

    LATENCY, DONE = 3, 1
    """Cycles from a beat to the bus, and from there to ``done``."""

    def __init__(self, config: MemoryConfig, local: LocalConfig, *, tiles):
        self.config, self.local, self.tiles = config, local, tiles
        super().__init__(
            ({"poisoned": Out(1), "events": Out(ECCEvents())} if config.ecc else {})
            | {
                "cmd": In(stream.Signature(8 * COMMAND_BYTES)),
                "axi": Out(AXIReadSignature(config.command_axi)),
                "bus": Out(stream.Signature(BusWrite(local, tiles=tiles))),
                "done": Out(1),
                "error": Out(1),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory = self.config
        line_bits = exact_log2(memory.beat_lines * LINE_BYTES // memory.data_bytes)  # beats in a line
        beat_bits = exact_log2(memory.beat_lines)  # or lines in a beat
        beats = lambda lines: (lines[beat_bits:] if beat_bits else lines) << line_bits
        width = self.local.line_addr_width + line_bits

        reader = place(m, "reader", self._reader())
        walk = place(m, "walk", RegionWalk(width=width))
        target = data.StructLayout({"region": RegionLayout(width=width), "tiles": self.tiles})
        queue = place(m, "queue", FIFO(shape=target, depth=memory.queued_loads))
        connect(m, reader.axi, flipped(self.axi))

        command = CommandLayout(Opcode.LOAD)(self.cmd.payload)
        put, following = queue.i.payload, queue.o.payload
        m.d.comb += [
            self.cmd.ready.eq(queue.i.ready & reader.cmd.ready),
            reader.cmd.valid.eq(self.cmd.valid & queue.i.ready),
            reader.cmd.payload.addr.eq(command.mem_addr),
            reader.cmd.payload.row_bytes.eq(command.lines * LINE_BYTES),
            reader.cmd.payload.stride.eq(command.mem_stride),
            reader.cmd.payload.rows.eq(command.rows),
            queue.i.valid.eq(self.cmd.valid & reader.cmd.ready),
            put.region.base.eq(beats(command.dst)),
            put.region.stride.eq(beats(command.dst_stride)),
            put.region.rows.eq(command.rows),
            put.region.count.eq(beats(command.lines)),
            put.tiles.eq(command.tiles),
            walk.cmd.valid.eq(queue.o.valid),
            walk.cmd.payload.eq(following.region),
            queue.o.ready.eq(walk.cmd.ready),
            reader.flush.eq(self.flush),
            self.idle.eq(reader.idle),
        ]
        failed, reported = Signal(), Signal()
        landed = Signal(range(memory.queued_loads + 5))  # commands whose data are read, but not all written
        with m.If(reader.error):
            m.d.sync += failed.eq(1)
        m.d.comb += self.error.eq(failed & ~reported & (landed == 0))
        with m.If(self.error):
            m.d.sync += reported.eq(1)
        m.d.sync += landed.eq(landed + reader.done - self.done)
        mask = Signal(self.tiles)  # of the region being walked
        with m.If(queue.o.valid & walk.cmd.ready):
            m.d.sync += mask.eq(following.tiles)

        self._write(m, reader, walk.o, mask)
        return m

    def _reader(self):
        """What reads from the one memory, or from several."""
        memory = self.config
        bursts = dict(burst_beats=memory.burst_beats, outstanding=memory.outstanding, ecc=memory.ecc)
        if memory.several:
            return AXIReorderReader(memory.command_axi, **bursts)
        depth = max(2, memory.outstanding * memory.burst_beats)
        return AXIReader(memory.command_axi, word_width=memory.data_width, depth=depth, **bursts)

    def _write(self, m, reader, places, mask):
        """Writes the reader's beats to their places, of the tiles of ``mask``, with a register between the
        walk and the bus's readiness."""
        lanes, beats, ecc = self.local.lanes, reader.o, self.config.ecc
        row_beats = 4 * lanes // self.config.data_bytes
        row_bits = exact_log2(row_beats)
        beat_lanes = lanes // row_beats
        index, last = places.payload.index, places.payload.last
        at = data.StructLayout({"beat": row_bits, "row": len(index) - row_bits})
        members = {"at": at, "data": self.config.data_width, "tiles": self.tiles, "last": 1}
        beat = data.StructLayout(members | ({"failed": 1} if ecc else {}))
        queue = place(m, "beats", Skid(shape=beat))
        put, out, write = queue.i.payload, queue.o.payload, self.bus.payload.write
        m.d.comb += [
            queue.i.valid.eq(places.valid & beats.valid),
            places.ready.eq(beats.valid & queue.i.ready),
            beats.ready.eq(places.valid & queue.i.ready),
            put.at.eq(index),
            put.data.eq(beats.payload),
            put.tiles.eq(mask),
            put.last.eq(last),
            self.bus.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.bus.ready),
            self.bus.payload.tiles.eq(out.tiles),
            write.space.eq(0),
            write.addr.eq(out.at.row),
            write.mask.eq(((1 << beat_lanes) - 1) << out.at.beat * beat_lanes),
            write.data.row.eq(out.data.replicate(row_beats)),
        ]
        m.d.sync += self.done.eq(queue.o.valid & queue.o.ready & out.last)
        if ecc and self.config.several:
            m.d.comb += self.events.eq(reader.events)  # a beat that failed is an error response
        elif ecc:
            m.d.comb += put.failed.eq(reader.failed)
            m.d.sync += [
                self.poisoned.eq(queue.o.valid & queue.o.ready & out.failed),
                self.events.eq(uses((beats.valid & beats.ready, reader))),
            ]
