"""Refuses commands that the chip could not execute."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BLOCK, ChipConfig, LINE_BYTES, LINE_WORDS
from .check import MAX_BLOCKS
from .commands import COMMAND_BYTES, FIELDS, NO_UNIT, WAITS, ErrorCode, Opcode, UnitKind, unit_kind

__all__ = ["CHECKED", "CommandChecker"]


CHECKED = data.StructLayout({"command": 8 * COMMAND_BYTES, "code": 4})
"""A command and its :class:`ErrorCode`."""


class CommandChecker(wiring.Component):
    """Checks a command by the rules and in the order of :func:`poblano.control.check.check`.

    One command at a time: the result follows 2 to 13 cycles after the command and stays until it is taken.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    memory_size : In(41), bytes of memory; stable while a command is checked.
    i : In(stream of 512 bits), the command.
    o : Out(stream), the command and its ErrorCode (0: it is valid).
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__({
            "memory_size": In(41),
            "i": In(stream.Signature(8 * COMMAND_BYTES)),
            "o": Out(stream.Signature(CHECKED)),
        })

    def elaborate(self, platform):
        m = Module()
        command, code = Signal(8 * COMMAND_BYTES), Signal(4)
        rules = _Rules(self.config, command)
        m.d.comb += [self.o.payload.command.eq(command), self.o.payload.code.eq(code)]

        longest = max(len(ranges) for ranges in rules.ranges.values())
        step = Signal(range(longest + 1))
        ranges = {name: Signal(width) for name, width in
                  {"base": 40, "stride": 32, "extent": 32, "size": 41, "used": 1, "memory": 1}.items()}
        product = Signal(48)
        rows = Signal(16)
        base, extent, size, used, memory = (Signal.like(ranges[name], name=f"{name}_r")
                                            for name in ("base", "extent", "size", "used", "memory"))
        end = Signal(50)
        m.d.comb += end.eq(base + product + extent)
        with m.Switch(command[:8]):
            for opcode, checks in rules.ranges.items():
                with m.Case(opcode):
                    m.d.comb += rows.eq(rules.field(opcode, "rows"))
                    with m.Switch(step):
                        for i, entry in enumerate(checks):
                            with m.Case(i):
                                entry_size = self.memory_size if entry["size"] is None else entry["size"]
                                m.d.comb += [ranges["base"].eq(entry["base"]), ranges["stride"].eq(entry["stride"]),
                                             ranges["extent"].eq(entry["extent"]), ranges["size"].eq(entry_size),
                                             ranges["used"].eq(entry["used"]), ranges["memory"].eq(entry["size"] is None)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += command.eq(self.i.payload)
                    m.next = "FIELDS"
            with m.State("FIELDS"):
                m.d.sync += [code.eq(rules.first_code()), step.eq(0)]
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [product.eq(ranges["stride"] * (rows - 1)[:16]), step.eq(step + 1), base.eq(ranges["base"]),
                             extent.eq(ranges["extent"]), size.eq(ranges["size"]), used.eq(ranges["used"]),
                             memory.eq(ranges["memory"])]
                m.next = "COMPARE"
                with m.If((code != ErrorCode.NONE) | (step == longest)):
                    m.next = "DONE"
            with m.State("COMPARE"):
                with m.If(used & (end > size)):
                    m.d.sync += code.eq(Mux(memory, ErrorCode.MEMORY_RANGE, ErrorCode.LOCAL_RANGE))
                m.next = "MULTIPLY"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m


class _Rules:
    """The rules as expressions over ``command``."""

    def __init__(self, config, command):
        self.config = config
        self.command = command
        self.ranges = {opcode: self._ranges(opcode) for opcode in Opcode if opcode is not Opcode.NOP}

    def field(self, opcode, name):
        f = next(f for f in FIELDS[opcode] if f.name == name)
        return self.command[f.offset:f.offset + f.width]

    def first_code(self):
        """The code of the first rule, before the ranges, that fails."""
        opcode = self.command[:8]
        known = Const(0)
        unit, field, alignment = self._unit(), self._waits(), Const(0)
        for op in Opcode:
            is_op = opcode == op
            known |= is_op
            field |= is_op & (self._reserved(op) | self._fields(op))
            alignment |= is_op & self._alignment(op)
        return Mux(~known, ErrorCode.OPCODE, Mux(unit, ErrorCode.UNIT, Mux(field, ErrorCode.FIELD,
                   Mux(alignment, ErrorCode.ALIGNMENT, ErrorCode.NONE))))

    def _unit(self):
        unit, opcode = self.command[8:16], self.command[:8]
        matches = opcode == Opcode.NOP
        for kind in UnitKind:
            members = [u for u in range(self.config.units) if unit_kind(u) is kind]
            of_kind = Const(0)
            for op in Opcode:
                if op.kind is kind:
                    of_kind |= opcode == op
            matches |= of_kind & unit.matches(*members)
        return (unit >= self.config.units) | ~matches

    def _waits(self):
        bad = Const(0)
        for i in range(WAITS):
            word = self.command[32 * (1 + i):32 * (2 + i)]
            bad |= (word != NO_UNIT) & (word[:8] >= self.config.units)
        return bad

    def _reserved(self, opcode):
        known = (1 << 16) - 1 | ((1 << 32 * WAITS) - 1) << 32
        for f in FIELDS[opcode]:
            known |= ((1 << f.width) - 1) << f.offset
        return (self.command & Const(~known & (1 << 8 * COMMAND_BYTES) - 1, 8 * COMMAND_BYTES)).any()

    def _fields(self, opcode):
        names = {f.name for f in FIELDS[opcode]}
        get = lambda name: self.field(opcode, name)
        bad = Const(0)
        for name in ("rows", "lines", "k_blocks", "groups", "blocks", "row_bytes"):
            if name in names:
                bad |= get(name) == 0
        if "tiles" in names:
            bad |= (get("tiles") == 0) | (get("tiles") >= 1 << self.config.tiles)
        if "tile" in names:
            bad |= get("tile") >= self.config.tiles
        if opcode is Opcode.STORE_BLOCK:
            length, offset = get("length"), get("offset")
            bad |= ~length.matches(2, 4, 8, 16, 32) | (offset & (length - 1)[:8]).any() | (offset + length > 32)
        if opcode is Opcode.MATMUL:
            bad |= get("rows") > self.config.tile.tokens
            bad |= (get("element") == 3) | (get("scale") == 3)
            bad |= get("minimum") & (get("scale") != 1) | get("transpose") & (get("element") != 0)
        if opcode is Opcode.VECTOR:
            bad |= (get("sfu") > 5) | (get("op1") > 6) | (get("op2") > 6) | (get("sink") > 2)
            bad |= (get("sel1") > 2) | (get("sel2") > 2) | (get("sink") == 2) & (get("reduce") == 3)
            bad |= get("blocks") > MAX_BLOCKS
        return bad

    def _uses(self, select):
        """Whether a VECTOR command reads the operand that ``select`` (0: b, 1: c) stands for."""
        get = lambda name: self.field(Opcode.VECTOR, name)
        return (get("op1") != 0) & (get("sel1") == select) | (get("op2") != 0) & (get("sel2") == select)

    def _alignment(self, opcode):
        get = lambda name: self.field(opcode, name)
        lines = max(LINE_WORDS, self.config.tile.lanes) // LINE_WORDS
        segments = self.config.tile.array.segments
        low = lambda names, unit: Cat(*(get(name)[:(unit - 1).bit_length()] for name in names)).any() if unit > 1 else Const(0)
        if opcode is Opcode.MATMUL:
            return low(("a", "a_stride", "k_blocks"), segments) | low(("dst", "dst_stride"), lines)
        if opcode is Opcode.VECTOR:
            return (low(("a", "a_stride"), lines) | self._uses(0) & low(("b", "b_stride"), lines)
                    | (get("sink") == 1) & low(("dst", "dst_stride"), lines))
        memory = ("mem_addr", "mem_stride")
        if opcode in (Opcode.LOAD, Opcode.STORE):
            return low(memory, self.config.memory.data_bytes)
        if opcode is Opcode.STREAM:
            return low((*memory, "row_bytes"), self.config.stream_bytes)
        if opcode is Opcode.STORE_SCALE:
            return low(memory, 4)
        if opcode is Opcode.STORE_BLOCK:
            mask = (get("length") - 1)[:6]
            return ((get("mem_addr") | get("mem_stride")) & mask).any()
        return Const(0)

    def _ranges(self, opcode):
        """The address ranges of an opcode in the order in which they are checked; size None is the memory's."""
        get = lambda name: self.field(opcode, name)
        lines, blocks = self.config.tile.vmem_lines, self.config.tile.amem_blocks
        entry = lambda base, stride, extent, size, used=1: dict(base=base, stride=stride, extent=extent, size=size, used=used)
        memory = lambda extent: entry(get("mem_addr"), get("mem_stride"), extent, None)
        if opcode is Opcode.LOAD:
            return [entry(get("dst"), get("dst_stride"), get("lines"), lines), memory(LINE_BYTES * get("lines"))]
        if opcode is Opcode.STORE:
            return [entry(get("src"), get("src_stride"), get("lines"), lines), memory(LINE_BYTES * get("lines"))]
        if opcode is Opcode.STORE_BLOCK:
            return [entry(get("src"), get("src_stride"), 1, blocks), memory(get("length"))]
        if opcode is Opcode.STORE_SCALE:
            return [entry(get("src"), get("src_stride"), 1, blocks), memory(4)]
        if opcode is Opcode.STREAM:
            return [memory(get("row_bytes"))]
        if opcode is Opcode.MATMUL:
            words = get("groups") * self.config.tile.array.cols
            return [entry(get("a"), get("a_stride"), get("k_blocks"), blocks),
                    entry(get("dst"), get("dst_stride"), (words + LINE_WORDS - 1) // LINE_WORDS, lines)]
        extent = get("blocks") * (BLOCK // LINE_WORDS)
        scalars = (get("rows") + LINE_WORDS - 1) // LINE_WORDS
        reduced = Mux(get("reduce") == 3, 1, scalars)
        return [entry(get("a"), get("a_stride"), extent, lines),
                entry(get("b"), get("b_stride"), extent, lines, self._uses(0)),
                entry(get("dst"), get("dst_stride"), extent, lines, get("sink") == 1),
                entry(get("dst"), get("dst_stride"), get("blocks"), blocks, get("sink") == 2),
                entry(get("c"), 0, scalars, lines, self._uses(1)),
                entry(get("r"), 0, reduced, lines, get("reduce") != 0)]
