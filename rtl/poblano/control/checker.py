"""Refuses commands that the chip could not execute."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..isa.commands import COMMAND_BYTES, NO_UNIT, ErrorCode, Opcode
from ..isa.expressions import none_of, some
from ..isa.layout import CommandLayout
from ..isa.regions import Span

__all__ = ["CheckedLayout", "CommandChecker"]

SIZE_BITS = 41


class CheckedLayout(data.StructLayout):
    """A command and its :class:`ErrorCode`; 0: it is valid."""

    def __init__(self):
        super().__init__({"command": 8 * COMMAND_BYTES, "code": 4})


class CommandChecker(wiring.Component):
    """Checks a command by the rules and in the order of :func:`poblano.isa.check.check`.

    One command at a time: the result follows the command's transfer after 2 cycles and one for each address
    range that its opcode has (at least one; LOAD 2, VECTOR 6), and stays until it is taken.

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
        m.d.comb += [self.o.payload.command.eq(command), self.o.payload.code.eq(code)]

        # The ranges, one a cycle: the product in the first cycle, the comparison in the second.
        ranges = {opcode: self._ranges(opcode, command) for opcode in Opcode}
        step = Signal(range(max(map(len, ranges.values())) + 1))
        base, stride, rows, extent = Signal(40), Signal(32), Signal(16), Signal(32)
        size, used, exists, code_outside = Signal(SIZE_BITS), Signal(), Signal(), Signal(4)
        with m.Switch(command[:8]):
            for opcode, entries in ranges.items():
                with m.Case(opcode), m.Switch(step):
                    for i, entry in enumerate(entries):
                        with m.Case(i):
                            m.d.comb += [
                                exists.eq(1),
                                base.eq(entry.span.base),
                                stride.eq(entry.span.stride),
                                rows.eq(entry.span.rows),
                                extent.eq(entry.span.extent),
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
                m.d.sync += [code.eq(self._code_before_ranges(command)), step.eq(1)]
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

    def _code_before_ranges(self, command):
        """The code of the first rule that fails; the ranges come after these."""
        topology = self.config.topology
        header = CommandLayout()(command)
        waits = some(
            ((wait.unit != NO_UNIT) | (wait.count != 0)) & (wait.unit >= len(topology.units))
            for wait in header.waits
        )
        known, unit, field, alignment = C(0), C(0), waits, C(0)
        for opcode in Opcode:
            definition, o = opcode.definition, CommandLayout(opcode)(command)
            broken = lambda code: some(
                rule.broken(o, self.config) for rule in definition.checks if rule.code is code
            )
            is_it = header.opcode == opcode
            known |= is_it
            reserved = (command & Const(definition.reserved, len(command))).any()
            unit |= is_it & none_of(header.unit, topology.units_of(opcode.kind))
            field |= is_it & (reserved | broken(ErrorCode.FIELD))
            alignment |= is_it & broken(ErrorCode.ALIGNMENT)
        code = Mux(alignment, ErrorCode.ALIGNMENT, ErrorCode.NONE)
        for fails, its_code in ((field, ErrorCode.FIELD), (unit, ErrorCode.UNIT), (~known, ErrorCode.OPCODE)):
            code = Mux(fails, its_code, code)
        return code

    def _ranges(self, opcode, command):
        """The opcode's :class:`_Range` s in the order in which they are checked."""
        definition, o, c = opcode.definition, CommandLayout(opcode)(command), self.config
        ranges = [
            _Range(region.span(o, c), region.memory.size(c), ErrorCode.LOCAL_RANGE, region.used(o, c))
            for region in definition.local
        ]
        if definition.memory:
            ranges.append(_Range(definition.memory.span(o), self.memory_size, ErrorCode.MEMORY_RANGE))
        return ranges


@dataclass
class _Range:
    """The end of ``span`` must be at most ``size`` if the range is ``used``."""

    span: Span
    size: Value
    code: ErrorCode
    used: Value = 1
