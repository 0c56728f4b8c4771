"""Commands whose rows a list names, as commands of a row each."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import LINE_WORDS, LocalConfig
from ..interfaces import vmem_port
from ..isa.commands import COMMAND_BYTES, Opcode
from ..isa.layout import CommandLayout
from ..isa.opcodes.experts import ENTRY_WORDS
from ..isa.vector_ops import Select

__all__ = ["ListedRows"]


class ListedRows(wiring.Component):
    """Makes of a GATHER or SCATTER command a VECTOR command for each entry of its list, and passes on all
    others.

    Latency: none for other commands; 3 cycles and the port's from one row's last to the next one's command.

    An entry whose number is not below the command's ``numbers`` is an error: ``bad`` stays high, and nothing
    is done any more.

    Parameters
    ----------
    config : LocalConfig

    Members
    -------
    i : In(stream of 512 bits), checked commands; o : Out(stream of 512 bits), what is executed
    executed : In(1), a command of ``o`` is done, in whose cycle the next may be transferred
    done : Out(1), a command of ``i`` is done
    active : Out(1), a command with a list is in progress; bad : Out(1)
    reading : Out(1), the port is used; port : Out(ReadPortSignature), of vector memory
    """

    @staticmethod
    def latency(port):
        """Cycles from one row's last to the next one's command, with a ``port`` of such a latency."""
        return 3 + port

    def __init__(self, config: LocalConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(8 * COMMAND_BYTES)),
                "o": Out(stream.Signature(8 * COMMAND_BYTES)),
                "executed": In(1),
                "done": Out(1),
                "active": Out(1),
                "bad": Out(1),
                "reading": Out(1),
                "port": Out(vmem_port(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = Signal(CommandLayout(Opcode.GATHER))
        number, weight = Signal(32, name="number"), Signal(32, name="weight")
        left = Signal(16)
        entry = Signal(self.config.line_addr_width + exact_log2(LINE_WORDS // ENTRY_WORDS))
        places = {name: Signal(self.config.place_width, name=f"{name}_place") for name in ("a", "b", "dst")}
        listed = Signal()
        opcode = CommandLayout()(self.i.payload).opcode
        lanes, lane_bits = self.config.lanes, exact_log2(self.config.lanes)
        pairs = self.port.data.as_value().word_select(
            entry[: lane_bits - 1] if lanes > ENTRY_WORDS else 0, 32 * ENTRY_WORDS
        )
        m.d.comb += [
            listed.eq((opcode == Opcode.GATHER) | (opcode == Opcode.SCATTER)),
            self.active.eq(1),
            self.port.req.payload.eq(entry >> (lane_bits - 1)),
        ]
        with m.FSM():
            with m.State("PASS"):
                m.d.comb += [
                    self.active.eq(0),
                    self.o.payload.eq(self.i.payload),
                    self.o.valid.eq(self.i.valid & ~listed),
                    self.i.ready.eq(self.o.ready),
                    self.done.eq(self.executed),
                ]
                begin = CommandLayout(Opcode.GATHER)(self.i.payload)
                m.d.sync += [
                    command.eq(self.i.payload),
                    left.eq(begin.rows),
                    entry.eq(begin.c << exact_log2(LINE_WORDS // ENTRY_WORDS)),
                    *(at.eq(begin[name]) for name, at in places.items()),
                ]
                with m.If(self.i.valid & self.i.ready & listed):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [self.reading.eq(1), self.port.req.valid.eq(1)]
                with m.If(self.port.req.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.reading.eq(1)
                m.d.sync += Cat(number, weight).eq(pairs)
                with m.If(self.port.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                self._find(m, command, number, places)
                m.next = "EXECUTE"
                with m.If(number >= command.numbers):
                    m.next = "BAD"
            with m.State("EXECUTE"):
                m.d.comb += [self.o.payload.eq(self._row(m, command, weight, places)), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(self.executed):
                    self._advance(m, command, places)
                    m.d.sync += [left.eq(left - 1), entry.eq(entry + 1)]
                    m.next = "ASK"
                    with m.If(left == 1):
                        m.d.comb += self.done.eq(1)
                        m.next = "PASS"
            with m.State("BAD"):
                m.d.comb += self.bad.eq(1)
        return m

    def _find(self, m, command, number, places):
        """The places of the rows that the entry names."""
        gathers = command.opcode == Opcode.GATHER
        for name, at in places.items():
            with m.If(gathers if name == "a" else ~gathers):
                m.d.sync += at.eq(command[name] + number[:16] * command[f"{name}_stride"])

    def _advance(self, m, command, places):
        """The places of the next row of the operands that the list does not name."""
        gathers = command.opcode == Opcode.GATHER
        for name, at in places.items():
            with m.If(~gathers if name == "a" else gathers):
                m.d.sync += at.eq(at + command[f"{name}_stride"])

    def _row(self, m, command, weight, places):
        """The VECTOR command of a row, whose scalar is an immediate."""
        row = Signal(CommandLayout(Opcode.VECTOR))
        m.d.comb += [
            row.eq(command.as_value()),
            row.opcode.eq(Opcode.VECTOR),
            *(row[name].eq(at) for name, at in places.items()),
            row.c.eq(0),
            row.index.eq(0),
            row.rows.eq(1),
            row.share.eq(1),
        ]
        for select, immediate in (("sel1", "imm1"), ("sel2", "imm2")):
            with m.If(command[select] == Select.ROW):
                m.d.comb += [row[select].eq(Select.IMMEDIATE), row[immediate].eq(weight)]
        return row.as_value()
