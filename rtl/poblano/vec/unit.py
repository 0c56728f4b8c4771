"""The vector unit: executes VECTOR commands."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import BLOCK, ChipConfig, LINE_WORDS
from ..control.commands import FIELDS, Opcode
from ..interfaces import UnitSignature, bus_write, local_write, vmem_port
from ..vector.ops import AluOp
from ..verilog import place
from .argmax import ArgMax
from .lane import VectorLane
from .quantiser import Quantiser
from .reducer import Reducer

__all__ = ["VectorUnit"]

MINUS_INFINITY = 0xFF800000
NO_LIMIT = 0xFFFF
VMEM, QUANTISE = 1, 2
SUM, MAXIMUM, ARGMAX = 1, 2, 3


def _row(line, lanes, width):
    """The vector-memory row where ``line`` starts."""
    if lanes <= LINE_WORDS:
        return (line << exact_log2(LINE_WORDS // lanes))[:width]
    return (line >> exact_log2(lanes // LINE_WORDS))[:width]


class _Walk(wiring.Component):
    """Addresses of ``rows`` rows of ``beats`` consecutive places from ``base``, ``stride`` apart.

    Members: start, In(1), loads the other inputs; next, In(1), moves on; addr, Out; row, Out(16); first and last, Out(1), of
    the row; valid, Out(1), until the last place of the last row has been passed.
    """

    def __init__(self, *, width):
        self.width = width
        super().__init__({
            "start": In(1), "base": In(width), "stride": In(width), "rows": In(16), "beats": In(16), "next": In(1),
            "addr": Out(width), "row": Out(16), "beat": Out(16), "first": Out(1), "last": Out(1), "final": Out(1),
            "valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        row_base = Signal(self.width)
        m.d.comb += [self.first.eq(self.beat == 0), self.last.eq(self.beat == self.beats - 1),
                     self.final.eq(self.last & (self.row == self.rows - 1))]
        with m.If(self.start):
            m.d.sync += [self.addr.eq(self.base), row_base.eq(self.base), self.row.eq(0), self.beat.eq(0), self.valid.eq(1)]
        with m.Elif(self.next & self.valid):
            m.d.sync += [self.addr.eq(self.addr + 1), self.beat.eq(self.beat + 1)]
            with m.If(self.last):
                m.d.sync += [self.addr.eq(row_base + self.stride), row_base.eq(row_base + self.stride), self.beat.eq(0),
                             self.row.eq(self.row + 1)]
            with m.If(self.final):
                m.d.sync += self.valid.eq(0)
        return m


class _Reader(wiring.Component):
    """Requests what a :class:`_Walk` says and what there is room for; ``scalars`` puts a row's scalar before the row."""

    DEPTH = 8

    def __init__(self, *, port_signature):
        self.port_signature = port_signature
        width = port_signature.members["req"].signature.members["payload"].shape
        self._width = Shape.cast(width).width
        self._data = Shape.cast(port_signature.members["data"].shape).width
        super().__init__({
            "start": In(1), "base": In(self._width), "stride": In(self._width), "rows": In(16), "beats": In(16),
            "vectors": In(1), "scalars": In(1), "scalar_base": In(self._width),
            "port": Out(port_signature), "o": Out(stream.Signature(self._data)),
        })

    def elaborate(self, platform):
        m = Module()
        walk = place(m, "walk", _Walk(width=self._width))
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=self._data, depth=self.DEPTH)
        room = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        lanes_bits = exact_log2(self._data // 32)
        scalar_done = Signal()
        wants_scalar = Signal()
        active = Signal()
        m.d.comb += [
            walk.start.eq(self.start), walk.base.eq(self.base), walk.stride.eq(self.stride), walk.rows.eq(self.rows),
            walk.beats.eq(Mux(self.vectors, self.beats, 1)),
            wants_scalar.eq(self.scalars & walk.first & ~scalar_done),
            active.eq(walk.valid & (self.vectors | self.scalars)),
            self.port.req.valid.eq(active & (room != 0)),
            self.port.req.payload.eq(Mux(wants_scalar, self.scalar_base + (walk.row >> lanes_bits), walk.addr)),
        ]
        sent = self.port.req.valid & self.port.req.ready
        with m.If(sent):
            m.d.sync += scalar_done.eq(wants_scalar & self.vectors)
            m.d.comb += walk.next.eq(~wants_scalar | ~self.vectors)
        with m.If(self.start):
            m.d.sync += scalar_done.eq(0)
        m.d.sync += room.eq(room - sent + (fifo.r_en & fifo.r_rdy))
        m.d.comb += [fifo.w_data.eq(self.port.data), fifo.w_en.eq(self.port.valid), self.o.payload.eq(fifo.r_data),
                     self.o.valid.eq(fifo.r_rdy), fifo.r_en.eq(self.o.ready)]
        return m


class VectorUnit(wiring.Component):
    """Executes VECTOR commands as ``docs/architecture.md``, Numbers/Vector, defines them, one after the other.

    A beat of ``lanes`` elements a cycle when operands come and results are taken; a command takes about 50 cycles more, and
    a cycle more for each row with a row scalar.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    tile : In(5), the number of the unit's tile; constant.
    unit : In(UnitSignature())
    a, b : Out(ReadPortSignature), vector memory.
    local : Out(stream of LocalWrite), results for the own tile alone; bus : Out(stream of BusWrite), all others.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__({
            "tile": In(5),
            "unit": In(UnitSignature()),
            "a": Out(vmem_port(config)),
            "b": Out(vmem_port(config)),
            "local": Out(stream.Signature(local_write(config))),
            "bus": Out(stream.Signature(bus_write(config))),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, width = self.config.tile.lanes, self.config.tile.vmem_addr_width
        beats_per_block = BLOCK // lanes
        command = Signal(512)
        field = {f.name: command[f.offset:f.offset + f.width] for f in FIELDS[Opcode.VECTOR]}
        beats = Signal(16)
        m.d.comb += beats.eq(field["blocks"] << exact_log2(beats_per_block))
        start, running = Signal(), Signal()
        unit = self.unit
        uses = lambda select: ((field["op1"] != 0) & (field["sel1"] == select) | (field["op2"] != 0) & (field["sel2"] == select))
        works = (field["sink"] != 0) | (field["reduce"] != 0)
        use_b, use_c = Signal(), Signal()
        m.d.comb += [use_b.eq(uses(0)), use_c.eq(uses(1))]

        # Operands.
        read_a = place(m, "read_a", _Reader(port_signature=vmem_port(self.config)))
        read_b = place(m, "read_b", _Reader(port_signature=vmem_port(self.config)))
        connect(m, flipped(self.a), read_a.port)
        connect(m, flipped(self.b), read_b.port)
        for reader, name in ((read_a, "a"), (read_b, "b")):
            m.d.comb += [reader.start.eq(start & works), reader.base.eq(_row(field[name], lanes, width)),
                         reader.stride.eq(_row(field[f"{name}_stride"], lanes, width)), reader.rows.eq(field["rows"]),
                         reader.beats.eq(beats)]
        m.d.comb += [read_a.vectors.eq(1), read_b.vectors.eq(use_b), read_b.scalars.eq(use_c),
                     read_b.scalar_base.eq(_row(field["c"], lanes, width))]

        # Issue a beat into the lanes.
        issue = place(m, "issue", _Walk(width=width))
        scalar, have_scalar = Signal(32), Signal()
        limit = Signal(33)
        en, go = Signal(), Signal()
        take_scalar = Signal()
        m.d.comb += [
            issue.start.eq(start & works), issue.rows.eq(field["rows"]), issue.beats.eq(beats),
            take_scalar.eq(issue.valid & use_c & ~have_scalar & read_b.o.valid),
            go.eq(issue.valid & read_a.o.valid & (~use_b | read_b.o.valid) & (~use_c | have_scalar)),
            issue.next.eq(go & en),
            read_a.o.ready.eq(go & en),
            read_b.o.ready.eq(take_scalar | go & en & use_b),
        ]
        words = [read_b.o.payload.word_select(n, 32) for n in range(lanes)]
        with m.If(take_scalar):
            with m.Switch(issue.row[:exact_log2(lanes)]):
                for n in range(lanes):
                    with m.Case(n):
                        m.d.sync += scalar.eq(words[n])
            m.d.sync += have_scalar.eq(1)
        with m.If(go & en & issue.last):
            m.d.sync += [have_scalar.eq(0), limit.eq(limit + field["limit_step"])]
        with m.If(start):
            m.d.sync += [have_scalar.eq(0), limit.eq(field["limit"])]
        fill = Mux(field["fill"], MINUS_INFINITY, 0)
        column = Signal(21)
        m.d.comb += column.eq(issue.beat << exact_log2(lanes))
        results = []
        for n in range(lanes):
            lane = place(m, f"lane{n}", VectorLane())
            a = Mux(field["swap"], read_a.o.payload.word_select(n ^ 1, 32), read_a.o.payload.word_select(n, 32))
            beyond = (field["limit"] != NO_LIMIT) & ((column | n) >= limit)

            def second(select, immediate):
                return Mux(select == 0, words[n], Mux(select == 1, scalar, immediate))
            m.d.comb += [
                lane.a.eq(Mux(beyond, fill, a)), lane.y1.eq(second(field["sel1"], field["imm1"])),
                lane.y2.eq(second(field["sel2"], field["imm2"])), lane.op1.eq(field["op1"]), lane.sfu.eq(field["sfu"]),
                lane.op2.eq(field["op2"]), lane.en.eq(en),
            ]
            results.append(lane.x)
        valid = go
        for n in range(VectorLane.LATENCY):
            later = Signal(name=f"valid_{n}")
            with m.If(en):
                m.d.sync += later.eq(valid)
            valid = later
        x = Signal(32 * lanes)
        m.d.comb += x.eq(Cat(results))

        # Sinks. A beat leaves the lanes when every selected one takes it.
        quantiser = place(m, "quantiser", Quantiser(lanes=lanes))
        reducer = place(m, "reducer", Reducer(lanes=lanes))
        argmax = place(m, "argmax", ArgMax(lanes=lanes))
        out = place(m, "out", _Walk(width=width))
        blocks = place(m, "blocks", _Walk(width=self.config.tile.amem_addr_width))
        to_vmem, to_quantiser = field["sink"] == VMEM, field["sink"] == QUANTISE
        reduces, searches = field["reduce"].matches(SUM, MAXIMUM), field["reduce"] == ARGMAX
        vmem, vmem_ready, leave, leave_last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            leave.eq(valid & (~to_vmem | vmem_ready) & (~to_quantiser | quantiser.i.ready) & (~reduces | reducer.i.ready)),
            en.eq(~valid | leave),
            vmem.eq(valid & to_vmem & (~reduces | reducer.i.ready)),
            quantiser.i.valid.eq(valid & to_quantiser & (~reduces | reducer.i.ready)),
            quantiser.i.payload.eq(x),
            reducer.i.valid.eq(valid & reduces & (~to_vmem | vmem_ready) & (~to_quantiser | quantiser.i.ready)),
            reducer.i.payload.data.eq(x),
            reducer.i.payload.first.eq(out.beat < beats_per_block),
            reducer.i.payload.last.eq(out.beat >= beats - beats_per_block),
            reducer.maximum.eq(field["reduce"] == MAXIMUM),
            argmax.i.valid.eq(leave & searches), argmax.i.payload.eq(x),
            argmax.begin.eq(start & works & searches), argmax.index.eq(field["index"]), argmax.first.eq(field["first"]),
            argmax.end.eq(leave_last),
            out.start.eq(start & works), out.base.eq(_row(field["dst"], lanes, width)),
            out.stride.eq(_row(field["dst_stride"], lanes, width)), out.rows.eq(field["rows"]), out.beats.eq(beats),
            out.next.eq(leave),
            blocks.start.eq(start & to_quantiser), blocks.base.eq(field["dst"][:blocks.width]),
            blocks.stride.eq(field["dst_stride"][:blocks.width]), blocks.rows.eq(field["rows"]),
            blocks.beats.eq(field["blocks"]),
        ]
        m.d.sync += leave_last.eq(leave & out.final & searches)

        # One write at a time, from a register, so that it stays while it waits.
        reduced_row, reductions_left = Signal(16), Signal(17)
        write, write_valid, write_ready = Signal(local_write(self.config)), Signal(), Signal()
        takes = Signal()
        argmax_left = Signal()
        m.d.comb += takes.eq(~write_valid | write_ready)
        with m.If(takes):
            m.d.sync += write_valid.eq(0)
            with m.If(reducer.o.valid | argmax_left & argmax.ready):
                row = _row(field["r"], lanes, width)
                m.d.comb += reducer.o.ready.eq(1)
                m.d.sync += [
                    write_valid.eq(1), write.space.eq(0),
                    write.addr.eq(row + Mux(searches, 0, reduced_row >> exact_log2(lanes))),
                    write.mask.eq(Mux(searches, 3, 1 << reduced_row[:exact_log2(lanes)])),
                    write.data.eq(Mux(searches, Cat(argmax.value, argmax.at), reducer.o.payload.replicate(lanes))),
                    reduced_row.eq(reduced_row + 1), reductions_left.eq(reductions_left - 1), argmax_left.eq(0),
                ]
            with m.Elif(quantiser.o.valid):
                m.d.comb += [quantiser.o.ready.eq(1), blocks.next.eq(1)]
                m.d.sync += [write_valid.eq(1), write.space.eq(1), write.addr.eq(blocks.addr), write.data.eq(quantiser.o.payload)]
            with m.Elif(vmem):
                m.d.comb += vmem_ready.eq(1)
                m.d.sync += [write_valid.eq(1), write.space.eq(0), write.addr.eq(out.addr), write.mask.eq(-1),
                             write.data.eq(x)]
        with m.If(start):
            m.d.sync += [reduced_row.eq(0), reductions_left.eq(Mux(reduces, field["rows"], 0)), argmax_left.eq(searches)]
        own = Signal(self.config.tiles)
        m.d.comb += [
            own.eq(1 << self.tile),
            self.local.payload.eq(write), self.bus.payload.write.eq(write), self.bus.payload.tiles.eq(field["tiles"]),
            self.local.valid.eq(write_valid & (field["tiles"] == own)), self.bus.valid.eq(write_valid & (field["tiles"] != own)),
            write_ready.eq(Mux(field["tiles"] == own, self.local.ready, self.bus.ready)),
        ]

        pending = issue.valid | out.valid | blocks.valid | (reductions_left != 0) | argmax_left | write_valid
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += unit.cmd.ready.eq(1)
                with m.If(unit.cmd.valid):
                    m.d.sync += command.eq(unit.cmd.payload)
                    m.next = "START"
            with m.State("START"):
                m.d.comb += start.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(~pending):
                    m.d.comb += unit.done.eq(1)
                    m.next = "IDLE"
        m.d.comb += [
            unit.idle.eq(1), unit.busy.eq(running | start),
            unit.stall_in.eq(running & issue.valid & ~go & en), unit.stall_out.eq(running & valid & ~leave),
        ]
        return m
