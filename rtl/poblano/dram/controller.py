"""A DRAM controller: AXI4 on one side, a DRAM's commands and data on the other."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.signature import AXISignature
from ..stream.select import number_of
from ..verilog import place
from .bank import BankMachine
from .config import DramConfig
from .queue import BurstQueue, bank_number
from .read_data import ReadData
from .refresher import BankRefresher, Refresher
from .signature import ColumnOp, DramSignature, RowOp
from .splitter import BurstSplitter
from .turnaround import Turnaround
from .windows import CommandWindows
from .write_data import WriteData

__all__ = ["DramController"]


class DramController(wiring.Component):
    """Serves AXI4 bursts from the DRAM behind it: one row command and one column command a cycle.

    Latency: of a read from an idle DRAM with its row open 6 + ``Cycles.read_latency`` + ``Cycles.burst``
    cycles from its address to its first beat.

    Reads with one id are answered in order, those with different ids in any order, and their beats may be
    interleaved. Writes are done in the order of their addresses, and answered when whatever is read
    afterwards sees them; between a read and a write that are both on their way there is no order. Bursts
    are INCR, of whole beats; the address is that of the first beat's, less the bits within a beat. All
    responses are OKAY.

    A read waits for no more than ``reads`` times the longest service of a burst and ``oldest`` cycles, if
    AXI takes its data; a write likewise, if its data come.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    s_axi : In(AXISignature(config.axi))
    dram : Out(DramSignature)
    """

    def __init__(self, config: DramConfig):
        self.config = config
        super().__init__({"s_axi": In(AXISignature(config.axi)), "dram": Out(self.pins_of(config))})

    @staticmethod
    def pins_of(config):
        """The signature of the DRAM's pins."""
        return DramSignature(config.timing, burst_cycles=config.cycles.burst)

    def elaborate(self, platform):
        m = Module()
        config, timing = self.config, self.config.timing
        banks = [place(m, f"bank{n}", BankMachine(config)) for n in range(timing.groups * timing.banks)]
        windows = place(m, "windows", CommandWindows(config))
        reads = place(m, "reads", BurstQueue(config, depth=config.reads, ordered=False))
        writes = place(m, "writes", BurstQueue(config, depth=config.writes, ordered=True))
        kind = BankRefresher if config.refreshes_banks else Refresher
        refresher = place(m, "refresher", kind(config))
        read_data = place(m, "read_data", ReadData(config))
        write_data = place(m, "write_data", WriteData(config))
        turnaround = place(m, "turnaround", Turnaround(config))
        writing = turnaround.writing
        self._connect_axi(m, reads, writes, read_data, write_data)
        m.d.comb += [
            turnaround.reads.eq(~reads.empty),
            turnaround.writes.eq(~writes.empty),
            turnaround.beats.eq(write_data.beats),
            turnaround.write_hit.eq(writes.hit),
            turnaround.read_aged.eq(reads.aged),
            turnaround.write_aged.eq(writes.aged),
        ]
        of_banks = lambda name: Cat(getattr(bank, name) for bank in banks)
        by_group = lambda bits: bits.replicate(timing.banks)
        free = ~refresher.hold
        needed = Mux(writing, writes.needed, reads.needed)
        for queue in (reads, writes):
            m.d.comb += [
                queue.open.eq(of_banks("open")),
                *(queue.rows[n].eq(bank.row) for n, bank in enumerate(banks)),
                queue.may_activate.eq(of_banks("may_activate") & by_group(windows.may_activate) & free),
                queue.may_precharge.eq(of_banks("may_precharge") & free),
                queue.kept_open.eq(needed),
            ]
        read_now = read_data.room & ~writing
        write_now = (write_data.beats != 0) & write_data.room & writing
        m.d.comb += [
            reads.may_access.eq(Mux(read_now, of_banks("may_read") & by_group(windows.may_read) & free, 0)),
            writes.may_access.eq(
                Mux(write_now, of_banks("may_write") & by_group(windows.may_write) & free, 0)
            ),
            refresher.wanted.eq(reads.wanted | writes.wanted),
            refresher.soon.eq(reads.soon | writes.soon),
            refresher.left.eq(reads.left | writes.left),
            refresher.open.eq(of_banks("open") | of_banks("activate")),
            refresher.may_precharge.eq(of_banks("may_precharge")),
            refresher.may_activate.eq(of_banks("may_activate")),
            refresher.may_refresh.eq(windows.may_refresh),
        ]
        column = self._column(m, banks, windows, reads, writes, read_data, write_data, turnaround)
        self._row(m, banks, windows, (reads, writes), writing, refresher, column)
        return m

    def _connect_axi(self, m, reads, writes, read_data, write_data):
        read, write = self.s_axi.read, self.s_axi.write
        for name, channel, queue in (("read_splitter", read.ar, reads), ("write_splitter", write.aw, writes)):
            splitter = place(m, name, BurstSplitter(self.config))
            connect(m, flipped(channel), splitter.i)
            connect(m, splitter.o, queue.i)
        connect(m, flipped(write.w), write_data.w)
        connect(m, read_data.r, flipped(read.r))
        connect(m, write_data.b, flipped(write.b))

    def _column(self, m, banks, windows, reads, writes, read_data, write_data, turnaround):
        """The column command; whether there is one."""
        dram, timing = self.dram, self.config.timing
        for queue, part, name in ((reads, read_data, "read"), (writes, write_data, "write")):
            column = queue.column
            m.d.comb += [
                queue.accept.eq(column.valid),
                part.issue.eq(column.valid),
                part.id.eq(column.id),
                part.last.eq(column.last),
            ]
            on_pins = dram.column.op == (ColumnOp.READ if name == "read" else ColumnOp.WRITE)
            m.d.comb += getattr(windows, name).eq(on_pins)
            for n, bank in enumerate(banks):
                here = bank_number(timing, dram.column.bank, dram.column.group) == n
                m.d.comb += getattr(bank, name).eq(on_pins & here)
        m.d.comb += windows.column_group.eq(dram.column.group)
        given = Signal()
        m.d.comb += [given.eq(reads.column.valid | writes.column.valid), turnaround.issue.eq(given)]
        chosen = Signal.like(reads.column)
        m.d.comb += chosen.eq(Mux(writes.column.valid, writes.column, reads.column))
        op = Mux(writes.column.valid, ColumnOp.WRITE, ColumnOp.READ)
        m.d.sync += [
            dram.column.op.eq(Mux(given, op, ColumnOp.NOP)),
            dram.column.group.eq(chosen.group),
            dram.column.bank.eq(chosen.bank),
            dram.column.column.eq(chosen.column),
        ]
        m.d.comb += dram.write.eq(write_data.pins)
        m.d.comb += read_data.pins.eq(dram.read)
        return given

    def _row(self, m, banks, windows, queues, writing, refresher, column):
        """The row command: the refresher's, or of the queues, that of the present direction first."""
        dram, config = self.dram, self.config
        timing, together = config.timing, not config.refreshes_banks
        reads, writes = queues
        command = data.StructLayout(
            {"op": RowOp} | {n: reads.row.shape()[n].shape for n in ("group", "bank", "row")}
        )
        row = Signal(command)
        proposals = [(RowOp.ACTIVATE, "activate"), (RowOp.PRECHARGE, "precharge")]

        def propose(queue):
            for op, name in reversed(proposals):
                wish = getattr(queue, name)
                with m.If(wish.valid):
                    m.d.comb += [row.op.eq(op), row.group.eq(wish.group), row.bank.eq(wish.bank)]
                    m.d.comb += row.row.eq(wish.row)

        # Where so many bursts wait and none is for a bank, its next row is most likely another one.
        unused, open_banks = Signal(len(banks)), Cat(bank.may_precharge for bank in banks)
        m.d.sync += unused.eq(Mux(reads.full, ~reads.wanted & ~writes.wanted, 0))
        idle = Signal(len(banks))
        m.d.comb += idle.eq(unused & open_banks & ~reads.needed & ~writes.needed)
        first = Signal(len(banks))
        m.d.comb += first.eq(idle & -idle)
        with m.If(idle.any()):
            m.d.comb += [row.op.eq(RowOp.PRECHARGE), Cat(row.group, row.bank).eq(number_of(first))]
        with m.If(writing):
            propose(reads)
            propose(writes)
        with m.Else():
            propose(writes)
            propose(reads)
        activates = (reads.activate.valid | writes.activate.valid) & ~refresher.urgent
        with m.If(~activates & (refresher.precharge | refresher.refresh)):
            close = RowOp.PRECHARGE_ALL if together else RowOp.PRECHARGE
            refresh = RowOp.REFRESH_ALL if together else RowOp.REFRESH_BANK
            m.d.comb += [
                row.op.eq(Mux(refresher.precharge, close, refresh)),
                row.group.eq(refresher.group),
                row.bank.eq(refresher.bank),
            ]
        allowed = Signal()
        m.d.comb += [
            allowed.eq(~column if timing.shared_bus and timing.ratio == 1 else 1),
            refresher.accept.eq(allowed & ~activates),
        ]
        with m.If(~allowed):
            m.d.comb += row.op.eq(RowOp.NOP)
        m.d.sync += dram.row.eq(row)
        self._follow(m, banks, windows, dram.row)
        for queue in queues:
            is_op = lambda *ops: Cat(dram.row.op == op for op in ops).any()
            m.d.comb += [
                queue.row.open.eq(is_op(RowOp.ACTIVATE)),
                queue.row.all.eq(is_op(RowOp.PRECHARGE_ALL)),
                queue.row.valid.eq(is_op(RowOp.ACTIVATE, RowOp.PRECHARGE, RowOp.PRECHARGE_ALL)),
                *(queue.row[name].eq(dram.row[name]) for name in ("group", "bank", "row")),
            ]

    def _follow(self, m, banks, windows, row):
        """Tell the banks and windows of the row command on the pins."""
        is_op = lambda op: row.op == op
        for n, bank in enumerate(banks):
            here = Signal(name=f"row_of_bank{n}")
            m.d.comb += [
                here.eq(bank_number(self.config.timing, row.bank, row.group) == n),
                bank.activate.eq(is_op(RowOp.ACTIVATE) & here),
                bank.precharge.eq(is_op(RowOp.PRECHARGE) & here | is_op(RowOp.PRECHARGE_ALL)),
                bank.refresh.eq(is_op(RowOp.REFRESH_BANK) & here),
                bank.all_refreshed.eq(is_op(RowOp.REFRESH_ALL)),
                bank.target.eq(row.row),
            ]
        m.d.comb += [
            windows.activate.eq(is_op(RowOp.ACTIVATE)),
            windows.refresh.eq(is_op(RowOp.REFRESH_BANK)),
            windows.row_group.eq(row.group),
        ]
