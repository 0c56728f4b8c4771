"""Refuses commands that the chip could not execute."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..isa.commands import COMMAND_BYTES, NO_UNIT, ErrorCode, Opcode
from ..isa.expressions import none_of, some
from ..isa.header import LOCAL_BITS
from ..isa.layout import CommandLayout
from ..isa.regions import Range, Span, usable
from ..verilog import place
from .divider import Divider

__all__ = ["CheckedLayout", "CommandChecker"]

SIZE_BITS = 41


class CheckedLayout(data.StructLayout):
    """A command and its :class:`ErrorCode`; 0: it is valid."""

    def __init__(self):
        super().__init__({"command": 8 * COMMAND_BYTES, "code": 4})


@dataclass
class _Step:
    """A range that is checked: ``span`` must end at ``size`` or before, if the command has it (``used``).

    ``crowded``: its rows overlap and must not. It is kept as number ``keep`` (None: it is not), and must
    have no address in common with the kept ranges of ``against``, numbers and whether equal rows may.
    """

    span: Span
    size: ValueLike
    code: ErrorCode
    used: ValueLike = 1
    crowded: ValueLike = 0
    keep: int | None = None
    against: tuple = ()


class CommandChecker(wiring.Component):
    """Checks a command by the rules and in the order of :func:`poblano.isa.check.check`.

    Latency: 3 cycles, and one for each address range that the opcode has (NOP 0, LOAD 2, VECTOR 6).

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
        fresh = Signal()  # the first cycle of a command
        operands = {opcode: self._operands(m, opcode, command) for opcode in Opcode}
        steps = {opcode: self._steps(opcode, o) for opcode, o in operands.items()}
        step = Signal(range(max(map(len, steps.values())) + 1))
        busy = Signal()  # a command is checked
        more, late, end = self._range(m, command, steps, step, busy)
        outside, overlaps = self._compare(m, late, end, fresh)
        overlap = Signal()  # of this command's ranges
        m.d.comb += [
            self.o.payload.command.eq(command),
            self.o.payload.code.eq(Mux((code == ErrorCode.NONE) & overlap, ErrorCode.OVERLAP, code)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += command.eq(self.i.payload)
                    m.next = "FIELDS"
            with m.State("FIELDS"):
                m.d.comb += [fresh.eq(1), busy.eq(1)]
                m.d.sync += [code.eq(self._code_before_ranges(command, operands)), overlap.eq(0), step.eq(1)]
                m.next = "RANGES"
            with m.State("RANGES"):
                m.d.comb += busy.eq(1)
                m.d.sync += [step.eq(step + 1), overlap.eq(overlap | overlaps)]
                with m.If((code == ErrorCode.NONE) & outside):
                    m.d.sync += code.eq(late.code)
                with m.If(~more):
                    m.d.sync += step.eq(0)
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m

    def _code_before_ranges(self, command, operands):
        """The code of the first rule that fails; the ranges come after these."""
        topology = self.config.topology
        header = CommandLayout()(command)
        waits = some(
            ((wait.unit != NO_UNIT) | (wait.count != 0)) & (wait.unit >= len(topology.units))
            for wait in header.waits
        )
        known, unit, field, alignment = C(0), C(0), waits, C(0)
        for opcode in Opcode:
            definition, o = opcode.definition, operands[opcode]
            broken = lambda code: some(
                rule.broken(o, self.config) for rule in definition.checks if rule.code is code
            )
            is_it = header.opcode == opcode
            reserved = (command & Const(definition.reserved, len(command))).any()
            known |= is_it
            unit |= is_it & none_of(header.unit, topology.units_of(opcode.kind))
            field |= is_it & (reserved | broken(ErrorCode.FIELD))
            alignment |= is_it & broken(ErrorCode.ALIGNMENT)
        code = Mux(alignment, ErrorCode.ALIGNMENT, ErrorCode.NONE)
        for fails, its_code in ((field, ErrorCode.FIELD), (unit, ErrorCode.UNIT), (~known, ErrorCode.OPCODE)):
            code = Mux(fails, its_code, code)
        return code

    def _operands(self, m, opcode, command):
        """What expressions want of the command if it is ``opcode``'s; divisions begin when it is taken."""
        early, view = (CommandLayout(opcode)(bits) for bits in (self.i.payload, command))
        names = opcode.definition.field

        def divide(dividend, divisor):
            divider = place(m, f"divider_{opcode.name.lower()}", Divider())
            m.d.comb += [
                divider.start.eq(self.i.valid & self.i.ready),
                divider.dividend.eq(early[dividend]),
                divider.divisor.eq(early[divisor]),
            ]
            return divider.o

        return opcode.definition.operands({name: view[name] for name in ("unit", *names)}, divide)

    def _steps(self, opcode, o):
        """The opcode's :class:`_Step` s in the order in which they are checked."""
        definition, c = opcode.definition, self.config
        kept = sorted({pair.first for pair in definition.pairs})
        steps = []
        for n, region in enumerate(definition.local):
            span = region.span(o, c)
            against = tuple(
                (kept.index(pair.first), pair.in_place, definition.writes_own(o, c) if pair.own else 1)
                for pair in definition.pairs
                if pair.second == n
            )
            steps.append(
                _Step(
                    span,
                    region.memory.size(c),
                    ErrorCode.LOCAL_RANGE,
                    region.used(o, c),
                    span.crowded if region.apart else 0,
                    kept.index(n) if n in kept else None,
                    against,
                )
            )
        if definition.memory:
            size = usable(self.memory_size, c)
            steps.append(_Step(definition.memory.span(o), size, ErrorCode.MEMORY_RANGE))
        return steps

    def _range(self, m, command, steps, step, busy):
        """Range number ``step`` of the command: in the next cycle whether there is one, in that after it what
        is compared of it, and the end of its last row. While not ``busy`` there is none."""
        kept = 1 + max(s.keep for of_opcode in steps.values() for s in of_opcode if s.keep is not None)
        compared = data.StructLayout(
            {
                "base": LOCAL_BITS,
                "stride": LOCAL_BITS,
                "rows": 16,
                "size": SIZE_BITS,
                "used": 1,
                "code": 4,
                "crowded": 1,
                "keep": kept,
                "against": kept,
                "in_place": kept,
            }
        )
        exists, more = Signal(), Signal()
        now, picked, late = Signal(compared), Signal(compared), Signal(compared)
        span = data.StructLayout({"base": 40, "stride": 32, "extent": 32})
        here, where = Signal(span), Signal(span)  # of now, of picked
        with m.Switch(CommandLayout()(command).opcode):
            for opcode, entries in steps.items():
                with m.Case(opcode), m.Switch(step):
                    for n, entry in enumerate(entries):
                        with m.Case(n):
                            m.d.comb += [
                                exists.eq(1),
                                here.base.eq(entry.span.base),
                                here.stride.eq(entry.span.stride),
                                here.extent.eq(entry.span.extent),
                                now.rows.eq(entry.span.rows),
                                now.size.eq(entry.size),
                                now.used.eq(entry.used),
                                now.code.eq(entry.code),
                                now.crowded.eq(entry.used & entry.crowded),
                            ]
                            if entry.keep is not None:
                                m.d.comb += now.keep[entry.keep].eq(1)
                            for number, in_place, applies in entry.against:
                                m.d.comb += [
                                    now.against[number].eq(entry.used & applies),
                                    now.in_place[number].eq(in_place),
                                ]
        first, last = Signal(42), Signal(48)  # the end of the first row; from there to the end of the last
        m.d.comb += [now.base.eq(here.base), now.stride.eq(here.stride)]
        m.d.sync += [
            more.eq(exists & busy),
            picked.eq(now),
            where.eq(here),
            late.eq(picked),
            first.eq(where.base + where.extent),
            last.eq(where.stride * (picked.rows - 1)[:16]),
        ]
        with m.If(~busy):
            m.d.sync += [picked.used.eq(0), picked.crowded.eq(0)]
        return more, late, first + last

    def _compare(self, m, late, end, fresh):
        """Whether a range passes the end of its memory; whether it overlaps, itself or one that is kept."""
        new = Range(late.base, end[: LOCAL_BITS + 1], late.stride, late.rows)
        overlaps = [late.crowded]
        for n in range(len(late.keep)):
            valid = Signal(name=f"kept{n}_valid")
            old = Range(*(Signal(len(part), name=f"kept{n}_{name}") for name, part in new._asdict().items()))
            with m.If(fresh):
                m.d.sync += valid.eq(0)
            with m.Elif(late.keep[n]):
                m.d.sync += [valid.eq(late.used), *(kept.eq(part) for kept, part in zip(old, new))]
            overlaps.append(valid & late.against[n] & old.meets(new) & ~(late.in_place[n] & old.same(new)))
        return late.used & (end > late.size), Cat(overlaps).any()
