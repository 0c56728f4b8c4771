"""The configuration of a chip's memory ports and of what is behind them."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from numbers import Rational

from amaranth.utils import ceil_log2, exact_log2

from .axi.bursts import BOUNDARY_BYTES
from .axi.homes import HomesConfig
from .axi.paging import PAGE_ALIGNMENT, WINDOW_BIT, PagingConfig
from .axi.signature import AXIConfig
from .config_error import FOLLOWS, between, power_of_two, require
from .dram.config import DramConfig
from .local_config import LINE_BYTES

__all__ = ["MemoryConfig"]


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """The chip's memory ports, and the memory that simulation puts behind each.

    ``data_width`` (bits) and ``addr_width`` are each AXI4 port's. ``burst_beats`` bounds a burst;
    ``outstanding`` is the number of reads one engine keeps in flight; of writes, of which many are single
    beats, it is :attr:`outstanding_writes`; of commands, ``fetch_bursts`` of four. There are ``homes`` ports:
    with more than one, byte address A is behind port A // ``home_bytes``. With ``host_port`` the chip has a
    slave port for a host, which leads to all of them. The last ``kv_bytes`` of each home, 0 or a power of
    two, are an SRAM on the chip, the KV buffer, and not behind the port. ``bandwidth`` (bytes per cycle,
    reads and writes together) and ``latency`` (cycles from AR to the first R beat) describe the memory of a
    port, for simulation and for the roofline. With ``dram`` the chip has a DRAM controller at each port, and
    its pins instead of the port's; both are the DRAM's then. With ``paging`` addresses of the window go
    through page tables. ``ecc`` is the chip's.
    """

    data_width: int = 256
    addr_width: int = 32
    burst_beats: int = 16
    outstanding: int = 8
    fetch_bursts: int = 2
    homes: int = 1
    home_bytes: int = 1 << 28
    host_port: bool = False
    kv_bytes: int = 0
    bandwidth: Fraction = Fraction(20)
    latency: int = 60
    dram: DramConfig | None = None
    paging: PagingConfig | None = None
    ecc: bool = field(default=False, metadata=FOLLOWS)

    def __post_init__(self):
        if self.dram is not None:
            object.__setattr__(self, "bandwidth", self.dram.bandwidth)
            object.__setattr__(self, "latency", self.dram.latency)
        power_of_two("memory data_width", self.data_width, 32)
        require(self.data_width <= 512, f"memory data_width must be at most 512, not {self.data_width!r}")
        between("memory addr_width", self.addr_width, 16, 40)
        power_of_two("memory burst_beats", self.burst_beats)
        require(self.burst_beats <= 256, f"memory burst_beats must be at most 256, not {self.burst_beats!r}")
        power_of_two("memory outstanding", self.outstanding)
        power_of_two("memory fetch_bursts", self.fetch_bursts)
        power_of_two("memory homes", self.homes)
        power_of_two("memory home_bytes", self.home_bytes, BOUNDARY_BYTES)
        require(
            self.homes == 1 or self.homes * self.home_bytes <= 1 << self.addr_width,
            f"{self.homes} homes of {self.home_bytes} bytes are more than memory addr_width "
            f"{self.addr_width} can address",
        )
        if self.kv_bytes:
            power_of_two("memory kv_bytes", self.kv_bytes, BOUNDARY_BYTES)
            require(
                self.kv_bytes <= self.bytes_of_home // 2,
                f"memory kv_bytes must be at most half of a home's {self.bytes_of_home} bytes, not "
                f"{self.kv_bytes}",
            )
        if self.dram is not None:
            self._check_dram(self.dram.timing)
        if self.paging is not None:
            require(
                not self.kv_bytes and self.addr_width <= WINDOW_BIT,
                f"paging needs homes without KV buffers (paging = false takes the page tables away), and a "
                f"memory addr_width of at most {WINDOW_BIT}",
            )
            object.__setattr__(self, "paging", replace(self.paging, homes=self.homes))
        require(
            isinstance(self.bandwidth, Rational) and 0 < self.bandwidth <= self.data_bytes,
            f"memory bandwidth must be above 0 and at most {self.data_bytes} bytes per cycle, not "
            f"{self.bandwidth}",
        )
        require(
            isinstance(self.latency, int) and self.latency >= 1,
            f"memory latency must be at least 1 cycle, not {self.latency!r}",
        )

    def _check_dram(self, timing):
        own, held = timing.burst_bytes, timing.bytes
        require(
            self.data_bytes == own,
            f"the DRAM has beats of {own} bytes, and a memory data_width of {self.data_width} does not: it "
            f"must be {8 * own}",
        )
        name, value = ("addr_width", exact_log2(held)) if self.homes == 1 else ("home_bytes", held)
        require(
            held == self.bytes_of_home,
            f"the DRAM has {held} bytes: memory {name} must be {value}, not {getattr(self, name)}",
        )

    @property
    def data_bytes(self):
        return self.data_width // 8

    @property
    def beat_lines(self):
        """Lines that LOAD and STORE move whole multiples of: those of a beat, at least 1."""
        return max(1, self.data_bytes // LINE_BYTES)

    @property
    def bytes_of_home(self):
        """Bytes of memory that the chip can address in each home, its KV buffer included."""
        return 1 << self.addr_width if self.homes == 1 else self.home_bytes

    @property
    def home_bits(self):
        """Of an address in a home."""
        return exact_log2(self.bytes_of_home)

    @property
    def most_bytes(self):
        """Bytes of memory that the chip can address."""
        return self.homes * self.bytes_of_home

    @property
    def home_end(self):
        """With page tables and several homes, bytes of a home, divided by 4,096; else 0."""
        return self.home_bytes // PAGE_ALIGNMENT if self.paging is not None and self.homes > 1 else 0

    @property
    def kv_buffers(self):
        """(first, end) address of each home's KV buffer, if there are any."""
        ends = (self.bytes_of_home * (home + 1) for home in range(self.homes))
        return [(end - self.kv_bytes, end) for end in ends if self.kv_bytes]

    @property
    def total_bandwidth(self):
        """Bytes per cycle of all ports together."""
        return self.homes * self.bandwidth

    @property
    def outstanding_writes(self):
        """Writes that the DMA engine keeps in flight: each takes a bit."""
        return 4 * self.outstanding

    @property
    def pending_transfers(self):
        """Commands of one direction that the DMA engine has begun and not completed, at most: of short ones,
        what memory's latency has room for."""
        return max(8, self.outstanding) - 1

    @property
    def queued_loads(self):
        """LOADs whose reads may have begun while an earlier one's data are written; more than 8 would be a
        memory without check bits."""
        return min(max(2, self.outstanding // 4), 8)

    @property
    def axi(self):
        """The :class:`~poblano.axi.signature.AXIConfig` of each master inside the chip. With several places
        of memory, which answer in any order, there is an id for each burst in flight."""
        ids = ceil_log2(self.outstanding_writes) if self.several else 1
        return AXIConfig(addr_width=self.addr_width, data_width=self.data_width, id_width=ids)

    @property
    def command_axi(self):
        """The :class:`~poblano.axi.signature.AXIConfig` of the masters that execute commands, whose addresses
        may be of the window."""
        return self.axi if self.paging is None else replace(self.axi, addr_width=WINDOW_BIT + 1)

    @property
    def home_map(self):
        """The :class:`~poblano.axi.homes.HomesConfig`: which home, or which KV buffer, an address is in."""
        return HomesConfig(count=self.homes, size=self.bytes_of_home, window=self.kv_bytes)

    @property
    def several(self):
        """Whether there are several memories: homes or KV buffers."""
        return self.home_map.places > 1
