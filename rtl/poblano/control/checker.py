"""Refuses commands that the chip could not execute."""

from dataclasses import dataclass
from functools import reduce
from operator import or_

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BLOCK, LINE_BYTES, LINE_WORDS, ChipConfig
from ..formats.element import Element
from ..isa.check import MAX_BLOCKS
from ..isa.commands import (
    COMMAND_BYTES,
    NO_UNIT,
    RESERVED,
    WAITS,
    ErrorCode,
    Opcode,
    UnitKind,
    fields_of,
    unit_kind,
)

__all__ = ["CheckedLayout", "CommandChecker"]

SIZE_BITS = 41


class CheckedLayout(data.StructLayout):
    """A command and its :class:`ErrorCode`; 0: it is valid."""

    def __init__(self):
        super().__init__({"command": 8 * COMMAND_BYTES, "code": 4})


class CommandChecker(wiring.Component):
    """Checks a command by the rules and in the order of :func:`poblano.isa.check.check`.

    Latency: 2 cycles, and one for each address range that the opcode has (at least one; LOAD 2, VECTOR
    6).

    One command at a time: the result stays until it is taken.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    memory_size : In(41), bytes of memory; stable while a command is checked.
    i : In(stream of 512 bits), the command.
    o : Out(stream of CheckedLayout)
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "memory_size": In(SIZE_BITS),
                "i": In(stream.Signature(8 * COMMAND_BYTES)),
                "o": Out(stream.Signature(CheckedLayout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, code = Signal(8 * COMMAND_BYTES), Signal(4)
        rules = _Rules(self.config, command, self.memory_size)
        m.d.comb += [self.o.payload.command.eq(command), self.o.payload.code.eq(code)]

        # The ranges, one a cycle: the product in the first cycle, the comparison in the second.
        step = Signal(range(max(map(len, rules.ranges.values())) + 1))
        rows = Signal(16)
        base, stride, extent = Signal(40), Signal(32), Signal(32)
        size, used, exists, code_outside = Signal(SIZE_BITS), Signal(), Signal(), Signal(4)
        with m.Switch(command[:8]):
            for opcode, ranges in rules.ranges.items():
                with m.Case(opcode):
                    m.d.comb += rows.eq(rules.field(opcode, "rows"))
                    with m.Switch(step):
                        for i, entry in enumerate(ranges):
                            with m.Case(i):
                                m.d.comb += [
                                    exists.eq(1),
                                    base.eq(entry.base),
                                    stride.eq(entry.stride),
                                    extent.eq(entry.extent),
                                    size.eq(entry.size),
                                    used.eq(entry.used),
                                    code_outside.eq(entry.code),
                                ]
        first, last = Signal(42), Signal(48)  # the end of the first row; from there to the end of the last
        limit, compare, code_compared = Signal(SIZE_BITS), Signal(), Signal(4)
        m.d.sync += [
            first.eq(base + extent),
            last.eq(stride * (rows - 1)[:16]),
            limit.eq(size),
            compare.eq(used),
            code_compared.eq(code_outside),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += command.eq(self.i.payload)
                    m.next = "FIELDS"
            with m.State("FIELDS"):
                m.d.sync += [code.eq(rules.code_before_ranges()), step.eq(1)]
                m.next = "RANGES"
            with m.State("RANGES"):
                m.d.sync += step.eq(step + 1)
                with m.If((code == ErrorCode.NONE) & compare & (first + last > limit)):
                    m.d.sync += code.eq(code_compared)
                with m.If(~exists):
                    m.d.sync += step.eq(0)
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m


@dataclass
class _Range:
    """``base + (rows - 1) * stride + extent`` must be at most ``size`` if the range is ``used``."""

    base: Value
    stride: Value
    extent: Value
    size: Value
    code: ErrorCode = ErrorCode.LOCAL_RANGE
    used: Value = 1


def _any(conditions):
    return reduce(or_, conditions, C(0))


class _Rules:
    """The rules as expressions over ``command``; ``ranges`` has each opcode's in the order in which they
    are checked."""

    def __init__(self, config, command, memory_size):
        self.config = config
        self.command = command
        self.memory_size = memory_size
        self.ranges = {opcode: self._ranges(opcode) for opcode in Opcode if opcode is not Opcode.NOP}

    def field(self, opcode, name):
        f = fields_of(opcode)[name]
        return self.command[f.offset : f.offset + f.width]

    def code_before_ranges(self):
        """The code of the first rule that fails; the ranges come after these."""
        opcode = self.command[:8]
        known = _any(opcode == op for op in Opcode)
        field = self._waits() | _any(
            (opcode == op) & (self._reserved(op) | self._fields(op)) for op in Opcode
        )
        alignment = _any((opcode == op) & self._alignment(op) for op in Opcode)
        return Mux(
            ~known,
            ErrorCode.OPCODE,
            Mux(
                self._unit(),
                ErrorCode.UNIT,
                Mux(field, ErrorCode.FIELD, Mux(alignment, ErrorCode.ALIGNMENT, ErrorCode.NONE)),
            ),
        )

    def _unit(self):
        opcode, unit = self.command[:8], self.command[8:16]
        matches = opcode == Opcode.NOP
        for kind in UnitKind:
            members = [u for u in range(self.config.units) if unit_kind(u) is kind]
            matches |= _any(opcode == op for op in Opcode if op.kind is kind) & unit.matches(*members)
        return (unit >= self.config.units) | ~matches

    def _waits(self):
        words = [self.command[32 * (1 + i) : 32 * (2 + i)] for i in range(WAITS)]
        return _any((word != NO_UNIT) & (word[:8] >= self.config.units) for word in words)

    def _reserved(self, opcode):
        return (self.command & Const(RESERVED[opcode], 8 * COMMAND_BYTES)).any()

    def _fields(self, opcode):
        names = fields_of(opcode)
        get = lambda name: self.field(opcode, name)
        bad = _any(
            get(name) == 0
            for name in ("rows", "lines", "k_blocks", "groups", "blocks", "row_bytes")
            if name in names
        )
        if "tiles" in names:
            bad |= (get("tiles") == 0) | (get("tiles") >= 1 << self.config.tiles)
        if "tile" in names:
            bad |= get("tile") >= self.config.tiles
        if opcode is Opcode.STORE_BLOCK:
            length, offset = get("length"), get("offset")
            bad |= (
                ~length.matches(2, 4, 8, 16, 32)
                | (offset & (length - 1)[:8]).any()
                | (offset + length > BLOCK)
            )
        if opcode is Opcode.MATMUL:
            bad |= get("rows") > self.config.tile.tokens
            arithmetic, element = self.config.tile.array.arithmetic, get("element")
            bad |= ~element.matches(*arithmetic.weights) | ~get("activation").matches(*arithmetic.activations)
            bad |= (get("scale") == 3) & ~element.matches(*arithmetic.mx_weights)
            bad |= get("minimum") & ((get("scale") != 1) | ~element.matches(Element.S4, Element.U4))
            bad |= get("transpose") & ~element.matches(*(e for e in Element if e.bits == 8))
        if opcode is Opcode.VECTOR:
            bad |= (get("sfu") > 5) | (get("op1") > 6) | (get("op2") > 6) | (get("sink") > 2)
            bad |= (get("sel1") > 2) | (get("sel2") > 2) | (get("sink") == 2) & (get("reduce") == 3)
            bad |= get("blocks") > MAX_BLOCKS
            bad |= Mux(
                get("sink") == 2,
                ~get("activation").matches(*self.config.tile.array.arithmetic.activations),
                get("activation") != 0,
            )
        return bad

    def _uses(self, select):
        """Whether a VECTOR command reads the operand that ``select`` (0: b, 1: c) stands for."""
        get = lambda name: self.field(Opcode.VECTOR, name)
        return (get("op1") != 0) & (get("sel1") == select) | (get("op2") != 0) & (get("sel2") == select)

    def _alignment(self, opcode):
        get = lambda name: self.field(opcode, name)
        lines = max(LINE_WORDS, self.config.tile.lanes) // LINE_WORDS
        segments = self.config.tile.array.segments

        def off(unit, *names):
            """Whether one of the fields is not a multiple of ``unit``, a power of two."""
            return _any((get(name) & (unit - 1)).any() for name in names)

        if opcode is Opcode.MATMUL:
            return off(segments, "a", "a_stride", "k_blocks") | off(lines, "dst", "dst_stride")
        if opcode is Opcode.VECTOR:
            return (
                off(lines, "a", "a_stride")
                | self._uses(0) & off(lines, "b", "b_stride")
                | (get("sink") == 1) & off(lines, "dst", "dst_stride")
            )
        if opcode in (Opcode.LOAD, Opcode.STORE):
            beat = self.config.memory.data_bytes
            return off(beat, "mem_addr") | (get("rows") > 1) & off(beat, "mem_stride")
        if opcode is Opcode.STREAM:
            return off(self.config.stream_bytes, "mem_addr", "mem_stride", "row_bytes")
        if opcode is Opcode.STORE_SCALE:
            return off(4, "mem_addr", "mem_stride")
        if opcode is Opcode.STORE_BLOCK:
            return ((get("mem_addr") | get("mem_stride")) & (get("length") - 1)[:8]).any()
        return C(0)

    def _ranges(self, opcode):
        get = lambda name: self.field(opcode, name)
        lines, blocks = self.config.tile.vmem_lines, self.config.tile.amem_blocks

        def local(name, extent, size, used=1):
            return _Range(get(name), get(f"{name}_stride"), extent, size, used=used)

        def memory(extent):
            return _Range(
                get("mem_addr"), get("mem_stride"), extent, self.memory_size, ErrorCode.MEMORY_RANGE
            )

        if opcode is Opcode.LOAD:
            return [local("dst", get("lines"), lines), memory(LINE_BYTES * get("lines"))]
        if opcode is Opcode.STORE:
            return [local("src", get("lines"), lines), memory(LINE_BYTES * get("lines"))]
        if opcode is Opcode.STORE_BLOCK:
            return [local("src", 1, blocks), memory(get("length"))]
        if opcode is Opcode.STORE_SCALE:
            return [local("src", 1, blocks), memory(4)]
        if opcode is Opcode.STREAM:
            return [memory(get("row_bytes"))]
        if opcode is Opcode.MATMUL:
            words = get("groups") * self.config.tile.array.cols
            return [
                local("a", get("k_blocks"), blocks),
                local("dst", (words + LINE_WORDS - 1) // LINE_WORDS, lines),
            ]
        extent = get("blocks") * (BLOCK // LINE_WORDS)
        scalars = (get("rows") + LINE_WORDS - 1) // LINE_WORDS
        return [
            local("a", extent, lines),
            local("b", extent, lines, self._uses(0)),
            local("dst", extent, lines, get("sink") == 1),
            local("dst", get("blocks"), blocks, get("sink") == 2),
            _Range(get("c"), 0, scalars, lines, used=self._uses(1)),
            _Range(get("r"), 0, Mux(get("reduce") == 3, 1, scalars), lines, used=get("reduce") != 0),
        ]
