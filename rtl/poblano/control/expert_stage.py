"""Gives the commands of an expert what depends on it, and passes over those of none."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..ecc.events import ECCEvents, uses
from ..isa.commands import COMMAND_BYTES, COUNT_BITS, NO_UNIT, WAITS, Opcode
from ..isa.layout import CommandLayout
from ..memory.sram import sram
from ..moe.route_table import RoutedExpert, RouteWrite
from ..verilog import place

__all__ = ["ExpertStage"]

BY_ROWS = (Opcode.MATMUL, Opcode.VECTOR, Opcode.GATHER, Opcode.SCATTER)
BY_LIST = (Opcode.GATHER, Opcode.SCATTER)
BY_MEMORY = (Opcode.LOAD, Opcode.STREAM)


class ExpertStage(wiring.Component):
    """Passes commands on to the checker, one at a time; those of an expert with its rows, list and memory.

    Latency: 2 cycles, and 5 more for an EXPERT command whose waits hold.

    An EXPERT command waits here until its waits hold, so that what it asks for is known, and is passed on;
    the next command comes when it was dispatched. Where its slot has no expert, ``skips`` is then high for
    a cycle, and the next command is the one behind those that it passes over. More rows than a command has
    room for become none, which the checker refuses, as it does addresses that pass the last.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream of 512 bits), o : Out(stream of 512 bits)
    counts : In(COUNT_BITS).array(units), completed commands of every unit
    table : In(RouteWrite), the experts that have rows
    dispatched : In(1), a command of ``o`` was dispatched
    passes : Out(1), the command that is dispatched next passes commands over
    skips : Out(1), skip : Out(16), so many commands are passed over
    idle : Out(1), no command is here, or passed on and awaited
    failed : Out(1), events : Out(ECCEvents), with ``config.ecc``: what an expert has can't be read
    """

    LATENCY = 2
    """Cycles of a command but EXPERT."""
    FOUND = 2
    """Cycles from the last wait of an EXPERT command that holds to the command."""

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            ({"failed": Out(1), "events": Out(ECCEvents())} if config.ecc else {})
            | {
                "i": In(stream.Signature(8 * COMMAND_BYTES)),
                "o": Out(stream.Signature(8 * COMMAND_BYTES)),
                "counts": In(COUNT_BITS).array(config.units),
                "table": In(RouteWrite()),
                "dispatched": In(1),
                "passes": Out(1),
                "skips": Out(1),
                "skip": Out(16),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = Signal(8 * COMMAND_BYTES)
        expert = CommandLayout(Opcode.EXPERT)(command)
        assert self.config.experts is not None
        slots = self.config.experts.slots
        routes = place(m, "routes", sram(width=RoutedExpert().size, depth=slots, ecc=self.config.ecc))
        active = Signal(range(slots + 1))  # slots with an expert
        m.d.comb += [
            routes.write.en.eq(self.table.valid),
            routes.write.addr.eq(self.table.slot),
            routes.write.data.eq(self.table.routed),
            routes.read.addr.eq(expert.slot),
            self.o.payload.eq(command),
            self.skip.eq(expert.skip),
        ]
        with m.If(self.table.valid):
            m.d.sync += active.eq(self.table.slot + 1)

        its = Signal(RoutedExpert())  # the expert's, of the commands that are left
        left, offset, missing = Signal(16), Signal(40), Signal()  # missing: the slot has no expert
        is_expert = expert.opcode == Opcode.EXPERT
        wait, holds = self._wait(m, expert)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), self.idle.eq(1)]
                m.d.sync += [command.eq(self.i.payload), wait.eq(0)]
                with m.If(self.i.valid):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(is_expert):
                    m.d.sync += wait.eq(wait + holds)
                    with m.If((wait == WAITS - 1) & holds):
                        m.d.comb += routes.read.en.eq(1)
                        m.next = "FIND"
                with m.Else():
                    m.d.sync += left.eq(Mux(left == 0, 0, left - 1))
                    m.next = "GIVE"
                    with m.If(left != 0):
                        self._change(m, command, its, offset)
            with m.State("FIND"):
                m.d.sync += [its.eq(routes.read.data), missing.eq(expert.slot >= active)]
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [offset.eq(its.expert * expert.stride), left.eq(Mux(missing, 0, expert.commands))]
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
                    with m.If(is_expert):
                        m.next = "AWAIT"
            with m.State("AWAIT"):
                m.d.comb += self.passes.eq(missing)
                with m.If(self.dispatched):
                    m.d.comb += self.skips.eq(self.passes)
                    m.next = "IDLE"
        if self.config.ecc:
            found = Signal()
            m.d.sync += found.eq(routes.read.en)
            used = found & (expert.slot < active)
            m.d.comb += self.failed.eq(used & routes.failed)
            m.d.sync += self.events.eq(uses((used, routes)))
        return m

    def _wait(self, m, expert):
        """The number of a wait, and whether it holds; one of a unit that does not exist does, and is refused
        later."""
        wait, reached, holds = Signal(range(WAITS + 1)), Signal(COUNT_BITS), Signal()
        its = expert.waits[wait]
        known = Signal()
        with m.Switch(its.unit):
            for unit in range(self.config.units):
                with m.Case(unit):
                    m.d.comb += [reached.eq(self.counts[unit]), known.eq(1)]
        m.d.comb += holds.eq(~known | (its.unit == NO_UNIT) | ~(reached - its.count)[COUNT_BITS - 1])
        return wait, holds

    def _change(self, m, command, its, offset):
        """What depends on the expert."""
        for opcode in (*BY_ROWS, *BY_MEMORY):
            view = CommandLayout(opcode)(command)
            with m.If(view.opcode == opcode):
                if opcode in BY_ROWS:
                    m.d.sync += view.rows.eq(Mux(its.rows <= view.rows, its.rows, 0))
                if opcode in BY_LIST:
                    m.d.sync += view.c.eq(its.line)
                if opcode in BY_MEMORY:
                    moved = view.mem_addr + offset
                    m.d.sync += view.mem_addr.eq(Mux(moved[40], ~C(0, 40), moved))
