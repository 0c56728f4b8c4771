"""Refuses commands that the chip could not execute."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi.paging import PAGE_ALIGNMENT
from ..config import ChipConfig
from ..isa.commands import COMMAND_BYTES, NO_UNIT, ErrorCode, Opcode
from ..isa.expressions import none_of, some
from ..isa.header import LOCAL_BITS
from ..isa.layout import CommandLayout
from ..isa.opcodes import opcodes_of
from ..isa.regions import PageLimits, Range, Span
from ..stream.select import select
from ..verilog import place
from .divider import Divider
from .page_registers import PageLimitsLayout

__all__ = ["CheckedLayout", "CommandChecker"]

SIZE_BITS = 41
AHEAD = 2
"""Cycles from a range's number to whether there is one."""


class CheckedLayout(data.StructLayout):
    """A command and its :class:`ErrorCode`; 0: it is valid."""

    def __init__(self):
        super().__init__({"command": 8 * COMMAND_BYTES, "code": 4})


@dataclass
class _Step:
    """A range that is checked: ``span`` must end at ``size`` or before, if the command has it (``used``).

    ``apart``: its rows must not overlap. It is kept as number ``keep`` (None: it is not), and must
    have no address in common with the kept ranges of ``against``, numbers and whether equal rows may.
    """

    span: Span
    size: ValueLike
    code: ErrorCode
    used: ValueLike = 1
    apart: ValueLike = 0
    keep: int | None = None
    against: tuple = ()


class CommandChecker(wiring.Component):
    """Checks a command by the rules and in the order of :func:`poblano.isa.check.check`.

    Latency: 5 cycles, and one for each address range that the opcode has (NOP 0, LOAD 2, VECTOR 6).

    One command at a time: the result stays until it is taken.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    memory_size : In(41), bytes of memory; stable while a command is checked.
    pages : In(PageLimitsLayout), with page tables: what a page and each slot have; stable too
    home_end : In(32), with page tables and several homes: bytes of each that are not of pages, divided by
        4,096; stable too
    i : In(stream of 512 bits), the command.
    o : Out(stream of CheckedLayout)
    """

    LATENCY = 5
    """Cycles beside one for each range."""

    def __init__(self, config: ChipConfig):
        self.config = config
        paging = config.memory.paging
        super().__init__(
            ({} if paging is None else {"pages": In(PageLimitsLayout(paging))})
            | ({} if paging is None or paging.homes == 1 else {"home_end": In(32)})
            | {
                "memory_size": In(SIZE_BITS),
                "i": In(stream.Signature(8 * COMMAND_BYTES)),
                "o": Out(stream.Signature(CheckedLayout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, code = Signal(8 * COMMAND_BYTES), Signal(4)
        paging = self.config.memory.paging
        limits = None if paging is None else self._limits(m, command, paging)
        fresh = Signal()  # the first cycle of a command
        operands = {opcode: self._operands(m, opcode, command) for opcode in opcodes_of(self.config)}
        steps = {opcode: self._steps(opcode, o, limits) for opcode, o in operands.items()}
        step = Signal(range(max(map(len, steps.values())) + AHEAD + 1))
        busy = Signal()  # a command is checked
        more, late, crowded, end = self._range(m, command, steps, step, busy)
        outside, overlaps = self._compare(m, late, crowded, end, fresh)
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
                m.d.comb += fresh.eq(1)
                m.d.sync += [code.eq(self._code_before_ranges(command, operands)), overlap.eq(0)]
                m.next = "RANGES"
            with m.State("RANGES"):
                m.d.comb += busy.eq(1)
                m.d.sync += [step.eq(step + 1), overlap.eq(overlap | overlaps)]
                with m.If((code == ErrorCode.NONE) & outside):
                    m.d.sync += code.eq(late.code)
                with m.If((step >= AHEAD) & ~more):
                    m.d.sync += step.eq(0)
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m

    def _limits(self, m, command, paging):
        """The :class:`~..isa.regions.PageLimits` of the slot that a command names."""
        counts = self.pages.counts
        address = CommandLayout(Opcode.STREAM)(command).mem_addr  # all commands of memory have it there
        slot, count = Signal(range(paging.slots)), Signal(counts.shape().elem_shape)
        m.d.comb += slot.eq(paging.slot(address))
        m.d.sync += count.eq(counts[slot])
        home = self.home_end * PAGE_ALIGNMENT if paging.homes > 1 else None
        return PageLimits(self.pages.bytes, count, home)

    def _code_before_ranges(self, command, operands):
        """The code of the first rule that fails; the ranges come after these."""
        topology = self.config.topology
        header = CommandLayout()(command)
        waits = some(
            ((wait.unit != NO_UNIT) | (wait.count != 0)) & (wait.unit >= len(topology.units))
            for wait in header.waits
        )
        known, unit, field, alignment = C(0), C(0), waits, C(0)
        for opcode in opcodes_of(self.config):
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

        def keep(name, width, value):
            kept = Signal(width, name=f"{opcode.name.lower()}_{name}")
            m.d.sync += kept.eq(value)
            return kept

        return opcode.definition.operands({name: view[name] for name in ("unit", *names)}, divide, keep)

    def _steps(self, opcode, o, limits):
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
                    int(region.apart),
                    kept.index(n) if n in kept else None,
                    against,
                )
            )
        if definition.memory:
            parts = definition.memory.within(o, c, self.memory_size, limits)
            steps += [_Step(span, size, ErrorCode.MEMORY_RANGE) for span, size in parts]
        if home := definition.home_span(o, c):
            steps.append(_Step(home, c.memory.home_bytes, ErrorCode.HOME))
        return steps

    def _range(self, m, command, steps, step, busy):
        """Range number ``step`` of the command: :data:`AHEAD` cycles later whether there is one, in the next
        what is compared of it, and the end of its last row. While not ``busy`` there is none."""
        kept = 1 + max(s.keep for of_opcode in steps.values() for s in of_opcode if s.keep is not None)
        compared = data.StructLayout(
            {
                "base": LOCAL_BITS,
                "stride": LOCAL_BITS,
                "rows": 16,
                "size": SIZE_BITS,
                "used": 1,
                "code": 4,
                "apart": 1,
                "keep": kept,
                "against": kept,
                "in_place": kept,
            }
        )
        span = data.StructLayout({"base": 40, "stride": 32, "extent": 32})
        entries = [(opcode, n) for opcode, of_opcode in steps.items() for n in range(len(of_opcode))]
        choices = []
        for opcode, n in entries:
            entry = steps[opcode][n]
            whole, part = (
                Signal(shape, name=f"{opcode.name.lower()}{n}_{name}")
                for shape, name in ((span, "span"), (compared, "compared"))
            )
            m.d.comb += [
                whole.base.eq(entry.span.base),
                whole.stride.eq(entry.span.stride),
                whole.extent.eq(entry.span.extent),
                part.base.eq(whole.base),
                part.stride.eq(whole.stride),
                part.rows.eq(entry.span.rows),
                part.size.eq(entry.size),
                part.used.eq(entry.used),
                part.code.eq(entry.code),
                part.apart.eq(entry.used & entry.apart),
            ]
            if entry.keep is not None:
                m.d.comb += part.keep[entry.keep].eq(1)
            for number, in_place, applies in entry.against:
                m.d.comb += [
                    part.against[number].eq(entry.used & applies),
                    part.in_place[number].eq(in_place),
                ]
            choices.append(Cat(whole, part))
        which, more = Signal(len(entries)), Signal()  # one-hot
        where, picked, late, crowded = Signal(span), Signal(compared), Signal(compared), Signal()
        # The end of the first row less a stride; from there to the end of the last.
        first, last = Signal(signed(43)), Signal(48)
        its = CommandLayout()(command).opcode
        m.d.sync += [
            which.eq(Cat(busy & (its == opcode) & (step == n) for opcode, n in entries)),
            more.eq(which.any()),
            Cat(where, picked).eq(select(which, choices)),
            late.eq(picked),
            crowded.eq(picked.apart & (picked.rows > 1) & (where.stride < where.extent)),
            first.eq(where.base + where.extent - where.stride),
            last.eq(where.stride * picked.rows),
        ]
        return more, late, crowded, first + last

    def _compare(self, m, late, crowded, end, fresh):
        """Whether a range passes the end of its memory; whether it overlaps, itself or one that is kept."""
        new = Range(late.base, end[: LOCAL_BITS + 1], late.stride, late.rows)
        overlaps = [crowded]
        for n in range(len(late.keep)):
            valid = Signal(name=f"kept{n}_valid")
            old = Range(*(Signal(len(part), name=f"kept{n}_{name}") for name, part in new._asdict().items()))
            with m.If(fresh):
                m.d.sync += valid.eq(0)
            with m.Elif(late.keep[n]):
                m.d.sync += [valid.eq(late.used), *(kept.eq(part) for kept, part in zip(old, new))]
            overlaps.append(valid & late.against[n] & old.meets(new) & ~(late.in_place[n] & old.same(new)))
        return late.used & (end > late.size), Cat(overlaps).any()
