"""Sums of the passes of a block, in two banks: one is filled while the other is drained."""

from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ArrayConfig
from ..ecc.events import ECCEvents, uses
from ..ecc.memory import ECCMemory
from ..stream.delay import delay, history
from ..stream.loop_walk import LoopWalk
from ..verilog import place
from .array import SumsLayout

__all__ = ["BlockSums", "SUMS_COMMAND"]

SUMS_COMMAND = {"rows": 16, "steps": 16, "passes": 6, "groups": 16}
"""What BlockSums needs of a command."""


class BlockSums(wiring.Component):
    """Adds each token's partial sums over the passes, and keeps the sums of a step until they have been
    drained.

    Latency: 2 cycles from a step's last beat to ``full``, 1 from ``read`` to ``data``.

    Takes a beat a cycle; a beat of a new step waits while its token in the bank still has to be drained,
    without ``early`` while any has.

    With ``ecc`` rows have check bits, and ``full`` comes a cycle later; a beat comes no sooner than 3 cycles
    after that of the same row in the pass before.

    Parameters
    ----------
    config : ArrayConfig
    tokens : most rows of a command
    early : whether rows are taken for a new step before all of the bank has been drained
    ecc : whether there are check bits

    Members
    -------
    cmd : In(stream of :data:`SUMS_COMMAND`)
    i : In(stream(SumsLayout)), for each group, step, pass and row
    full : Out(1), the oldest step is complete
    row : In, the oldest step's next row to be read; those below it have been read
    read : In(1), read ``row``
    last : In(1), with ``read``: and that ends the step
    en : In(1), the reader's clock enable: ``read`` counts, and ``data`` is used up, only while it is 1
    data : Out(SumsLayout), from the cycle after ``read`` to the next cycle with ``en``
    events : Out(ECCEvents), with ``ecc``
    """

    LATENCY = 2
    """Cycles from a step's last beat to ``full``."""

    def __init__(self, config: ArrayConfig, *, tokens, early=True, ecc=False):
        self.config, self.tokens, self.early, self.ecc = config, tokens, early, ecc
        sums = SumsLayout(config)
        super().__init__(
            ({"events": Out(ECCEvents())} if ecc else {})
            | {
                "cmd": In(stream.Signature(data.StructLayout(SUMS_COMMAND))),
                "i": In(stream.Signature(sums)),
                "full": Out(1),
                "row": In(range(tokens)),
                "read": In(1),
                "last": In(1),
                "en": In(1),
                "data": Out(sums),
            }
        )

    def elaborate(self, platform):
        m = Module()
        walk = place(
            m,
            "walk",
            LoopWalk(
                fields=SUMS_COMMAND,
                loops={"group": "groups", "step": "steps", "pass_": "passes", "row": "rows"},
            ),
        )
        connect(m, flipped(self.cmd), walk.cmd)
        at = walk.o.payload
        full = Signal(2)
        fill_bank = Signal()
        drain_bank, data_bank, ended = self._drain(m)
        fill_row = at.index.row[: self.row.shape().width]
        free, accept = Signal(), Signal()
        # With check bits sums are written a cycle later: a bank is closed before it is full, and a beat may
        # come too soon for the sum of its row in the pass before.
        closed, soon = (Signal.like(full), Signal()) if self.ecc else (full, C(0))
        may = free & ~soon if self.ecc else free
        m.d.comb += [
            # Rows that have been read are overwritten early, but not so that the bank is read or completed
            # again.
            free.eq(
                ~closed.bit_select(fill_bank, 1)
                | (
                    at.first.pass_ & ~at.last.row & Mux(drain_bank == fill_bank, fill_row < self.row, ended)
                    if self.early
                    else 0
                )
            ),
            self.i.ready.eq(walk.o.valid & may),
            accept.eq(self.i.valid & self.i.ready),
            walk.o.ready.eq(accept),
        ]

        # Cycle 1: the sum so far.
        beat = Signal(self.i.payload.shape(), reset_less=True)
        first, complete, write = Signal(), Signal(), Signal()
        write_bank, write_row = Signal(), Signal.like(self.row)
        m.d.sync += [
            beat.eq(self.i.payload),
            first.eq(at.first.pass_),
            write.eq(accept),
            write_bank.eq(fill_bank),
            write_row.eq(fill_row),
            complete.eq(accept & at.last.pass_ & at.last.row),
        ]
        with m.If(accept & at.last.pass_ & at.last.row):
            m.d.sync += fill_bank.eq(~fill_bank)
        now = SimpleNamespace(accept=accept, first=at.first.pass_, bank=fill_bank, row=fill_row)
        stage = SimpleNamespace(
            beat=beat, first=first, complete=complete, write=write, bank=write_bank, row=write_row
        )
        so_far = self._banks(m, now, stage, full, drain_bank, ended, closed, soon)
        m.d.comb += [
            self.full.eq(full.bit_select(drain_bank, 1)),
            self.data.eq(Mux(data_bank, so_far[1], so_far[0])),
        ]
        return m

    def _banks(self, m, now, stage, full, drain_bank, ended, closed, soon):
        """The banks: what is read in cycle 0, what is added and written in cycle 1, with check bits in cycle
        2; what is read of each bank."""
        so_far, used = [], []
        totals = Signal(self.i.payload.shape())
        last = self._late(m, stage) if self.ecc else stage
        for b in range(2):
            adding = Signal(name=f"adding{b}")
            bank, read_port, write_port = self._bank(m, f"bank{b}", len(totals.as_value()))
            m.d.comb += [
                adding.eq(now.accept & ~now.first & (now.bank == b)),
                read_port.en.eq(adding | (self.en & self.read & (drain_bank == b))),
                read_port.addr.eq(Mux(adding, now.row, self.row)),
                write_port.en.eq(last.write & (last.bank == b)),
                write_port.addr.eq(last.row),
                write_port.data.eq(totals),
            ]
            so_far.append(data.View(totals.shape(), read_port.data))
            if self.ecc:
                used.append((history(m, 1, f"read{b}", read_port.en, 1)[1], bank))
            with m.If(last.complete & (last.bank == b)):
                m.d.sync += full[b].eq(1)
            with m.Elif(self.en & ended & (drain_bank != b)):
                m.d.sync += full[b].eq(0)
        before = so_far
        if self.ecc:
            m.d.sync += self.events.eq(uses(*used))
            corrected = Mux(stage.bank, so_far[1].as_value(), so_far[0].as_value())
            before = [totals.shape()(delay(m, 1, "corrected", corrected, 1))] * 2
            same = stage.write & (stage.row == now.row) | last.write & (last.row == now.row)
            m.d.comb += [soon.eq(same & ~now.first), closed.eq(full | Mux(last.complete, 1 << last.bank, 0))]
        self._add(m, totals, last.beat, last.first, last.bank, before)
        return so_far

    def _late(self, m, stage):
        """The signals of ``stage`` a cycle later."""
        late = lambda name, value: delay(m, 1, f"late_{name}", value, 1, reset_less=name == "beat")
        return SimpleNamespace(**{name: late(name, value) for name, value in vars(stage).items()})

    def _drain(self, m):
        """The bank that is read next; the one that ``data`` comes from; whether the last row of the bank that
        is not read next has just been read, so that its sums are on their way to the reader."""
        drain_bank = Signal()
        data_bank = Signal()
        ended = Signal()
        with m.If(self.en):
            m.d.sync += ended.eq(self.read & self.last)
            with m.If(self.read):
                m.d.sync += data_bank.eq(drain_bank)
                with m.If(self.last):
                    m.d.sync += drain_bank.eq(~drain_bank)
        return drain_bank, data_bank, ended

    def _bank(self, m, name, width):
        """A bank, whose rows have ``width`` bits, its read port and its write port."""
        if self.ecc:
            bank = place(m, name, ECCMemory(width=width, depth=self.tokens))
            return bank, bank.read, bank.write
        m.submodules[name] = bank = memory.Memory(shape=width, depth=self.tokens, init=[])
        write_port = bank.write_port()
        # A row of consecutive passes comes at least a tile's items apart.
        read_port = bank.read_port(transparent_for=(write_port,) if self.config.items < 2 else ())
        return bank, read_port, write_port

    def _add(self, m, totals, beat, first, bank, so_far):
        """Makes ``totals``: the beat's sums, and, but in the first pass, those so far of ``bank``."""
        for s in range(self.config.segments):
            for c in range(self.config.cols):
                total, so, before = totals[s][c], beat[s][c], [sums[s][c] for sums in so_far]
                m.d.comb += [
                    total.value.eq(so.value + Mux(first, 0, Mux(bank, before[1].value, before[0].value))),
                    total.special.eq(
                        so.special | Mux(first, 0, Mux(bank, before[1].special, before[0].special))
                    ),
                ]
