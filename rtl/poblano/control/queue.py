"""A unit's queue: holds its commands until their waits hold."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..isa.commands import COMMAND_BYTES, COUNT_BITS, NO_UNIT, WAITS, Opcode
from ..isa.layout import CommandLayout, WaitLayout
from ..stream.fifo import FIFO, BufferedFIFO
from ..verilog import place

__all__ = ["QueuedLayout", "UnitQueue"]

IN_FLIGHT = 16
"""Commands that a unit may have started and not completed."""


class QueuedLayout(data.StructLayout):
    """A command and its index since the queue's reset; with ``passes`` also what a NOP or EXPERT adds to the
    unit's count."""

    def __init__(self, *, passes=False):
        super().__init__({"command": CommandLayout(), "index": 32} | ({"counts": 17} if passes else {}))


class UnitQueue(wiring.Component):
    """Keeps up to ``depth`` commands, in order, and offers the first to the unit when its waits hold.

    Latency: 2 cycles (1, if ``depth`` is 1) through an empty queue, and one for each wait, if they hold.

    The waits of the first command are looked at one a cycle, while the unit may still execute the one
    before. A NOP does not reach the unit: it completes when its waits hold and all
    commands before it have completed, and so, with ``passes``, does an EXPERT command. At most 16 commands
    are in the unit.

    Parameters
    ----------
    depth : commands
    units : units of the chip
    passes : whether commands can be passed over

    Members
    -------
    i : In(stream of QueuedLayout)
    counts : In(COUNT_BITS).array(units), completed commands of every unit
    hold : In(1), offer nothing
    cmd : Out(stream of 512 bits), to the unit
    unit_done : In(1), the unit completed a command
    start, done : Out(1), a command (or NOP) starts or completes in this cycle
    count : Out(COUNT_BITS), commands completed since the reset
    index : Out(32), index of the oldest command in the unit; if none is, of the first in the queue
    running : Out(1), a command is in the unit
    empty : Out(1), nothing is queued or in progress
    """

    LATENCY = 2

    def __init__(self, *, depth, units, passes=False):
        self.depth = depth
        self.units = units
        self.passes = passes
        super().__init__(
            {
                "i": In(stream.Signature(QueuedLayout(passes=passes))),
                "counts": In(COUNT_BITS).array(units),
                "hold": In(1),
                "cmd": Out(stream.Signature(8 * COMMAND_BYTES)),
                "unit_done": In(1),
                "start": Out(1),
                "done": Out(1),
                "count": Out(COUNT_BITS),
                "index": Out(32),
                "running": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queue = place(m, "queue", BufferedFIFO(shape=self.i.payload.shape(), depth=self.depth))
        indices = place(m, "indices", FIFO(shape=32, depth=IN_FLIGHT))
        connect(m, flipped(self.i), queue.i)
        head = queue.o.payload

        # The waits of the head that have not been seen to hold; the lowest is looked at.
        waits = head.command.waits
        held, pending, wait = Signal(WAITS), Signal(WAITS), Signal(WaitLayout())
        m.d.comb += pending.eq(Cat(wait.unit != NO_UNIT for wait in waits) & ~held)
        for i in reversed(range(WAITS)):
            with m.If(pending[i]):
                m.d.comb += wait.eq(waits[i])
        reached = Signal(COUNT_BITS)
        with m.Switch(wait.unit):
            for unit in range(self.units):
                with m.Case(unit):
                    m.d.comb += reached.eq(self.counts[unit])
        holds = ~(reached - wait.count)[COUNT_BITS - 1]
        with m.If(self.start):
            m.d.sync += held.eq(0)
        with m.Elif(queue.o.valid & holds):
            m.d.sync += held.eq(held | pending & -pending)

        outstanding = Signal(range(IN_FLIGHT + 1))
        nop = head.command.opcode == Opcode.NOP
        if self.passes:
            nop |= head.command.opcode == Opcode.EXPERT
        may, given, nop_done = Signal(), Signal(), Signal()
        m.d.comb += [
            may.eq(queue.o.valid & (pending == 0) & ~self.hold),
            self.cmd.payload.eq(head.command),
            self.cmd.valid.eq(may & ~nop & indices.i.ready),
            given.eq(self.cmd.valid & self.cmd.ready),
            nop_done.eq(may & nop & ~self.running),
            self.start.eq(given | nop_done),
            self.done.eq(self.unit_done | nop_done),
            queue.o.ready.eq(self.start),
            indices.i.payload.eq(head.index),
            indices.i.valid.eq(given),
            indices.o.ready.eq(self.unit_done),
            self.index.eq(Mux(self.running, indices.o.payload, head.index)),
            self.running.eq(outstanding != 0),
            self.empty.eq((queue.level == 0) & ~self.running),
        ]
        m.d.sync += outstanding.eq(outstanding + given - self.unit_done)
        with m.If(self.done):
            added = Mux(nop_done, head.counts, 1) if self.passes else 1
            m.d.sync += self.count.eq(self.count + added)
        return m
