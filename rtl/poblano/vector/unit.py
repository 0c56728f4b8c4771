"""The vector unit: executes VECTOR commands on the tile's vector memory."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import LINE_WORDS, TileConfig
from ..ecc.events import ECCEvents
from ..interfaces import BusWrite, LocalWrite, UnitSignature, vmem_port
from ..isa.commands import ErrorCode, Opcode
from ..isa.layout import CommandLayout
from ..isa.vector_ops import Reduce, Select, Sink
from ..moe.commands import ExpertCommands
from ..moe.route_table import RouteWrite
from ..verilog import gated_clock, place
from .argmax import Argmax
from .command import VectorCommand, adds_rows, decode, uses, works
from .lanes import VectorLanes
from .quantiser import Quantiser
from .reader import RowReader, ScalarReader, SharedPort
from .reducer import Reducer
from .walk import row_group
from .writer import VectorWriter

__all__ = ["VectorUnit"]


class VectorUnit(wiring.Component):
    """Elementwise operations, special functions, reductions and quantisation of rows; :mod:`.reference` is
    exact about them.

    Latency: 3 cycles from one ``done`` to the next, the memory's, the lanes', and the longer of the
    quantiser's and the reduction's.

    Takes VECTOR, CLEAR and NOP commands, which have been checked, one after the other; with
    ``config.experts`` also ROUTE, GATHER and SCATTER. A command's last write
    is in memory before ``done``, and the next command is transferred in that cycle at the earliest: its reads
    begin a cycle later. With operands and outputs always available a command takes its latency and a cycle
    for each ``lanes`` elements; row scalars one more, and beside operand b, with which they share port b, one
    for each group of rows. All operands of an element are read before it is written.

    With ``config.ecc``, the use of a word that check bits could not correct is an error of the command.

    If there are more than 8 lanes, the elements of sums are walked in groups of rows, :class:`.walk.RowWalk`.

    Parameters
    ----------
    config : TileConfig
    tiles : of the chip

    Members
    -------
    tile : In(5), the own tile's number; constant
    unit : In(UnitSignature())
    a, b : Out(ReadPortSignature), rows of vector memory. Latency 1 to 4.
    local, bus : Out(stream of LocalWrite, of BusWrite), ``local`` if only the own tile is written
    clear : Out(1), high for a cycle: clear the tile's memories
    clearing : In(1), they are being cleared; a CLEAR is done when they no longer are
    table : Out(RouteWrite), with ``config.experts``, to the command processor
    events : Out(ECCEvents), with ``config.ecc``, of the unit's own memories
    """

    TURN = 3
    """Cycles from one ``done`` to the next beside those of the memory, the lanes and the beats."""

    def __init__(self, config: TileConfig, *, tiles):
        self.config, self.tiles = config, tiles
        local = config.local
        super().__init__(
            ({"events": Out(ECCEvents())} if config.ecc else {})
            | ({"table": Out(RouteWrite())} if config.experts is not None else {})
            | {
                "tile": In(5),
                "unit": In(UnitSignature()),
                "a": Out(vmem_port(local)),
                "b": Out(vmem_port(local)),
                "local": Out(stream.Signature(LocalWrite(local))),
                "bus": Out(stream.Signature(BusWrite(local, tiles=tiles))),
                "clear": Out(1),
                "clearing": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        writer = place(m, "writer", VectorWriter(self.config.local, tiles=self.tiles))
        experts = None if self.config.experts is None else self._experts(m)
        start, begin, command = self._commands(m, writer.finished & ~self.clearing, experts)
        lanes = place(m, "lanes", VectorLanes(self.config.lanes))
        self._read(m, start, begin, command, lanes, experts)
        m.d.comb += [
            lanes.start.eq(start),
            lanes.limit.eq(begin.limit),
            lanes.command.eq(command),
            writer.start.eq(start),
            writer.begin.eq(begin),
            writer.command.eq(command),
            writer.tile.eq(self.tile),
            self.unit.idle.eq(1),
            self.unit.stall_in.eq(lanes.waits),
            self.unit.stall_out.eq(
                (self.local.valid & ~self.local.ready) | (self.bus.valid & ~self.bus.ready)
            ),
        ]
        quantiser = self._take(m, command, lanes.o, writer)
        if self.config.ecc:
            self._errors(m, quantiser, experts)
        elif experts is not None:
            m.d.comb += [self.unit.error.eq(experts.bad), self.unit.code.eq(ErrorCode.LOCAL_RANGE)]
        for name in ("local", "bus"):
            if experts is None:
                connect(m, getattr(writer, name), flipped(getattr(self, name)))
            else:
                self._merge(m, getattr(self, name), getattr(writer, name), getattr(experts, name))
        return m

    def _experts(self, m):
        """What executes the commands of mixtures of experts, in front of all others."""
        assert self.config.experts is not None
        experts = ExpertCommands(self.config.local, self.config.experts, tiles=self.tiles)
        place(m, "expert_commands", experts)
        connect(m, flipped(self.unit.cmd), experts.i)
        m.d.comb += [experts.tile.eq(self.tile), self.table.eq(experts.table)]
        return experts

    @staticmethod
    def _merge(m, output, writer, experts):
        """Writes of which only one has any."""
        m.d.comb += [
            output.valid.eq(writer.valid | experts.valid),
            output.payload.eq(Mux(experts.valid, experts.payload.as_value(), writer.payload.as_value())),
            writer.ready.eq(output.ready),
            experts.ready.eq(output.ready),
        ]

    def _commands(self, m, finished, experts):
        """A signal that a command with something to do is transferred, that command, and, from the next cycle
        on, the same in a register."""
        unit = self.unit
        cmd = unit.cmd if experts is None else experts.o
        begin = decode(cmd.payload)
        command = Signal(VectorCommand())
        running, transfer = Signal(), Signal()
        m.d.comb += [cmd.ready.eq(~running | finished), transfer.eq(cmd.valid & cmd.ready)]
        if experts is None:
            m.d.comb += [unit.done.eq(running & finished), unit.busy.eq(running | cmd.valid)]
        else:
            m.d.comb += [
                experts.executed.eq(running & finished),
                unit.done.eq(experts.done),
                unit.busy.eq(running | unit.cmd.valid | experts.active),
            ]
        with m.If(transfer):
            m.d.sync += [command.eq(begin), running.eq(1)]
        with m.Elif(finished):
            m.d.sync += running.eq(0)
        opcode = CommandLayout()(cmd.payload).opcode
        m.d.comb += self.clear.eq(transfer & (opcode == Opcode.CLEAR))
        return transfer & works(begin) & (opcode == Opcode.VECTOR), begin, command

    def _errors(self, m, quantiser, experts):
        """Words that failed are errors."""
        failed = Signal()
        kept = quantiser.events if experts is None else Signal(ECCEvents())
        m.d.comb += failed.eq(kept.failed | self.a.valid & self.a.failed | self.b.valid & self.b.failed)
        if experts is None:
            m.d.comb += self.unit.code.eq(ErrorCode.ECC)
            m.d.sync += self.unit.error.eq(failed)
        else:
            late = Signal()
            m.d.sync += late.eq(failed)
            m.d.comb += [
                kept.as_value().eq(quantiser.events.as_value() | experts.events.as_value()),
                self.unit.error.eq(late | experts.bad),
                self.unit.code.eq(Mux(late, ErrorCode.ECC, ErrorCode.LOCAL_RANGE)),
            ]
        m.d.sync += self.events.eq(kept)

    def _read(self, m, start, begin, command, lanes, experts):
        """Operands a and b and row scalars from memory to the lanes; only those that the command uses."""
        a = place(m, "a_reader", RowReader(self.config.local))
        b = place(m, "b_reader", RowReader(self.config.local, shared=True))
        c = place(m, "c_reader", ScalarReader(self.config.local))
        port = place(m, "port", SharedPort(self.config.local))
        if experts is None:
            connect(m, flipped(self.a), a.port)
        else:
            self._switch(m, a.port, experts)
        connect(m, c.port, port.i[0])
        connect(m, b.port, port.i[1])
        connect(m, port.o, flipped(self.b))
        for reader, operand in ((a, lanes.a), (b, lanes.b), (c, lanes.c)):
            connect(m, reader.o, operand)

        rows_of = self.config.local.rows_of
        m.d.comb += [
            a.start.eq(start),
            b.start.eq(start & uses(begin, Select.B)),
            c.start.eq(start & uses(begin, Select.ROW)),
            port.start.eq(start),
            b.share.eq(command.share),
            c.base.eq(begin.c << exact_log2(LINE_WORDS)),
            c.rows.eq(command.rows),
        ]
        for reader, name in ((a, "a"), (b, "b")):
            m.d.comb += [
                reader.base.eq(rows_of(begin[name])),
                reader.stride.eq(rows_of(command[f"{name}_stride"])),
                reader.rows.eq(command.rows),
                reader.blocks.eq(command.blocks),
            ]
            if row_group(self.config.lanes) > 1:
                m.d.comb += reader.together.eq(adds_rows(command))

    def _switch(self, m, reader, experts):
        """Port a is operand a's, or that of the commands of mixtures of experts while nothing is executed."""
        m.d.comb += self.a.req.valid.eq(Mux(experts.reads, experts.port.req.valid, reader.req.valid))
        m.d.comb += self.a.req.payload.eq(Mux(experts.reads, experts.port.req.payload, reader.req.payload))
        for port, reads in ((reader, ~experts.reads), (experts.port, experts.reads)):
            m.d.comb += [
                port.req.ready.eq(self.a.req.ready & reads),
                port.valid.eq(self.a.valid & reads),
                port.data.eq(self.a.data),
            ]
            if self.config.ecc:
                m.d.comb += port.failed.eq(self.a.failed)

    def _take(self, m, command, beats, writer):
        """Hands each beat to all its takers at once, and their results to the writer; the quantiser."""
        lanes = self.config.lanes
        is_argmax, quantises = command.reduce == Reduce.ARGMAX, command.sink == Sink.QUANTISE
        reduces = (command.reduce != Reduce.NONE) & ~is_argmax
        clocked = lambda name, part, used: place(m, name, part, clock=gated_clock(m, name, used))
        quantiser = clocked(
            "quantiser", Quantiser(lanes, self.config.array.arithmetic, ecc=self.config.ecc), quantises
        )
        reducer, argmax = (
            clocked("reducer", Reducer(lanes), reduces),
            clocked("argmax", Argmax(lanes), is_argmax),
        )
        beat = beats.payload
        takers = (
            (command.sink == Sink.VMEM, writer.i_row),
            (quantises, quantiser.i),
            (reduces, reducer.i),
            (is_argmax, argmax.i),
        )
        m.d.comb += beats.ready.eq(Cat(port.ready | ~takes for takes, port in takers).all())
        m.d.comb += [port.valid.eq(beats.valid & beats.ready & takes) for takes, port in takers]

        connect(m, quantiser.o, writer.i_block)
        m.d.comb += [
            writer.i_row.payload.eq(beat.data),
            quantiser.activation.eq(command.activation),
            quantiser.i.payload.eq(beat.data),
            reducer.reduce.eq(command.reduce),
            reducer.i.payload.data.eq(beat.data),
            reducer.i.payload.last_row.eq(beat.last_row),
            reducer.i.payload.last_block.eq(beat.last_block),
            argmax.fresh.eq(command.first),
            argmax.index.eq(command.index),
            argmax.i.payload.data.eq(beat.data),
            argmax.i.payload.last.eq(beat.last),
            writer.i_result.valid.eq(reducer.o.valid | argmax.o.valid),
            writer.i_result.payload.eq(Mux(is_argmax, argmax.o.payload, reducer.o.payload)),
            reducer.o.ready.eq(writer.i_result.ready),
            argmax.o.ready.eq(writer.i_result.ready),
        ]
        return quantiser
