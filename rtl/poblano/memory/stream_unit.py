"""The stream unit: memory to a tile's weight FIFO."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.reader import AXIReader
from ..axi.signature import AXIReadSignature
from ..config import MemoryConfig
from ..ecc.events import ECCEvents, uses
from ..interfaces import UnitSignature
from ..isa.commands import ErrorCode, Opcode
from ..isa.layout import CommandLayout
from ..stream.delay import history
from ..verilog import gated_clock, place

__all__ = ["StreamUnit"]


class StreamUnit(wiring.Component):
    """Executes STREAM commands: reads rows from memory into the weight FIFO, of ``fifo_bytes`` bytes.

    Latency: 2 cycles from a command to its first address, and from a word's last beat to the word.

    A command is done when its last word is in the FIFO. The next one is taken when the last burst of the
    one before has been requested, so that memory sees no pause; ``done`` comes in order. A command is a
    whole number of words of ``stream_bytes``, in rows that are multiples of a memory beat. Reset empties
    the FIFO.

    Parameters
    ----------
    config : MemoryConfig
    stream_bytes : of a word
    fifo_bytes : of the FIFO

    Members
    -------
    unit : In(UnitSignature())
    axi : Out(AXIReadSignature)
    o : Out(stream(8 * stream_bytes)), the FIFO's words
    last : Out(1), the word that is offered is its command's last
    failed : Out(1), with ``config.ecc``: the word at ``o`` is not what memory gave
    events : Out(ECCEvents), with ``config.ecc``, of the words that ``o`` gave
    """

    def __init__(self, config: MemoryConfig, *, stream_bytes, fifo_bytes):
        self.config, self.stream_bytes, self.fifo_bytes = config, stream_bytes, fifo_bytes
        super().__init__(
            ({"failed": Out(1), "events": Out(ECCEvents())} if config.ecc else {})
            | {
                "unit": In(UnitSignature()),
                "axi": Out(AXIReadSignature(config.command_axi)),
                "o": Out(stream.Signature(8 * stream_bytes)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory, unit = self.config, self.unit
        # A word that comes or goes moves the FIFO for two cycles more, with check bits for three.
        moves = Signal()
        m.d.comb += moves.eq(
            unit.busy | unit.cmd.valid | unit.flush | ~unit.idle | self.o.valid & self.o.ready
        )
        reader = place(
            m,
            "reader",
            AXIReader(
                memory.command_axi,
                word_width=8 * self.stream_bytes,
                depth=self.fifo_bytes // self.stream_bytes,
                burst_beats=memory.burst_beats,
                outstanding=memory.outstanding,
                marks=True,
                ecc=memory.ecc,
            ),
            clock=gated_clock(m, "reader", Cat(history(m, 1, "moved", moves, 2 + memory.ecc)).any()),
        )
        connect(m, reader.axi, flipped(self.axi))
        connect(m, reader.o, flipped(self.o))
        m.d.comb += self.last.eq(reader.last)
        if memory.ecc:
            m.d.comb += self.failed.eq(reader.failed)
            m.d.sync += self.events.eq(uses((self.o.valid & self.o.ready, reader)))

        command = CommandLayout(Opcode.STREAM)(unit.cmd.payload)
        nop = command.opcode == Opcode.NOP
        pending = Signal(
            range(16)
        )  # commands taken and not done; a NOP has one cycle and waits for all before
        can_take = Signal()
        nop_done = Signal()
        m.d.comb += [
            can_take.eq(Mux(nop, pending == 0, pending != 15)),
            unit.cmd.ready.eq(can_take & (nop | reader.cmd.ready) & ~unit.flush),
            reader.cmd.valid.eq(unit.cmd.valid & can_take & ~nop & ~unit.flush),
            reader.cmd.payload.addr.eq(command.mem_addr),
            reader.cmd.payload.row_bytes.eq(command.row_bytes),
            reader.cmd.payload.stride.eq(command.mem_stride),
            reader.cmd.payload.rows.eq(command.rows),
            reader.flush.eq(unit.flush),
            unit.done.eq(reader.done | nop_done),
            unit.error.eq(reader.error),
            unit.code.eq(ErrorCode.AXI_READ),
            unit.idle.eq(reader.idle),
            unit.busy.eq(pending != 0),
            unit.stall_in.eq(unit.busy & ~self.axi.r.valid & ~reader.full),
            unit.stall_out.eq(unit.busy & ~self.axi.r.valid & reader.full),
        ]
        m.d.sync += [
            nop_done.eq(unit.cmd.valid & unit.cmd.ready & nop),
            pending.eq(pending + (unit.cmd.valid & unit.cmd.ready) - unit.done),
        ]
        return m
