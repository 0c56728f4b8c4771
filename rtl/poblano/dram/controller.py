"""A DRAM controller: AXI4 on one side, a DRAM's commands and data on the other."""

from functools import reduce
from operator import and_, or_

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.signature import AXISignature
from ..ecc.events import ECCEvents
from ..stream.select import number_of
from ..verilog import place
from .address import AddressMap
from .bank import BankMachine
from .config import DramConfig
from .partial import PartialWrites
from .queue import BurstQueue
from .read_data import ReadData
from .refresher import BankRefresher, Refresher
from .scrubber import Scrubber
from .signature import ColumnOp, DramSignature, RowOp
from .splitter import BurstSplitter
from .turnaround import Turnaround
from .upkeep import Found, Purpose, upkeep
from .windows import CommandWindows
from .write_data import WriteData

__all__ = ["DramController"]

OWN_READS = 4
"""Of the controller, that wait: enough to open their rows while others are read."""


class DramController(wiring.Component):
    """Serves AXI4 bursts from the DRAM behind it: one row command and one column command a cycle.

    Latency: of a read from an idle DRAM with its row open 6 + ``Cycles.read_latency`` + ``Cycles.burst``
    cycles from its address to its first beat, with ``config.ecc`` 8.

    Reads with one id are answered in order, those with different ids in any order, and their beats may be
    interleaved. Writes are done in the order of their addresses, and answered when whatever is read
    afterwards sees them; between a read and a write that are both on their way there is no order. Bursts
    are INCR, of whole beats; the address is that of the first beat's, less the bits within a beat.

    With ``config.ecc`` single flipped bits are corrected, and later written as they should be. A beat of a
    read with two flipped bits in a word, with poison, or with the word of another address has the response
    SLVERR. A write of a part of such a word poisons it: the other part is not known. All other responses
    are OKAY.

    A burst waits for no longer than :class:`~poblano.dram.wait.Wait` says, if AXI takes the data of reads and
    has given those of writes. Reads whose data are not taken do not hold up writes, nor writes reads.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    s_axi : In(AXISignature(config.axi))
    dram : Out(DramSignature)

    With ``config.ecc``, each high for a cycle:

    corrected : Out(1), a burst was read with one flipped bit in a word
    failed : Out(1), a burst was read with a word that is not known
    scrubbed : Out(1), a burst was read to be written again, as something was wrong with it
    address : Out(bits of an AXI address), of the burst in that cycle

    events : Out(ECCEvents), of the beats that waited in the controller
    """

    def __init__(self, config: DramConfig):
        self.config = config
        members = {"s_axi": In(AXISignature(config.axi)), "dram": Out(self.pins_of(config))}
        if config.ecc:
            members |= {name: Out(1) for name in ("corrected", "failed", "scrubbed")}
            members |= {"address": Out(config.axi.addr_width), "events": Out(ECCEvents())}
        super().__init__(members)

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
        own = []  # the controller's own reads
        if config.ecc:
            own = [place(m, "own_reads", BurstQueue(upkeep(config), depth=OWN_READS, ordered=True))]
        readers, queues = (reads, *own), (reads, writes, *own)
        partial = self._connect_axi(m, reads, writes, read_data, write_data)
        any_of = lambda name, queues=queues: reduce(or_, [getattr(queue, name) for queue in queues])
        m.d.comb += [
            turnaround.reads.eq(reduce(or_, [~queue.empty for queue in readers])),
            # Bursts for whose data or answer AXI leaves no room keep no direction.
            turnaround.writes.eq(~writes.empty & write_data.room),
            turnaround.beats.eq(write_data.beats),
            turnaround.write_hit.eq(writes.hit),
            turnaround.read_aged.eq(reduce(or_, [queue.aged for queue in own], reads.aged & read_data.room)),
            turnaround.write_aged.eq(writes.aged),
        ]
        of_banks = lambda name: Cat(getattr(bank, name) for bank in banks)
        by_group = lambda bits: bits.replicate(timing.banks)
        free = ~refresher.hold
        yields = Signal()  # the controller's own reads go last
        needed = Mux(writing, writes.needed, any_of("needed", readers))
        may_activate = of_banks("may_activate") & by_group(windows.may_activate) & free
        for queue in queues:
            m.d.comb += [
                queue.open.eq(of_banks("open")),
                *(queue.rows[n].eq(bank.row) for n, bank in enumerate(banks)),
                queue.may_activate.eq(may_activate),
                queue.may_precharge.eq(of_banks("may_precharge") & free),
                queue.kept_open.eq(needed),
            ]
        if own:
            m.d.sync += yields.eq(reads.aged & read_data.room)
            m.d.comb += [
                reads.released.eq(Mux(yields, 0, own[0].lacks)),
                own[0].released.eq(Mux(yields, reads.lacks, 0)),
                own[0].may_activate.eq(may_activate & ~own[0].released),
            ]
        write_now = (write_data.beats != 0) & write_data.room & writing
        for queue, now in zip(readers, (read_data.room & ~writing, ~writing)):
            may = Mux(now, of_banks("may_read") & by_group(windows.may_read) & free, 0)
            m.d.comb += queue.may_access.eq(may)
        m.d.comb += [
            writes.may_access.eq(
                Mux(write_now, of_banks("may_write") & by_group(windows.may_write) & free, 0)
            ),
            refresher.wanted.eq(any_of("wanted")),
            refresher.soon.eq(any_of("soon")),
            refresher.left.eq(any_of("left")),
            refresher.open.eq(of_banks("open") | of_banks("activate")),
            refresher.may_precharge.eq(of_banks("may_precharge")),
            refresher.may_activate.eq(of_banks("may_activate")),
            refresher.may_refresh.eq(windows.may_refresh),
        ]
        if own:
            self._keep_up(m, reads, writes, own[0], partial, read_data, write_data, turnaround)
        column = self._column(m, banks, windows, reads, writes, own, read_data, write_data, turnaround)
        self._row(m, banks, windows, queues, writing, refresher, column)
        return m

    def _connect_axi(self, m, reads, writes, read_data, write_data):
        """Joins AXI's channels with what serves them; with ecc, what is before writes."""
        read, write = self.s_axi.read, self.s_axi.write
        partial, write_burst, w = None, writes.i, write_data.w
        if self.config.ecc:
            partial = place(m, "partial", PartialWrites(self.config))
            connect(m, partial.o, writes.i)
            connect(m, partial.beats, write_data.w)
            write_burst, w = partial.i, partial.w
        for name, channel, i in (
            ("read_splitter", read.ar, reads.i),
            ("write_splitter", write.aw, write_burst),
        ):
            splitter = place(m, name, BurstSplitter(self.config))
            connect(m, flipped(channel), splitter.i)
            connect(m, splitter.o, i)
        connect(m, flipped(write.w), w)
        connect(m, read_data.r, flipped(read.r))
        connect(m, write_data.b, flipped(write.b))
        return partial

    def _keep_up(self, m, reads, writes, own, partial, read_data, write_data, turnaround):
        """Parts of bursts are merged with what they leave, and flipped bits repaired; what was found."""
        config, found = self.config, Signal(Found(self.config))
        scrubber = place(m, "scrubber", Scrubber(config))
        connect(m, scrubber.scrub, partial.scrub)
        m.d.sync += found.eq(read_data.found)
        m.d.comb += [
            # Writes are gathered while others' reads are on their way, as if masters read.
            turnaround.reads.eq(~reads.empty | ~own.empty | partial.reading),
            turnaround.hurry.eq(partial.hurry),
            partial.issue.eq(write_data.issue),
            partial.merged.eq(write_data.merged),
            partial.returned.eq(read_data.old.valid),
            write_data.whole.eq(partial.whole),
            write_data.old.eq(read_data.old),
            self.events.as_value().eq(read_data.events.as_value() | write_data.events.as_value()),
            own.i.valid.eq(partial.request.valid | scrubber.read.valid),
            own.i.payload.eq(Mux(partial.request.valid, partial.request.payload, scrubber.read.payload)),
            partial.request.ready.eq(own.i.ready),
            scrubber.read.ready.eq(own.i.ready & ~partial.request.valid),
            scrubber.idle.eq(reads.empty & writes.empty),
            scrubber.found.eq(found),
        ]
        counted = found.purpose != Purpose.SCRUB
        m.d.comb += [
            self.corrected.eq(found.corrected & counted),
            self.failed.eq(found.failed & counted),
            self.scrubbed.eq(found.valid & ~counted),
            self.address.eq(AddressMap(config.timing).address_of(found.place)),
        ]

    def _column(self, m, banks, windows, reads, writes, own, read_data, write_data, turnaround):
        """The column command; whether there is one."""
        dram = self.dram
        read = self._own_first(m, reads.column, own[0].column, read_data) if own else reads.column
        for queue, part, name, column in (
            (reads, read_data, "read", read),
            (writes, write_data, "write", writes.column),
        ):
            m.d.comb += [
                queue.accept.eq(queue.column.valid),
                part.issue.eq(column.valid),
                part.id.eq(column.id),
                part.last.eq(column.last),
            ]
            if self.config.ecc:
                m.d.comb += [
                    Cat(part.place.way, part.place.set).eq(column.bank),
                    part.place.column.eq(column.column),
                    part.place.row.eq(column.row),
                ]
            on_pins = dram.column.op == (ColumnOp.READ if name == "read" else ColumnOp.WRITE)
            m.d.comb += getattr(windows, name).eq(on_pins)
            for n, bank in enumerate(banks):
                here = Cat(dram.column.group, dram.column.bank) == n
                m.d.comb += getattr(bank, name).eq(on_pins & here)
        for queue in own:
            m.d.comb += [
                queue.accept.eq(queue.column.valid),
                reads.accept.eq(reads.column.valid & ~queue.column.valid),
            ]
        m.d.comb += windows.column_group.eq(dram.column.group)
        given = Signal()
        m.d.comb += [given.eq(read.valid | writes.column.valid), turnaround.issue.eq(given)]
        chosen = Signal.like(reads.column)
        m.d.comb += chosen.eq(Mux(writes.column.valid, writes.column, read))
        op = Mux(writes.column.valid, ColumnOp.WRITE, ColumnOp.READ)
        m.d.sync += [
            dram.column.op.eq(Mux(given, op, ColumnOp.NOP)),
            Cat(dram.column.group, dram.column.bank).eq(chosen.bank),
            dram.column.column.eq(chosen.column),
        ]
        m.d.comb += dram.write.eq(write_data.pins)
        m.d.comb += read_data.pins.eq(dram.read)
        return given

    def _own_first(self, m, reads, own, read_data):
        """The column command of a read: the controller's own, or that of a master."""
        read = Signal.like(reads, name="read_column")
        for name in read.shape().members:
            m.d.comb += read[name].eq(reads[name] if name == "id" else Mux(own.valid, own[name], reads[name]))
        m.d.comb += [
            read.valid.eq(own.valid | reads.valid),
            read_data.purpose.eq(Mux(own.valid, own.id, Purpose.MASTER)),
        ]
        return read

    def _row(self, m, banks, windows, queues, writing, refresher, column):
        """The row command: the refresher's, or of the queues, that of the present direction first."""
        dram, config = self.dram, self.config
        timing, together = config.timing, not config.refreshes_banks
        reads, writes, *own = queues
        command = data.StructLayout(
            {"op": RowOp} | {n: dram.row.shape()[n].shape for n in ("group", "bank", "row")}
        )
        row = Signal(command)
        proposals = [(RowOp.ACTIVATE, "activate"), (RowOp.PRECHARGE, "precharge")]

        def propose(queue):
            for op, name in reversed(proposals):
                wish = getattr(queue, name)
                with m.If(wish.valid):
                    m.d.comb += [row.op.eq(op), Cat(row.group, row.bank).eq(wish.bank)]
                    m.d.comb += row.row.eq(wish.row)

        # Where so many bursts wait and none is for a bank, its next row is most likely another one.
        unused, open_banks = Signal(len(banks)), Cat(bank.may_precharge for bank in banks)
        m.d.sync += unused.eq(Mux(reads.full, reduce(and_, [~queue.wanted for queue in queues]), 0))
        idle = Signal(len(banks))
        m.d.comb += idle.eq(reduce(and_, [unused & open_banks, *(~queue.needed for queue in queues)]))
        first = Signal(len(banks))
        m.d.comb += first.eq(idle & -idle)
        with m.If(idle.any()):
            m.d.comb += [row.op.eq(RowOp.PRECHARGE), Cat(row.group, row.bank).eq(number_of(first))]
        with m.If(writing):
            for queue in (*own, reads, writes):
                propose(queue)
        with m.Else():
            for queue in (writes, reads, *own):
                propose(queue)
        activates = reduce(or_, [queue.activate.valid for queue in queues]) & ~refresher.urgent
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
                queue.row.bank.eq(Cat(dram.row.group, dram.row.bank)),
                queue.row.row.eq(dram.row.row),
            ]

    def _follow(self, m, banks, windows, row):
        """Tell the banks and windows of the row command on the pins."""
        is_op = lambda op: row.op == op
        for n, bank in enumerate(banks):
            here = Signal(name=f"row_of_bank{n}")
            m.d.comb += [
                here.eq(Cat(row.group, row.bank) == n),
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
