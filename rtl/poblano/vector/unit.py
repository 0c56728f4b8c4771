"""The vector unit: executes VECTOR commands on the tile's vector memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import BLOCK, LINE_WORDS, ChipConfig
from ..interfaces import UnitSignature, bus_write, local_write, vmem_port
from ..isa.commands import Opcode
from ..isa.layout import CommandLayout
from ..isa.vector_ops import AluOp, Reduce, Select, Sink
from ..stream.delay import delay
from ..verilog import place
from .argmax import Argmax
from .lane import VectorLane
from .quantiser import Quantiser
from .reader import RowReader, ScalarReader, SharedPort
from .reducer import Reducer
from .reference import NO_LIMIT
from .writer import VectorWriter

__all__ = ["VectorUnit"]

MINUS_INFINITY = 0xFF800000


class VectorUnit(wiring.Component):
    """Elementwise operations, special functions, reductions and quantisation of rows; :mod:`.reference` is
    exact about them.

    Takes VECTOR and NOP commands, which have been checked, one after the other: each is complete before the
    next is transferred. With operands and outputs always available a command takes a cycle for each
    ``lanes`` elements (:attr:`.Reducer.interval` with a sum or maximum), and about 60 to fill and empty the
    pipelines. Row scalars share port b with operand b: one more read each row. All operands of an element
    are read before it is written.

    Members
    -------
    tile : In(5), the own tile's number; constant
    unit : In(UnitSignature())
    a, b : Out(ReadPortSignature), rows of vector memory. Latency 1 to 4.
    local, bus : Out(stream of LocalWrite, of BusWrite), ``local`` if only the own tile is written
    """

    LATENCY = 1 + VectorLane.LATENCY
    """Cycles from operands to results of the lanes."""

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "tile": In(5),
                "unit": In(UnitSignature()),
                "a": Out(vmem_port(config)),
                "b": Out(vmem_port(config)),
                "local": Out(stream.Signature(local_write(config))),
                "bus": Out(stream.Signature(bus_write(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, start, finished = self._commands(m)
        a, b, c = self._readers(m, command, start)
        beat, en = self._lanes(m, command, start, a, b, c)
        self._sinks(m, command, start, finished, beat, en)
        m.d.comb += [
            self.unit.idle.eq(1),
            self.unit.stall_out.eq(
                (self.local.valid & ~self.local.ready) | (self.bus.valid & ~self.bus.ready)
            ),
        ]
        return m

    def _commands(self, m):
        """The command in progress, a pulse at its start, and a signal for its end."""
        cmd = self.unit.cmd
        offered = CommandLayout(Opcode.VECTOR)(cmd.payload)
        fields = Opcode.VECTOR.definition.fields
        command = Signal(data.StructLayout({f.name: f.kind.shape(f.width) for f in fields}))
        start, finished = Signal(), Signal()
        m.d.comb += self.unit.busy.eq(cmd.valid)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += cmd.ready.eq(1)
                with m.If(cmd.valid):
                    m.d.sync += [command[f.name].eq(offered[f.name]) for f in fields]
                    with m.If(offered.opcode == Opcode.NOP):
                        m.next = "DONE"
                    with m.Else():
                        m.next = "START"
            with m.State("START"):
                m.d.comb += [start.eq(1), self.unit.busy.eq(1)]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.unit.busy.eq(1)
                with m.If(finished):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [self.unit.done.eq(1), self.unit.busy.eq(1)]
                m.next = "IDLE"
        return command, start, finished

    def _readers(self, m, command, start):
        """Streams of operands a and b and of row scalars; only those that the command uses run."""
        lane_bits = exact_log2(self.config.tile.lanes)
        beats_bits = exact_log2(BLOCK) - lane_bits
        a, b = place(m, "a_reader", RowReader(self.config)), place(m, "b_reader", RowReader(self.config))
        c = place(m, "c_reader", ScalarReader(self.config))
        share = place(m, "share", SharedPort(self.config))
        connect(m, flipped(self.a), a.port)
        connect(m, b.port, share.i[0])
        connect(m, c.port, share.i[1])
        connect(m, share.o, flipped(self.b))

        lines = lambda value: (value << exact_log2(LINE_WORDS)) >> lane_bits
        active = Signal()
        m.d.comb += [
            active.eq((command.sink != Sink.NONE) | (command.reduce != Reduce.NONE)),
            a.start.eq(start & active),
            b.start.eq(start & active & self._uses(command, Select.B)),
            c.start.eq(start & active & self._uses(command, Select.ROW)),
            c.base.eq(command.c << exact_log2(LINE_WORDS)),
            c.rows.eq(command.rows),
        ]
        for reader, name in ((a, "a"), (b, "b")):
            m.d.comb += [
                reader.base.eq(lines(command[name])),
                reader.stride.eq(lines(command[f"{name}_stride"])),
                reader.rows.eq(command.rows),
                reader.beats.eq(command.blocks << beats_bits),
            ]
        return a.o, b.o, c.o

    @staticmethod
    def _uses(command, select):
        """Whether an operation other than PASS has what ``select`` names for its second operand."""
        return ((command.op1 != AluOp.PASS) & (command.sel1 == select)) | (
            (command.op2 != AluOp.PASS) & (command.sel2 == select)
        )

    def _lanes(self, m, command, start, a, b, c):
        """Results, with ``last_block`` (of the row) and ``last`` (of the command), and the lanes' clock
        enable, to be driven."""
        lanes = self.config.tile.lanes
        lane_bits = exact_log2(lanes)
        beats_bits = exact_log2(BLOCK) - lane_bits

        en, issue, have = Signal(), Signal(), Signal()
        uses_b, uses_c = Signal(), Signal()
        issuing = Signal()
        block, part = Signal(11), Signal(beats_bits)
        row, limit, next_limit = Signal(16), Signal(16), Signal(17)
        last_block, last_beat, last = Signal(), Signal(), Signal()
        m.d.comb += [
            uses_b.eq(self._uses(command, Select.B)),
            uses_c.eq(self._uses(command, Select.ROW)),
            have.eq(a.valid & (b.valid | ~uses_b) & (c.valid | ~uses_c)),
            issue.eq(have & en),
            a.ready.eq(issue),
            b.ready.eq(issue & uses_b),
            c.ready.eq(issue & uses_c & last_beat),
            last_block.eq(block == command.blocks - 1),
            last_beat.eq(last_block & part.all()),
            last.eq(last_beat & (row == command.rows - 1)),
            next_limit.eq(limit + command.limit_step),
            self.unit.stall_in.eq(issuing & en & ~have),
        ]
        with m.If(issue):
            m.d.sync += part.eq(part + 1)
            with m.If(part.all()):
                m.d.sync += block.eq(Mux(last_block, 0, block + 1))
            with m.If(last_beat):
                # Elements are below NO_LIMIT, and so it is enough that the limit doesn't wrap.
                m.d.sync += [row.eq(row + 1), limit.eq(Mux(next_limit[16], NO_LIMIT, next_limit))]
            with m.If(last):
                m.d.sync += issuing.eq(0)
        with m.If(start):
            m.d.sync += [
                row.eq(0),
                limit.eq(command.limit),
                issuing.eq((command.sink != Sink.NONE) | (command.reduce != Reduce.NONE)),
            ]

        fill = Mux(command.fill, MINUS_INFINITY, 0)
        words = [a.payload[32 * k : 32 * k + 32] for k in range(lanes)]
        results = []
        for k in range(lanes):
            # Cycle 1: operands.
            x, y1, y2 = (Signal(32, name=f"{name}{k}", reset_less=True) for name in ("x", "y1_", "y2_"))
            beyond = Signal(name=f"beyond{k}")
            b_word = b.payload[32 * k : 32 * k + 32]
            m.d.comb += beyond.eq(Cat(C(k, lane_bits), part, block) >= limit)
            with m.If(en):
                m.d.sync += [
                    x.eq(Mux(beyond, fill, Mux(command.swap, words[k ^ 1], words[k]))),
                    y1.eq(Mux(command.sel1[1], command.imm1, Mux(command.sel1[0], c.payload, b_word))),
                    y2.eq(Mux(command.sel2[1], command.imm2, Mux(command.sel2[0], c.payload, b_word))),
                ]
            lane = place(m, f"lane{k}", VectorLane())
            m.d.comb += [
                lane.op1.eq(command.op1),
                lane.sfu.eq(command.sfu),
                lane.op2.eq(command.op2),
                lane.en.eq(en),
                lane.x.eq(x),
                lane.y1.eq(y1),
                lane.y2.eq(y2),
            ]
            results.append(lane.o)
        beat = Signal(data.StructLayout({"data": 32 * lanes, "valid": 1, "last_block": 1, "last": 1}))
        m.d.comb += [
            beat.data.eq(Cat(results)),
            beat.valid.eq(delay(m, en, "valid", issue, self.LATENCY, reset_less=False)),
            Cat(beat.last_block, beat.last).eq(delay(m, en, "flags", Cat(last_block, last), self.LATENCY)),
        ]
        return beat, en

    def _sinks(self, m, command, start, finished, beat, en):
        """Hands each beat to all its takers at once, and their results to the writer."""
        lanes = self.config.tile.lanes
        quantiser = place(m, "quantiser", Quantiser(lanes, self.config.tile.array.arithmetic))
        reducer = place(m, "reducer", Reducer(lanes))
        argmax, writer = place(m, "argmax", Argmax(lanes)), place(m, "writer", VectorWriter(self.config))
        is_argmax = command.reduce == Reduce.ARGMAX
        takers = (
            (command.sink == Sink.VMEM, writer.i_row),
            (command.sink == Sink.QUANTISE, quantiser.i),
            ((command.reduce == Reduce.SUM) | (command.reduce == Reduce.MAXIMUM), reducer.i),
            (is_argmax, argmax.i),
        )
        ready = Signal()
        m.d.comb += [
            ready.eq(Cat(port.ready | ~takes for takes, port in takers).all()),
            en.eq(ready | ~beat.valid),
            writer.i_row.payload.eq(beat.data),
            quantiser.activation.eq(command.activation),
            quantiser.i.payload.eq(beat.data),
            reducer.i.payload.data.eq(beat.data),
            reducer.i.payload.last.eq(beat.last_block),
            argmax.i.payload.data.eq(beat.data),
            argmax.i.payload.last.eq(beat.last),
        ]
        m.d.comb += [port.valid.eq(beat.valid & ready & takes) for takes, port in takers]

        connect(m, quantiser.o, writer.i_block)
        connect(m, writer.local, flipped(self.local))
        connect(m, writer.bus, flipped(self.bus))
        m.d.comb += [
            reducer.maximum.eq(command.reduce == Reduce.MAXIMUM),
            argmax.fresh.eq(command.first),
            argmax.index.eq(command.index),
            writer.i_result.valid.eq(reducer.o.valid | argmax.o.valid),
            writer.i_result.payload.eq(Mux(is_argmax, argmax.o.payload, reducer.o.payload)),
            reducer.o.ready.eq(writer.i_result.ready),
            argmax.o.ready.eq(writer.i_result.ready),
            writer.start.eq(start),
            writer.elements.eq(command.sink != Sink.NONE),
            writer.quantised.eq(command.sink == Sink.QUANTISE),
            writer.results.eq(Mux(is_argmax, 2, Mux(command.reduce == Reduce.NONE, 0, command.rows))),
            writer.tile.eq(self.tile),
            finished.eq(writer.finished),
        ]
        m.d.comb += [
            getattr(writer, name).eq(command[name])
            for name in ("dst", "dst_stride", "rows", "blocks", "r", "tiles")
        ]
