"""The configuration of a DRAM controller, and the times of its DRAM in its own cycles."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from amaranth.utils import exact_log2

from ..axi.signature import AXIConfig
from .address import AddressMap
from .code import BurstCode
from .timing import TIMING_SETS, TimingSet

__all__ = ["OPEN", "Cycles", "DramConfig"]

PIPELINE = 6
"""Cycles that a read spends in the controller."""
CHECK = 2
"""Cycles that it takes to correct a read when it comes, and again when it has waited for AXI."""
OPEN = 3
"""Cycles from an activation to the first row command of its bank that knows of it and of the bursts that want
the row: with less, two bursts could close each other's rows for ever."""


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """The times between commands in cycles of the controller: the second command comes at least so many
    cycles after the first.

    ``same`` is for commands to one bank group, ``other`` for commands to different ones. A write's data is
    on the pins from ``write_latency`` cycles after its command, a read's ``read_latency``. ``interval`` is
    the average of refreshes of all banks, ``longest`` the most between refreshes of a bank.
    """

    burst: int
    read_latency: int
    write_latency: int
    act_to_read: int
    act_to_write: int
    act_to_precharge: int
    act_to_act: int
    act_to_act_other: int
    act_to_act_same: int
    four_acts: int
    precharge_to_act: int
    read_to_precharge: int
    write_to_precharge: int
    column_other: int
    column_same: int
    write_to_read_other: int
    write_to_read_same: int
    read_to_write: int
    refresh_all: int
    refresh_bank: int
    refresh_to_refresh: int
    interval: int
    longest: int

    @classmethod
    def of(cls, timing, clock_ns, *, phy_read=0):
        """Of a :class:`~poblano.dram.timing.TimingSet` whose memory clock takes ``clock_ns`` nanoseconds,
        with ``phy_read`` cycles that a read's data spend in a PHY."""
        t = timing.clocks(clock_ns)
        row, column, ratio = timing.row_phase, timing.column_phase, timing.ratio

        def cycles(clocks, first, second):
            """Between commands in the phases ``first`` and ``second``."""
            return max(1, -(-(clocks + first - second) // ratio))

        written = t["cwl"] + timing.burst_clocks  # from a write to the end of its data
        rows = lambda name: cycles(t[name], row, row)
        columns = lambda clocks: cycles(clocks, column, column)
        interval = t["refi"] // ratio
        return cls(
            burst=columns(timing.burst_clocks),
            read_latency=-(-(t["cl"] + column) // ratio) + phy_read,
            write_latency=(t["cwl"] + column) // ratio,
            act_to_read=cycles(t["rcd_read"], row, column),
            act_to_write=cycles(t["rcd_write"], row, column),
            act_to_precharge=max(OPEN, rows("ras")),
            act_to_act=max(OPEN, rows("rc")),
            act_to_act_other=rows("rrd_s"),
            act_to_act_same=rows("rrd_l"),
            four_acts=rows("faw"),
            precharge_to_act=rows("rp"),
            read_to_precharge=cycles(t["rtp"], column, row),
            write_to_precharge=cycles(written + t["wr"], column, row),
            column_other=columns(max(t["ccd_s"], timing.burst_clocks)),
            column_same=columns(max(t["ccd_l"], timing.burst_clocks)),
            write_to_read_other=columns(written + t["wtr_s"]),
            write_to_read_same=columns(written + t["wtr_l"]),
            read_to_write=columns(t["rtw"]),
            refresh_all=rows("rfc_all"),
            refresh_bank=rows("rfc_bank"),
            refresh_to_refresh=rows("rrefd"),
            interval=interval,
            longest=(1 + timing.postponed) * interval,
        )


@dataclass(frozen=True, kw_only=True)
class DramConfig:
    """A DRAM controller and the DRAM behind it, a pseudo-channel of HBM or a device.

    ``kind`` is a name of :data:`~poblano.dram.timing.TIMING_SETS` or a
    :class:`~poblano.dram.timing.TimingSet`; ``clock_mhz`` the controller's clock, of which the memory's is a
    multiple. ``reads`` and ``writes`` are the AXI bursts that are queued, ``read_beats`` and
    ``write_beats`` the beats of data that are kept; a batch of writes begins with ``write_batch`` beats, or
    when one has waited for ``write_wait`` cycles. ``bank_refresh`` False refreshes all banks at once,
    though the DRAM could do it bank by bank. ``channels`` pseudo-channels side by side, each with a part of
    every beat, follow the same commands. ``rows``, if not 0, lowers the rows of a bank; ``oldest`` is how
    many cycles the oldest burst waits until younger ones no longer hold it up. ``address_bits``, if not 0,
    are the bits of AXI's addresses; those above the DRAM's are not looked at. ``phy_read`` are the cycles
    that a read's data spend in a PHY between the DRAM's pins and the controller's.

    With ``ecc`` the sideband of each burst has its check bits, see :class:`~poblano.dram.code.BurstCode`, and
    in every ``scrub_interval`` cycles one burst is read only to see whether bits have flipped.
    """

    kind: str | TimingSet = "HBM3-6.4"
    clock_mhz: Fraction = Fraction(800)
    reads: int = 16
    writes: int = 8
    read_beats: int = 64
    write_beats: int = 128
    write_batch: int = 64
    write_wait: int = 256
    bank_refresh: bool = True
    channels: int = 1
    rows: int = 0
    oldest: int = 1024
    id_width: int = 5
    address_bits: int = 0
    phy_read: int = 0
    ecc: bool = False
    scrub_interval: int = 65536

    def __post_init__(self):
        if not isinstance(self.kind, TimingSet) and self.kind not in TIMING_SETS:
            raise ValueError(f"DRAM kind must be one of {', '.join(TIMING_SETS)}, not {self.kind!r}")
        fastest = 1000 / self._kind.clock_ns / self._kind.ratio
        if not 0 < self.clock_mhz <= Fraction(1001, 1000) * fastest:
            raise ValueError(
                f"the clock must be above 0 and at most {float(fastest):g} MHz for {self._kind.name}, not "
                f"{float(self.clock_mhz):g}"
            )
        for name in ("reads", "writes", "write_beats", "read_beats", "write_batch"):
            value = getattr(self, name)
            least = 3 if name == "read_beats" else 2  # a BufferedFIFO of 2 may refuse its second beat
            if not isinstance(value, int) or value < least:
                raise ValueError(f"DRAM {name} must be at least {least}, not {value!r}")
        if self.write_batch > self.write_beats:
            raise ValueError(f"write_batch {self.write_batch} is above the {self.write_beats} write_beats")
        if not isinstance(self.phy_read, int) or self.phy_read < 0:
            raise ValueError(f"DRAM phy_read must be at least 0 cycles, not {self.phy_read!r}")
        if not isinstance(self.scrub_interval, int) or self.scrub_interval < 1:
            raise ValueError(f"DRAM scrub_interval must be at least 1 cycle, not {self.scrub_interval!r}")
        exact_log2(self.timing.rows)
        if self.ecc:
            self.code  # noqa: B018 - it refuses DRAMs without room for it
            latency = self.cycles.write_latency
            if latency < 2:
                raise ValueError(f"ecc needs a write latency of 2 cycles, {self._kind.name} has {latency}")

    @cached_property
    def code(self):
        """The :class:`~poblano.dram.code.BurstCode`."""
        return BurstCode(self.timing)

    @property
    def _kind(self):
        return self.kind if isinstance(self.kind, TimingSet) else TIMING_SETS[self.kind]

    @cached_property
    def timing(self):
        """The :class:`~poblano.dram.timing.TimingSet`, with ``rows`` and of all ``channels``."""
        kind, count = self._kind, self.channels
        return replace(
            kind,
            rows=self.rows or kind.rows,
            page_bytes=count * kind.page_bytes,
            burst_bytes=count * kind.burst_bytes,
            sideband_bits=count * kind.sideband_bits,
        )

    @cached_property
    def address_map(self):
        """The :class:`~poblano.dram.address.AddressMap`."""
        return AddressMap(self.timing)

    @property
    def clock_ns(self):
        """Nanoseconds of a memory clock."""
        return 1000 / Fraction(self.clock_mhz) / self._kind.ratio

    @cached_property
    def cycles(self):
        """The :class:`Cycles`."""
        clock_ns = max(self.clock_ns, self.timing.clock_ns)
        return Cycles.of(self.timing, clock_ns, phy_read=self.phy_read)

    @property
    def refreshes_banks(self):
        """Whether banks are refreshed one by one."""
        return self.bank_refresh and self.timing.bank_refresh

    @property
    def addr_width(self):
        """Bits of the address of a byte."""
        return exact_log2(self.timing.bytes)

    @property
    def granule(self):
        """Contiguous bytes in one row of each bank of a set."""
        return self.timing.ways * self.timing.page_bytes

    @property
    def axi(self):
        """The :class:`~poblano.axi.signature.AXIConfig` of the chip's side."""
        return AXIConfig(
            addr_width=self.address_bits or self.addr_width,
            data_width=8 * self.timing.burst_bytes,
            id_width=self.id_width,
        )

    @property
    def peak(self):
        """Bytes a cycle while the data pins are busy."""
        return Fraction(self.timing.burst_bytes, self.cycles.burst)

    @property
    def bandwidth(self):
        """Bytes a cycle of reads one after the other: the peak, less the refreshes that nothing can be done
        beside."""
        t = self.cycles
        if self.refreshes_banks:
            return self.peak
        lost = t.read_to_precharge + t.precharge_to_act + t.refresh_all + t.act_to_read
        return self.peak * (1 - Fraction(lost, t.interval))

    @property
    def latency(self):
        """Cycles from the address of a read to its first beat, with its bank closed."""
        t = self.cycles
        return PIPELINE + (CHECK if self.ecc else 0) + t.act_to_read + t.read_latency + t.burst
