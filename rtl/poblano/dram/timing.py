"""Timing sets: what each kind of DRAM demands between its commands, in memory clocks and nanoseconds.

Names and meanings are JEDEC's: JESD238 for HBM3, JESD235 for HBM2, JESD79-3 for DDR3, and Micron's data
sheet of the MT48LC16M16A2 for single-data-rate SDRAM. JEDEC leaves many minima of HBM to the vendors, whose
data sheets are not public: those here are the ones that public simulators use (Ramulator 2.0 and DRAMsim3
have them), and a real stack may demand others.
"""

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

__all__ = ["TIMING_SETS", "Limit", "TimingSet"]


@dataclass(frozen=True)
class Limit:
    """A time that is at least ``clocks`` memory clocks and at least ``ns`` nanoseconds."""

    clocks: int = 0
    ns: Fraction = Fraction(0)

    def at(self, clock_ns):
        """Memory clocks, of ``clock_ns`` nanoseconds each."""
        return max(self.clocks, -(-self.ns // Fraction(clock_ns)))


@dataclass(frozen=True, kw_only=True)
class TimingSet:
    """A kind of DRAM: its geometry, and the times that its commands need.

    Parameters
    ----------
    name : str
    source : where the numbers are from
    clock_ns : the shortest memory clock, tCK
    groups, banks : bank groups (1 where the kind has none), banks in each
    rows, page_bytes : rows of a bank, bytes of a row
    burst_bytes, burst_clocks : bytes that a column command moves, and memory clocks for which they are on
        the data pins
    sideband_bits : bits that are stored beside a burst, for error correction
    ratio : memory clocks in a clock of the controller
    row_phase, column_phase : the memory clock of the controller's, from 0, in which row and column commands
        are; on one command bus of ``ratio`` 1 there is one command in a clock
    shared_bus : row and column commands share pins
    bank_refresh : whether banks can be refreshed one by one
    postponed : refreshes of all banks that may be put off
    cl, cwl : memory clocks from a read and a write command to its data
    rcd_read, rcd_write : from an activation to a column command
    rp : from a precharge to an activation
    ras, rc : from an activation to a precharge, and to the next activation of the bank
    ccd_s, ccd_l : between column commands, to other groups and to the same group
    rrd_s, rrd_l, faw : between activations of other banks, and of five
    rtp : from a read to a precharge
    wr : from the end of write data to a precharge
    wtr_s, wtr_l : from the end of write data to a read
    rtw : from a read to a write command
    rfc_all, rfc_bank : from a refresh of all banks, of one bank, to the next command to what was refreshed
    rrefd : from a refresh of a bank to a refresh or an activation of another
    refi : average interval between refreshes of all banks; as many refreshes of one bank as there are banks
        count as one
    """

    name: str
    source: str
    clock_ns: Fraction
    groups: int
    banks: int
    rows: int
    page_bytes: int
    burst_bytes: int
    burst_clocks: int
    sideband_bits: int = 0
    ratio: int
    row_phase: int = 0
    column_phase: int = 0
    shared_bus: bool = False
    bank_refresh: bool = False
    postponed: int = 8
    cl: int
    cwl: int
    rcd_read: Limit
    rcd_write: Limit
    rp: Limit
    ras: Limit
    rc: Limit
    ccd_s: Limit
    ccd_l: Limit
    rrd_s: Limit
    rrd_l: Limit
    faw: Limit
    rtp: Limit
    wr: Limit
    wtr_s: Limit
    wtr_l: Limit
    rtw: Limit
    rfc_all: Limit
    rfc_bank: Limit = Limit()
    rrefd: Limit = Limit()
    refi: Limit

    @property
    def columns(self):
        """Bursts in a row."""
        return self.page_bytes // self.burst_bytes

    @property
    def ways(self):
        """Bank groups that column commands have to go round so that they follow each other without a pause:
        a power of two."""
        fastest = max(self.ccd_s.at(self.clock_ns), self.burst_clocks)
        needed = -(-self.ccd_l.at(self.clock_ns) // fastest)
        return min(self.groups, 1 << (needed - 1).bit_length())

    @property
    def sets(self):
        """Sets of :attr:`ways` banks in as many bank groups, of which a stream opens a row each."""
        return self.groups * self.banks // self.ways

    @property
    def bytes(self):
        """Capacity of what one controller reaches: for HBM, of a pseudo-channel."""
        return self.groups * self.banks * self.rows * self.page_bytes

    def clocks(self, clock_ns):
        """All times in memory clocks of ``clock_ns`` nanoseconds, by name: the least that is allowed, or of
        ``refi`` the average that must be kept."""
        limits = {field.name: getattr(self, field.name) for field in fields(self)}
        clocks = {name: limit.at(clock_ns) for name, limit in limits.items() if isinstance(limit, Limit)}
        return clocks | {"cl": self.cl, "cwl": self.cwl, "refi": int(self.refi.ns // Fraction(clock_ns))}


def _set(clock_ns, *, clocks, times, **others):
    """A TimingSet of numbers in memory clocks of ``clock_ns``: ``clocks`` that stay clocks at any frequency,
    ``times`` that are times."""
    clock_ns = Fraction(clock_ns)
    limits: dict[str, Any] = {name: Limit(clocks=value) for name, value in clocks.items()}
    limits |= {name: Limit(ns=value * clock_ns) for name, value in times.items()}
    return TimingSet(clock_ns=clock_ns, **limits, **others)


_HBM3 = _set(
    "0.625",
    name="HBM3-6.4",
    source="JESD238; minima that it leaves to vendors as in Ramulator 2.0",
    groups=4,
    banks=4,
    rows=32768,
    page_bytes=1024,
    burst_bytes=32,
    burst_clocks=2,
    sideband_bits=16,
    ratio=2,
    bank_refresh=True,
    cl=20,
    cwl=10,
    clocks=dict(ccd_s=2, ccd_l=4, rtw=20),
    times=dict(
        rcd_read=31,
        rcd_write=15,
        rp=26,
        ras=45,
        rc=72,
        rrd_s=4,
        rrd_l=5,
        faw=24,
        rtp=9,
        wr=33,
        wtr_s=7,
        wtr_l=10,
        rfc_all=560,
        rfc_bank=320,
        rrefd=13,
        refi=6240,
    ),
)

_HBM3E = _set(
    "0.417",
    name="HBM3E-9.6",
    source="JESD238; HBM3's times, at 9.6 Gb/s a pin",
    groups=4,
    banks=4,
    rows=32768,
    page_bytes=1024,
    burst_bytes=32,
    burst_clocks=2,
    sideband_bits=16,
    ratio=2,
    bank_refresh=True,
    cl=30,
    cwl=15,
    clocks=dict(ccd_s=2, ccd_l=6, rtw=30),
    times=dict(
        rcd_read=47,
        rcd_write=23,
        rp=39,
        ras=68,
        rc=108,
        rrd_s=6,
        rrd_l=8,
        faw=36,
        rtp=14,
        wr=50,
        wtr_s=11,
        wtr_l=15,
        rfc_all=840,
        rfc_bank=480,
        rrefd=20,
        refi=9360,
    ),
)

_HBM2E = _set(
    "0.625",
    name="HBM2E-3.2",
    source="JESD235D; minima that it leaves to vendors as in DRAMsim3 and Ramulator 2.0",
    groups=4,
    banks=4,
    rows=16384,
    page_bytes=1024,
    burst_bytes=32,
    burst_clocks=2,
    sideband_bits=16,
    ratio=2,
    bank_refresh=True,
    cl=23,
    cwl=8,
    clocks=dict(ccd_s=2, ccd_l=4, rtw=19),
    times=dict(
        rcd_read=23,
        rcd_write=19,
        rp=23,
        ras=54,
        rc=76,
        rrd_s=7,
        rrd_l=7,
        faw=24,
        rtp=8,
        wr=26,
        wtr_s=11,
        wtr_l=14,
        rfc_all=560,
        rfc_bank=256,
        rrefd=13,
        refi=6240,
    ),
)

_DDR3 = _set(
    "1.25",
    name="DDR3-1600",
    source="JESD79-3F, speed bin DDR3-1600K, one 4 Gb device of 16 bits",
    groups=1,
    banks=8,
    rows=32768,
    page_bytes=2048,
    burst_bytes=16,
    burst_clocks=4,
    ratio=4,
    column_phase=2,
    shared_bus=True,
    cl=11,
    cwl=8,
    clocks=dict(ccd_s=4, ccd_l=4, rtw=9),
    times=dict(
        rcd_read=11,
        rcd_write=11,
        rp=11,
        ras=28,
        rc=39,
        rrd_s=6,
        rrd_l=6,
        faw=32,
        rtp=6,
        wr=12,
        wtr_s=6,
        wtr_l=6,
        rfc_all=208,
        refi=6240,
    ),
)

_SDR = _set(
    "10",
    name="SDR-100",
    source="Micron MT48LC16M16A2-7E, 16 bits, burst length 2, CL 2",
    groups=1,
    banks=4,
    rows=8192,
    page_bytes=1024,
    burst_bytes=4,
    burst_clocks=2,
    ratio=1,
    shared_bus=True,
    cl=2,
    cwl=0,
    # A write's data must not meet a read's on the pins: CL, the burst, and a clock to turn around.
    clocks=dict(ccd_s=2, ccd_l=2, rtw=5),
    times=dict(
        rcd_read=2,
        rcd_write=2,
        rp=2,
        ras=5,
        rc=7,
        rrd_s=2,
        rrd_l=2,
        faw=2,
        rtp=2,
        wr=2,
        wtr_s=0,
        wtr_l=0,
        rfc_all=7,
        refi=781,
    ),
)

TIMING_SETS = {each.name: each for each in (_HBM3, _HBM3E, _HBM2E, _DDR3, _SDR)}
"""By name."""
