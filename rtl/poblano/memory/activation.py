"""Activation memory: quantised blocks for the systolic array."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import LocalConfig
from ..ecc.events import ECCEvents, uses
from ..interfaces import BlockLayout, LocalWrite, block_port, meta_port, word_port
from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place
from .clear_walk import clear_walk
from .sram import sram

__all__ = ["ActivationMemory"]


class ActivationMemory(wiring.Component):
    """Words of ``segments`` blocks: a memory of elements and a memory of scales and sums, each one read and
    one write a cycle.

    ``block`` needs both memories and takes turns with ``word`` and ``meta``: each side waits at most one
    cycle for the other. Writes are served in turn, at most ``write_ports - 1`` before another. Data come
    exactly :attr:`LATENCY` cycles after their request's transfer. A write that has been transferred is in
    memory: a read transferred in a later cycle sees it. Reset forgets reads in progress and keeps the
    contents. ``clear`` writes zeros to all words, one a cycle; meanwhile no write is taken.

    Parameters
    ----------
    config : LocalConfig; with ``config.ecc`` a block's elements, and its scale and sum, have check bits, and
        what is corrected is written back
    blocks : a multiple of the blocks in a word
    write_ports : how many write

    Members
    -------
    word, meta : In(ReadPortSignature), the elements and the scales and sums of a word
    block : In(ReadPortSignature), a block with its scale and sum
    write : In(stream(LocalWrite)).array(write_ports), of ``space`` 1 (``space`` and ``mask`` are ignored)
    clear : In(1), clearing : Out(1), from the next cycle on until all is zero
    events : Out(ECCEvents), with ``config.ecc``, of the data that come in this cycle
    """

    LATENCY = 2

    def __init__(self, config: LocalConfig, *, blocks, write_ports):
        self.config, self.blocks, self.write_ports = config, blocks, write_ports
        members = {
            "word": In(word_port(config)),
            "meta": In(meta_port(config)),
            "block": In(block_port(config)),
            "write": In(stream.Signature(LocalWrite(config))).array(write_ports),
            "clear": In(1),
            "clearing": Out(1),
        }
        super().__init__(members | ({"events": Out(ECCEvents())} if config.ecc else {}))

    def elaborate(self, platform):
        m = Module()
        segments = self.config.segments
        segment_bits = exact_log2(segments)
        depth = self.blocks // segments
        place_of = data.StructLayout({"segment": segment_bits, "word": self.config.word_addr_width})
        block = BlockLayout(self.config.sum_width)
        data_bits, meta_bits = block["data"].width, block["meta"].width
        memory = lambda bits: sram(width=bits * segments, depth=depth, granularity=bits, ecc=self.config.ecc)
        words, metas = place(m, "words", memory(data_bits)), place(m, "metas", memory(meta_bits))
        word_read, meta_read = words.read, metas.read

        turn = place(m, "turn", RoundRobin(count=self.write_ports))
        row = Signal(LocalWrite(self.config))
        target = place_of(row.addr[: self.config.amem_addr_width])
        enable = Signal(segments)
        m.d.comb += [
            turn.request.eq(Cat(port.valid for port in self.write)),
            turn.accept.eq(1),
            row.eq(select(turn.grant, [port.payload for port in self.write])),
            enable.eq(Mux(self.clearing, ~0, turn.request.any() << target.segment)),
        ]
        cleared = clear_walk(m, self, depth)
        m.d.comb += [port.ready.eq(turn.open[p] & ~self.clearing) for p, port in enumerate(self.write)]
        for write, value in ((words.write, row.data.block.data), (metas.write, row.data.block.meta)):
            m.d.comb += [
                write.en.eq(enable),
                write.addr.eq(Mux(self.clearing, cleared, target.word)),
                write.data.eq(Mux(self.clearing, 0, Value.cast(value).replicate(segments))),
            ]

        # A waiting block request goes first after a word or meta request did, and the other way round.
        blocks_turn, block_wins, others = Signal(), Signal(), Signal()
        m.d.comb += [
            others.eq(self.word.req.valid | self.meta.req.valid),
            block_wins.eq(self.block.req.valid & (blocks_turn | ~others)),
            self.block.req.ready.eq(block_wins),
            self.word.req.ready.eq(~block_wins),
            self.meta.req.ready.eq(~block_wins),
        ]
        m.d.sync += blocks_turn.eq(self.block.req.valid & ~block_wins)
        asked = place_of(self.block.req.payload)
        m.d.comb += [
            word_read.en.eq(block_wins | self.word.req.valid),
            word_read.addr.eq(Mux(block_wins, asked.word, self.word.req.payload)),
            meta_read.en.eq(block_wins | self.meta.req.valid),
            meta_read.addr.eq(Mux(block_wins, asked.word, self.meta.req.payload)),
        ]
        # Cycle 1: the memories.
        word_next, meta_next, block_next = Signal(), Signal(), Signal()
        segment = Signal(segment_bits)
        m.d.sync += [
            word_next.eq(self.word.req.valid & ~block_wins),
            meta_next.eq(self.meta.req.valid & ~block_wins),
            block_next.eq(block_wins),
            segment.eq(asked.segment),
        ]
        # Cycle 2: the segment.
        m.d.sync += [
            self.word.valid.eq(word_next),
            self.word.data.eq(word_read.data),
            self.meta.valid.eq(meta_next),
            self.meta.data.eq(meta_read.data),
            self.block.valid.eq(block_next),
            self.block.data.data.eq(word_read.data.word_select(segment, data_bits)),
            self.block.data.meta.eq(meta_read.data.word_select(segment, meta_bits)),
        ]
        if self.config.ecc:
            own = lambda memory: memory.failed.bit_select(segment, 1)
            m.d.sync += [
                self.word.failed.eq(words.failed.any()),
                self.meta.failed.eq(metas.failed.any()),
                self.block.failed.eq(own(words) | own(metas)),
                self.events.eq(uses((word_next | block_next, words), (meta_next | block_next, metas))),
            ]
        return m
