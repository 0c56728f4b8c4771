"""Vector memory's banks and activation memory: reads after writes, and waiting."""

from functools import partial

from amaranth.hdl import *

from poblano.config import LocalConfig
from poblano.memory.activation import ActivationMemory
from poblano.memory.banked import BankedMemory
from poblano.stream.select import select

from .harness import Harness, Mutation, Property


class Memory(Harness):
    """Requests stay until they are taken; resets of the block come at any time."""

    def stream(self, name, valid, ready, payload, restart):
        """Assumes the rules of streams for a request, and returns the cycles that it has waited."""
        before = self.past(valid & ~ready, name + "_before")
        self.assume(~before | (valid & (payload == self.past(payload, name + "_payload"))))
        waited = Signal(4, name=name + "_waited")
        self._m.d.sync += waited.eq(Mux(valid & ~ready & ~restart, waited + 1, 0))
        return waited

    def cleared(self, dut, restart):
        """Whether clearing ended with the cycle before, not by a reset; it is in progress, or begins."""
        before = self.past(dut.clearing & ~restart, "was_clearing")
        return before & ~dut.clearing, dut.clear | dut.clearing

    def answers(self, name, request, restart, expected, known):
        """What is expected 2 cycles after ``request``: (valid, value, whether that is known)."""
        m = self._m
        stages = [Signal(2 + len(expected), name=f"{name}_answer{n}") for n in range(2)]
        for stage, value in zip(stages, (Cat(request, known, expected), stages[0])):
            m.d.sync += stage.eq(Mux(restart, 0, value))
        return stages[1][0], stages[1][2:], stages[1][0] & stages[1][1]


class Banks(Memory):
    """One arbitrary word of one arbitrary row, and one arbitrary port each of the read and write ports, are
    watched."""

    def __init__(self, banks, rows, read_ports, write_ports):
        super().__init__()
        self.banks, self.rows, self.read_ports, self.write_ports = banks, rows, read_ports, write_ports

    def prove(self, m):
        restart = self.free("restart")
        dut = self.add(
            "dut",
            BankedMemory(
                rows=self.rows,
                width=2,
                granularity=1,
                banks=self.banks,
                read_ports=self.read_ports,
                write_ports=self.write_ports,
            ),
            reset=restart,
        )
        row, word = self.constant("row", range(self.rows)), self.constant("word")
        # The word as it was written last.
        value, known = Signal(), Signal()
        writes = [
            port.valid & port.ready & (port.payload.addr == row) & port.payload.mask.bit_select(word, 1)
            for port in dut.write
        ]
        cleared, clearing = self.cleared(dut, restart)
        with m.If(cleared | clearing):
            m.d.sync += [known.eq(cleared & ~clearing), value.eq(0)]
        with m.If(Cat(writes).any()):
            m.d.sync += [
                known.eq(1),
                value.eq(select(writes, [port.payload.data.bit_select(word, 1) for port in dut.write])),
            ]
        for p, port in enumerate(dut.read):
            waited = self.stream(f"read{p}", port.req.valid, port.req.ready, port.req.payload, restart)
            self.check(f"read wait {p}", waited <= self.read_ports - 1)
            here = port.req.payload == row
            valid, expected, compare = self.answers(
                f"read{p}", port.req.valid & port.req.ready, restart, value, known & here
            )
            self.check(f"latency {p}", port.valid == valid)
            self.check(f"data {p}", ~compare | (port.data.bit_select(word, 1) == expected))
            self.cover(f"read {p}", compare & expected)
            self.cover(f"read waits {p}", waited == self.read_ports - 1)
        for p, port in enumerate(dut.write):
            waited = self.stream(
                f"write{p}", port.valid, port.ready, port.payload.as_value(), restart | clearing
            )
            self.check(f"write wait {p}", waited <= self.write_ports - 1)
            self.cover(f"write waits {p}", waited == self.write_ports - 1)


class Activations(Memory):
    """One arbitrary block is watched, a bit of its elements and a bit of its scale and sum."""

    DATA_BIT, META_BIT = 255, 31

    def __init__(self, segments, words, write_ports):
        super().__init__()
        self.segments, self.words, self.write_ports = segments, words, write_ports

    def prove(self, m):
        blocks = self.words * self.segments
        addr_width = (blocks - 1).bit_length()
        config = LocalConfig(
            lanes=1,
            segments=self.segments,
            sum_width=1,
            vmem_addr_width=addr_width,
            amem_addr_width=addr_width,
        )
        restart = self.free("restart")
        dut = self.add(
            "dut", ActivationMemory(config, blocks=blocks, write_ports=self.write_ports), reset=restart
        )
        block = self.constant("block", addr_width)
        shift = (self.segments - 1).bit_length()
        word, segment = block[shift:], block[:shift]
        data, meta, known = Signal(), Signal(), Signal()
        writes = [port.valid & port.ready & (port.payload.addr == block) for port in dut.write]
        written = [port.payload.data.block for port in dut.write]
        cleared, clearing = self.cleared(dut, restart)
        with m.If(cleared | clearing):
            m.d.sync += [known.eq(cleared & ~clearing), data.eq(0), meta.eq(0)]
        with m.If(Cat(writes).any()):
            m.d.sync += [
                known.eq(1),
                data.eq(select(writes, [w.data[self.DATA_BIT] for w in written])),
                meta.eq(select(writes, [w.meta.as_value()[self.META_BIT] for w in written])),
            ]
        datas = Array(dut.word.data[s][self.DATA_BIT] for s in range(self.segments))
        metas = Array(dut.meta.data[s].as_value()[self.META_BIT] for s in range(self.segments))
        own = dut.block.data
        for name, port, here, stored, shown in (
            ("word", dut.word, dut.word.req.payload == word, data, datas[segment]),
            ("meta", dut.meta, dut.meta.req.payload == word, meta, metas[segment]),
            (
                "block",
                dut.block,
                dut.block.req.payload == block,
                Cat(data, meta),
                Cat(own.data[self.DATA_BIT], own.meta.as_value()[self.META_BIT]),
            ),
        ):
            req = port.req
            waited = self.stream(name, req.valid, req.ready, req.payload, restart)
            self.check(f"wait {name}", waited <= 1)
            valid, expected, compare = self.answers(
                name, req.valid & req.ready, restart, stored, known & here
            )
            self.check(f"latency {name}", port.valid == valid)
            self.check(f"data {name}", ~compare | (shown == expected))
            self.cover(f"read {name}", compare & expected.all())
            self.cover(f"waits {name}", waited == 1)
        for p, port in enumerate(dut.write):
            waited = self.stream(f"write{p}", port.valid, port.ready, port.payload.addr, restart | clearing)
            self.check(f"write wait {p}", waited <= self.write_ports - 1)
            self.cover(f"write waits {p}", waited == self.write_ports - 1)


BANKED, ACTIVATION = "poblano.memory.banked", "poblano.memory.activation"
BANKED_MUTATIONS = (
    Mutation(
        "late source", BANKED, "m.d.sync += source.eq(granted)", "m.d.sync += source.eq(source | granted)"
    ),
    Mutation(
        "all banks write",
        BANKED,
        "Cat(port.valid & (at.bank == b) for port, at in zip(self.write, write_places))",
        "Cat(port.valid for port in self.write)",
    ),
    Mutation(
        "no mask",
        BANKED,
        "Mux(writer.request.any(), row.mask, 0)",
        "writer.request.any().replicate(len(row.mask))",
    ),
    Mutation("turns held", BANKED, "reader.accept.eq(1)", "reader.accept.eq(writer.request.any())"),
    Mutation(
        "next word",
        BANKED,
        "Mux(self.clearing, cleared, place_of(row.addr).row)",
        "Mux(self.clearing, cleared, place_of(row.addr).row + 1)",
    ),
    Mutation("last row left", "poblano.memory.clear_walk", "address != depth - 1", "address != depth - 2"),
    Mutation("not zero", BANKED, "Mux(self.clearing, 0, row.data)", "row.data"),
    Mutation("writes lost", BANKED, "free & ~self.clearing", "free"),
    Mutation(
        "ready for all",
        BANKED,
        "port.req.ready.eq(word_mux(read_places[p].bank, [r.open[p] for r in readers]))",
        "port.req.ready.eq(1)",
    ),
)
ACTIVATION_MUTATIONS = (
    Mutation("wrong segment", ACTIVATION, "segment.eq(asked.segment)", "segment.eq(0)"),
    Mutation(
        "every segment",
        ACTIVATION,
        "turn.request.any() << target.segment",
        "turn.request.any().replicate(segments)",
    ),
    Mutation("last word left", "poblano.memory.clear_walk", "address != depth - 1", "address != depth - 2"),
    Mutation("writes lost", ACTIVATION, "turn.open[p] & ~self.clearing", "turn.open[p]"),
    Mutation(
        "blocks first", ACTIVATION, "self.block.req.valid & (blocks_turn | ~others)", "self.block.req.valid"
    ),
    Mutation(
        "blocks last",
        ACTIVATION,
        "self.block.req.valid & (blocks_turn | ~others)",
        "self.block.req.valid & ~others",
    ),
    Mutation(
        "meta left out",
        ACTIVATION,
        "others.eq(self.word.req.valid | self.meta.req.valid)",
        "others.eq(self.word.req.valid)",
    ),
    Mutation(
        "address of another",
        ACTIVATION,
        "meta_read.addr.eq(Mux(block_wins, asked.word, self.meta.req.payload))",
        "meta_read.addr.eq(Mux(block_wins, asked.word, self.word.req.payload))",
    ),
    Mutation(
        "early",
        ACTIVATION,
        "self.meta.valid.eq(meta_next)",
        "self.meta.valid.eq(self.meta.req.valid & ~block_wins)",
    ),
)
PROPERTIES = (
    *(
        Property(
            f"banked-{banks}-{rows}-{reads}-{writes}",
            partial(Banks, banks, rows, reads, writes),
            "a read shows the word as written last by a transfer before it, exactly 2 cycles later; waits of "
            "reads and writes are bounded; "
            "a reset at any time keeps the contents; what has been cleared is zero",
            mutations=BANKED_MUTATIONS if banks == 2 else (),
        )
        for banks, rows, reads, writes in ((2, 4, 3, 3), (4, 8, 3, 3))
    ),
    *(
        Property(
            f"activation-{segments}",
            partial(Activations, segments, words, 3),
            "a read of a word, its scales or a block shows the block as written last, exactly 2 cycles "
            "later; each side waits at most one "
            "cycle; a reset at any time keeps the contents; what has been cleared is zero",
            mutations=ACTIVATION_MUTATIONS if segments == 2 else (),
        )
        for segments, words in ((1, 4), (2, 2))
    ),
)
