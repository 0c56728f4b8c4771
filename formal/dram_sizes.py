"""Small DRAMs for proofs, and what a DRAM's timing set demands between commands at the pins."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count

from amaranth.hdl import *

from poblano.dram.config import DramConfig
from poblano.dram.signature import ColumnOp, RowOp
from poblano.dram.timing import Limit, TimingSet

__all__ = ["BANK", "GROUP", "GROUPED", "OTHER", "PHASES", "SHARED", "Rule", "commands", "rules", "small"]

BANK, GROUP, OTHER = 1, 2, 4
"""Where the second command of a rule is: in the bank itself, in another of its group, in another group."""

_CLOCKS = {
    **dict(rcd_read=6, rcd_write=5, rp=3, ras=5, rc=11, ccd_s=2, ccd_l=4, rrd_s=2, rrd_l=3, faw=16, rtp=3),
    **dict(wr=2, wtr_s=1, wtr_l=2, rtw=4, rfc_all=8, rfc_bank=6, rrefd=3),
}
GROUPED = TimingSet(
    name="grouped",
    source="no real one: all times differ and are short",
    clock_ns=Fraction(1),
    groups=2,
    banks=2,
    rows=4,
    page_bytes=2,
    burst_bytes=1,
    burst_clocks=2,
    ratio=2,
    bank_refresh=True,
    postponed=3,
    cl=2,
    cwl=1,
    **{name: Limit(clocks=value) for name, value in _CLOCKS.items()},
    refi=Limit(ns=Fraction(80)),
)
"""Two groups of two banks, as HBM."""
PHASES = replace(
    GROUPED, name="phases", groups=1, banks=4, column_phase=1, bank_refresh=False, shared_bus=True
)
"""Rows and columns in different clocks of a cycle, as DDR3."""
_SHORT = dict(rcd_read=3, rcd_write=3, rp=2, ras=3, rc=6, faw=6, rfc_all=4)
SHARED = replace(
    PHASES,
    name="shared",
    ratio=1,
    column_phase=0,
    burst_clocks=1,
    cl=1,
    cwl=0,
    **{name: Limit(clocks=value) for name, value in _SHORT.items()},
    refi=Limit(ns=Fraction(60)),
)
"""One command in a cycle, as SDR."""


def small(timing, **changes):
    """A DramConfig of two bursts and few beats each way."""
    sizes = dict(reads=2, writes=2, read_beats=3, write_beats=2, write_batch=2, write_wait=3, oldest=6)
    clock = 1000 / timing.clock_ns / timing.ratio
    return DramConfig(**dict(kind=timing, clock_mhz=clock, id_width=1) | sizes | changes)


@dataclass(frozen=True)
class Rule:
    """The second command comes at least ``clocks`` memory clocks after the first, if its bank is in
    ``scope``."""

    first: str
    second: str
    scope: int
    clocks: int

    def cycles(self, timing):
        """The cycles from the first to the second command that are too few: below how many."""
        return next(n for n in count() if n * timing.ratio + self.phases(timing) >= self.clocks)

    def phases(self, timing):
        """Clocks from the first to the second command in the same cycle."""
        phase = lambda kind: timing.column_phase if kind in ("RD", "WR") else timing.row_phase
        return phase(self.second) - phase(self.first)


def rules(timing):
    """The :class:`Rule` of a timing set without times in nanoseconds, as JEDEC's tables have them."""
    at = lambda name: getattr(timing, name).clocks
    written = timing.cwl + timing.burst_clocks
    column = lambda name: max(at(name), timing.burst_clocks)
    refresh = "rfc_bank" if timing.bank_refresh else "rfc_all"
    table = [
        *(("ACT", "RD", BANK, at("rcd_read")), ("ACT", "WR", BANK, at("rcd_write"))),
        *(("ACT", "PRE", BANK, at("ras")), ("PRE", "ACT", BANK, at("rp")), ("PRE", "REF", BANK, at("rp"))),
        *(("ACT", "ACT", BANK, at("rc")), ("ACT", "REF", BANK, at("rc"))),
        *(("ACT", "ACT", GROUP, at("rrd_l")), ("ACT", "ACT", OTHER, at("rrd_s"))),
        *(("RD", "PRE", BANK, at("rtp")), ("WR", "PRE", BANK, written + at("wr"))),
        *((kind, kind, BANK | GROUP, column("ccd_l")) for kind in ("RD", "WR")),
        *((kind, kind, OTHER, column("ccd_s")) for kind in ("RD", "WR")),
        *(("WR", "RD", BANK | GROUP, written + at("wtr_l")), ("WR", "RD", OTHER, written + at("wtr_s"))),
        ("RD", "WR", BANK | GROUP | OTHER, at("rtw")),
        *(("REF", second, BANK, at(refresh)) for second in ("ACT", "PRE", "REF")),
    ]
    if timing.bank_refresh:
        table += [
            *(("ACT", "REF", GROUP, at("rrd_l")), ("ACT", "REF", OTHER, at("rrd_s"))),
            *(("REF", second, GROUP | OTHER, at("rrefd")) for second in ("ACT", "REF")),
        ]
    return [Rule(*row) for row in table]


def commands(dram, group, bank):
    """By kind, whether such a command for a bank is at the pins of ``dram``."""
    row, column = dram.row, dram.column
    here = (row.group == group) & (row.bank == bank)
    there = (column.group == group) & (column.bank == bank)
    return {
        "ACT": (row.op == RowOp.ACTIVATE) & here,
        "PRE": (row.op == RowOp.PRECHARGE) & here | (row.op == RowOp.PRECHARGE_ALL),
        "REF": (row.op == RowOp.REFRESH_BANK) & here | (row.op == RowOp.REFRESH_ALL),
        "RD": (column.op == ColumnOp.READ) & there,
        "WR": (column.op == ColumnOp.WRITE) & there,
    }
