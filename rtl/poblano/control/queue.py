"""A unit's queue: holds its commands until their waits are satisfied."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .commands import COMMAND_BYTES, COUNT_BITS, NO_UNIT, WAITS, Opcode

__all__ = ["QUEUED", "UnitQueue"]

QUEUED = data.StructLayout({"command": 8 * COMMAND_BYTES, "index": 32})
"""A command and its number since the queue's reset."""


class UnitQueue(wiring.Component):
    """Keeps up to ``depth`` commands and one more whose waits are checked, one wait a cycle.

    A command whose waits hold starts 6 cycles after it enters an empty queue, at once if it waited behind another. A NOP
    does not reach the unit: it completes when its waits hold and all commands before it have completed.

    Parameters
    ----------
    depth : commands
    units : units of the chip

    Members
    -------
    i : In(stream of QUEUED)
    counts : In(24).array(units), completed commands of every unit.
    hold : In(1), start nothing.
    cmd : Out(stream of 512 bits), to the unit.
    unit_done : In(1), the unit completed a command.
    start, done : Out(1), a command (or NOP) started or completed this cycle.
    count : Out(24), commands completed since the reset.
    index : Out(32), number of the command that the unit completes next.
    empty : Out(1), nothing is queued or in progress.
    """

    def __init__(self, *, depth, units):
        self.depth = depth
        self.units = units
        super().__init__({
            "i": In(stream.Signature(QUEUED)),
            "counts": In(COUNT_BITS).array(units),
            "hold": In(1),
            "cmd": Out(stream.Signature(8 * COMMAND_BYTES)),
            "unit_done": In(1),
            "start": Out(1),
            "done": Out(1),
            "count": Out(COUNT_BITS),
            "index": Out(32),
            "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=QUEUED.size, depth=self.depth)
        # Two commands can be in a unit: one finishing, one starting.
        m.submodules.indices = indices = SyncFIFOBuffered(width=32, depth=4)
        head = Signal(QUEUED)
        valid, ready = Signal(), Signal()
        checked = Signal(range(WAITS + 1))
        outstanding = Signal(3)

        m.d.comb += [fifo.w_data.eq(self.i.payload), fifo.w_en.eq(self.i.valid & fifo.w_rdy), self.i.ready.eq(fifo.w_rdy)]
        m.d.comb += fifo.r_en.eq(~valid)
        with m.If(~valid & fifo.r_rdy):
            m.d.sync += [head.eq(fifo.r_data), valid.eq(1), checked.eq(0)]

        wait = head.command[32:32 * (1 + WAITS)].word_select(checked[:(WAITS - 1).bit_length()], 32)
        reached = Signal(COUNT_BITS)
        with m.Switch(wait[:8]):
            for unit in range(self.units):
                with m.Case(unit):
                    m.d.comb += reached.eq(self.counts[unit])
        satisfied = (wait[:8] == NO_UNIT) | ~(reached - wait[8:])[COUNT_BITS - 1]
        m.d.comb += ready.eq(valid & (checked == WAITS))
        with m.If(valid & (checked != WAITS) & satisfied):
            m.d.sync += checked.eq(checked + 1)

        nop = head.command[:8] == Opcode.NOP
        nop_done = Signal()
        m.d.comb += [
            self.cmd.payload.eq(head.command),
            self.cmd.valid.eq(ready & ~nop & ~self.hold & indices.w_rdy),
            nop_done.eq(ready & nop & ~self.hold & (outstanding == 0)),
            self.start.eq(self.cmd.valid & self.cmd.ready | nop_done),
            self.done.eq(self.unit_done | nop_done),
            indices.w_data.eq(head.index),
            indices.w_en.eq(self.cmd.valid & self.cmd.ready),
            indices.r_en.eq(self.unit_done),
            self.index.eq(indices.r_data),
            self.empty.eq(~valid & ~fifo.r_rdy & (fifo.level == 0) & (outstanding == 0)),
        ]
        with m.If(self.start):
            m.d.sync += valid.eq(0)
        m.d.sync += outstanding.eq(outstanding + (self.cmd.valid & self.cmd.ready) - self.unit_done)
        with m.If(self.done):
            m.d.sync += self.count.eq(self.count + 1)
        return m
