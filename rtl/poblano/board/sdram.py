"""From a controller's commands to the pins of a single-data-rate SDRAM."""

from math import ceil

from amaranth.hdl import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from ..config import ConfigError
from ..dram.config import DramConfig
from ..dram.controller import DramController
from ..dram.signature import ColumnOp, RowOp

__all__ = ["SdramPhy", "SdramSignature"]

POWER_UP_US = 200
"""Microseconds without a command after power-up: what the slower of the usual devices want."""
REFRESHES = 8
"""At the start, before the mode register is loaded."""
MODE_CLOCKS = 2
"""From the mode register to the command command."""
ALL_BANKS = 10
"""The address bit that makes a precharge one of all banks."""


class Command(enum.Enum, shape=3):
    """The pins we_n, cas_n and ras_n, from high to low."""

    MODE = 0b000
    REFRESH = 0b100
    PRECHARGE = 0b010
    ACTIVATE = 0b110
    WRITE = 0b001
    READ = 0b101
    NOP = 0b111


class SdramSignature(wiring.Signature):
    """An SDRAM's pins but its clock, the controller's side.

    Members
    -------
    cke, cs_n, ras_n, cas_n, we_n : Out(1)
    ba, a : Out, bank and address
    dqm : Out, a bit a byte: 1 where data are not written
    dq_o, dq_oe, dq_i : Out, Out(1), In: the data pins' outputs, whether they drive, and inputs
    """

    def __init__(self, *, bank_bits, row_bits, data_bits):
        self.bank_bits, self.row_bits, self.data_bits = bank_bits, row_bits, data_bits
        super().__init__(
            {name: Out(1) for name in ("cke", "cs_n", "ras_n", "cas_n", "we_n")}
            | {
                "ba": Out(bank_bits),
                "a": Out(row_bits),
                "dqm": Out(data_bits // 8),
                "dq_o": Out(data_bits),
                "dq_oe": Out(1),
                "dq_i": In(data_bits),
            }
        )

    def pins(self, interface):
        """Suffix, value and direction of each pin of ``interface``, which has this signature."""
        for name, member in self.members.items():
            yield name, getattr(interface, name), member.flow


class SdramPhy(wiring.Component):
    """Starts an SDRAM, and then gives it a controller's commands.

    Latency: 1 cycle from the controller's pins to the SDRAM's, and a read's data take
    ``SdramPhy.READ_LATENCY`` more than from an SDRAM without it.

    All outputs come from registers, inputs go to one. The SDRAM's clock is this clock, inverted: a command
    is there half a cycle before the edge that takes it, and data half a cycle after the edge that made
    them. The start: a wait, a precharge, refreshes, the mode register. Before ``ready`` the controller is
    not listened to.

    Parameters
    ----------
    config : DramConfig of a single-data-rate SDRAM, with ``phy_read`` as here

    Members
    -------
    dram : In(DramSignature), the controller's side
    ready : Out(1), the SDRAM has been started
    pins : Out(SdramSignature)
    """

    READ_LATENCY = 1

    def __init__(self, config: DramConfig):
        self.config = config
        timing = config.timing
        if not (timing.shared_bus and timing.ratio == timing.groups == 1) or timing.sideband_bits:
            raise ConfigError(f"an SDRAM has one command bus and one data rate, and {timing.name} has not")
        if config.phy_read != self.READ_LATENCY:
            raise ConfigError(
                f"the SDRAM's pins take {self.READ_LATENCY} cycle of a read: DRAM phy_read must say so, not "
                f"{config.phy_read!r}"
            )
        super().__init__(
            {"dram": In(DramController.pins_of(config)), "ready": Out(1), "pins": Out(self.pins_of(config))}
        )

    @staticmethod
    def pins_of(config):
        """The :class:`SdramSignature` of the SDRAM of a :class:`~poblano.dram.config.DramConfig`."""
        dram = DramController.pins_of(config).members
        row, write = dram["row"].shape, dram["write"].shape
        return SdramSignature(
            bank_bits=row["bank"].width,
            row_bits=max(row["row"].width, ALL_BANKS + 1),
            data_bits=write["data"].width,
        )

    @property
    def mode(self):
        """The mode register: bursts in sequence, and the latency of reads."""
        timing = self.config.timing
        return timing.cl << 4 | (timing.burst_clocks - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        dram, pins, timing = self.dram, self.pins, self.config.timing
        # Cycle 1: the command and its data are on the pins.
        command = Signal(data.StructLayout({"op": Command, "ba": len(pins.ba), "a": len(pins.a)}))
        m.d.comb += command.op.eq(Command.NOP)
        with m.If(self.ready):
            self._command(m, command)
        with m.Else():
            self._start(m, command)
        op = Signal(Command, init=Command.NOP)
        m.d.sync += [op.eq(command.op), pins.ba.eq(command.ba), pins.a.eq(command.a), pins.cke.eq(1)]
        m.d.comb += Cat(pins.ras_n, pins.cas_n, pins.we_n).eq(op)
        written = Signal(range(timing.burst_clocks))  # clocks of a write's data after this one
        writes = Signal()
        m.d.comb += writes.eq((dram.column.op == ColumnOp.WRITE) | (written != 0))
        with m.If(dram.column.op == ColumnOp.WRITE):
            m.d.sync += written.eq(timing.burst_clocks - 1)
        with m.Elif(written != 0):
            m.d.sync += written.eq(written - 1)
        m.d.sync += [
            pins.dq_oe.eq(writes),
            pins.dq_o.eq(dram.write.data),
            pins.dqm.eq(Mux(self.ready, Mux(writes, ~dram.write.strb, 0), ~0)),
            dram.read.data.eq(pins.dq_i),
        ]
        return m

    def _start(self, m, command):
        """The commands of the start."""
        cycles = self.config.cycles
        first = ceil(POWER_UP_US * self.config.clock_mhz)
        gap = max(cycles.refresh_all, cycles.precharge_to_act, MODE_CLOCKS)
        left = Signal(range(max(first, gap)), init=first - 1)
        given = Signal(range(REFRESHES + 3))  # commands
        m.d.sync += left.eq(left - 1)
        with m.If(left == 0):
            m.d.sync += [left.eq(gap - 1), given.eq(given + 1)]
            with m.Switch(given):
                with m.Case(0):
                    m.d.comb += [command.op.eq(Command.PRECHARGE), command.a[ALL_BANKS].eq(1)]
                with m.Case(REFRESHES + 1):
                    m.d.comb += [command.op.eq(Command.MODE), command.a.eq(self.mode)]
                with m.Case(REFRESHES + 2):
                    m.d.sync += self.ready.eq(1)
                with m.Default():
                    m.d.comb += command.op.eq(Command.REFRESH)

    def _command(self, m, command):
        """The controller's command: of its row bus or of its column bus, never of both."""
        row, column = self.dram.row, self.dram.column
        words = self.config.timing.burst_clocks.bit_length() - 1  # address bits of a word in a burst
        m.d.comb += [command.ba.eq(row.bank), command.a.eq(row.row)]
        with m.Switch(row.op):
            with m.Case(RowOp.ACTIVATE):
                m.d.comb += command.op.eq(Command.ACTIVATE)
            with m.Case(RowOp.PRECHARGE, RowOp.PRECHARGE_ALL):
                m.d.comb += [
                    command.op.eq(Command.PRECHARGE),
                    command.a.eq(Mux(row.op == RowOp.PRECHARGE_ALL, 1 << ALL_BANKS, 0)),
                ]
            with m.Case(RowOp.REFRESH_ALL):
                m.d.comb += command.op.eq(Command.REFRESH)
        with m.If(column.op != ColumnOp.NOP):
            m.d.comb += [
                command.op.eq(Mux(column.op == ColumnOp.WRITE, Command.WRITE, Command.READ)),
                command.ba.eq(column.bank),
                command.a.eq(column.column << words),
            ]
