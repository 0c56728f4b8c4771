"""Sums of the passes of a block, in two banks: one is filled while the other is drained."""

from amaranth.hdl import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ArrayConfig
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

    Parameters
    ----------
    config : ArrayConfig
    tokens : most rows of a command
    early : whether rows are taken for a new step before all of the bank has been drained

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
    """

    def __init__(self, config: ArrayConfig, *, tokens, early=True):
        self.config, self.tokens, self.early = config, tokens, early
        sums = SumsLayout(config)
        super().__init__(
            {
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
        m.d.comb += [
            # Rows that have been read are overwritten early, but not so that the bank is read or completed
            # again.
            free.eq(
                ~full.bit_select(fill_bank, 1)
                | (
                    at.first.pass_ & ~at.last.row & Mux(drain_bank == fill_bank, fill_row < self.row, ended)
                    if self.early
                    else 0
                )
            ),
            self.i.ready.eq(walk.o.valid & free),
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

        totals = Signal(self.i.payload.shape())
        so_far = []
        for b in range(2):
            adding = Signal(name=f"adding{b}")
            read_port, write_port = self._bank(m, f"bank{b}", len(totals.as_value()))
            m.d.comb += [
                adding.eq(accept & ~at.first.pass_ & (fill_bank == b)),
                read_port.en.eq(adding | (self.en & self.read & (drain_bank == b))),
                read_port.addr.eq(Mux(adding, fill_row, self.row)),
                write_port.en.eq(write & (write_bank == b)),
                write_port.addr.eq(write_row),
                write_port.data.eq(totals),
            ]
            so_far.append(data.View(totals.shape(), read_port.data))
            with m.If(complete & (write_bank == b)):
                m.d.sync += full[b].eq(1)
            with m.Elif(self.en & ended & (drain_bank != b)):
                m.d.sync += full[b].eq(0)
        self._add(m, totals, beat, first, write_bank, so_far)
        m.d.comb += [
            self.full.eq(full.bit_select(drain_bank, 1)),
            self.data.eq(Mux(data_bank, so_far[1], so_far[0])),
        ]
        return m

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
        """The read port and the write port of a bank, whose rows have ``width`` bits."""
        m.submodules[name] = bank = memory.Memory(shape=width, depth=self.tokens, init=[])
        write_port = bank.write_port()
        # A row of consecutive passes comes at least a tile's items apart.
        read_port = bank.read_port(transparent_for=(write_port,) if self.config.items < 2 else ())
        return read_port, write_port

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
