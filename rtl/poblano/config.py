"""One configuration object makes every size of the chip.

A block gets only its slice (:class:`ArrayConfig`, :class:`TileConfig`, :class:`MemoryConfig`,
:class:`LocalConfig`) and the few numbers that it needs besides; only the chip, its tiles and the command
processor see the whole. The presets are in :data:`PRESETS`; :func:`preset` looks one up with a clear error.
"""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from amaranth.utils import ceil_log2

from .axi.bursts import BOUNDARY_BYTES
from .axi.homes import HomesConfig
from .axi.signature import AXIConfig
from .dram.config import DramConfig
from .formats.element import Arithmetic
from .formats.multiply import MULTIPLIERS
from .isa.header import LOCAL_BITS
from .isa.topology import MOST_TILES, Topology
from .local_config import BLOCK, LINE_BYTES, LINE_WORDS, LocalConfig

__all__ = [
    "BLOCK",
    "LINE_BYTES",
    "LINE_WORDS",
    "ArrayConfig",
    "ChipConfig",
    "ConfigError",
    "LocalConfig",
    "MemoryConfig",
    "PRESETS",
    "TileConfig",
    "preset",
]

DEFAULT_FORMATS = ("int8", "int4")


class ConfigError(ValueError):
    """A configuration that can't be built; the message quotes the value."""


def _require(condition, message):
    if not condition:
        raise ConfigError(message)


def _power_of_two(name, value, low=1):
    _require(
        isinstance(value, int) and value >= low and value & (value - 1) == 0,
        f"{name} must be a power of two of at least {low}, not {value!r}",
    )


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """A weight-stationary systolic array of ``rows`` x ``cols`` processing elements.

    A block of 32 along K takes ``passes`` weight tiles when the array is lower than a block; an array of
    more rows, a multiple of 32, computes ``segments`` blocks at a time. ``formats`` are the number formats
    that it computes with (names of :data:`~poblano.formats.element.FORMATS`). ``load_rows`` rows of weights
    (columns, of a transposed stream) enter in a cycle. ``fp4_rate`` 2: a processing element multiplies two
    4-bit weights a cycle. ``multiplier`` "lut" builds its multipliers from carry chains, for FPGAs without
    free DSP blocks; ``multiplier_registers`` gives them registers at their inputs and outputs, for a faster
    clock.
    """

    rows: int = 16
    cols: int = 16
    formats: tuple = DEFAULT_FORMATS
    load_rows: int = 1
    fp4_rate: int = 1
    multiplier: str = "dsp"
    multiplier_registers: bool = False

    def __post_init__(self):
        _require(
            self.multiplier in MULTIPLIERS,
            f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {self.multiplier!r}",
        )
        _require(
            isinstance(self.rows, int) and self.rows >= 1 and (self.rows < BLOCK or self.rows % BLOCK == 0),
            f"array rows must be below {BLOCK} or a multiple of it, not {self.rows!r}",
        )
        _require(
            isinstance(self.cols, int) and self.cols >= 1, f"array cols must be at least 1, not {self.cols!r}"
        )
        _require(
            self.load_rows in (1, 2, 4)
            and min(self.rows, BLOCK) % self.load_rows == 0
            and self.cols % self.load_rows == 0,
            f"load_rows must be 1, 2 or 4 and divide the array's {self.rows} rows and {self.cols} cols, not "
            f"{self.load_rows!r}",
        )
        try:
            _ = self.arithmetic
        except ValueError as error:
            raise ConfigError(str(error)) from None
        _require(
            self.fp4_rate == 1 or 2 * self.rows <= BLOCK,
            f"fp4_rate 2 needs an array of at most {BLOCK // 2} rows, not {self.rows}",
        )

    @property
    def arithmetic(self):
        """The :class:`~poblano.formats.element.Arithmetic` of a processing element."""
        return Arithmetic(tuple(self.formats), self.fp4_rate)

    @property
    def segments(self):
        """Blocks of 32 rows in the array (at least 1)."""
        return max(1, self.rows // BLOCK)

    @property
    def passes(self):
        """Weight tiles per block of 32 (at least 1)."""
        return -(-BLOCK // self.rows)

    @property
    def passes_4bit(self):
        """Weight tiles per block of 4-bit weights."""
        return -(-BLOCK // (self.rows * self.fp4_rate))

    @property
    def items(self):
        """Cycles in which a weight tile enters the array, by rows or columns, the fewer."""
        return min(self.rows, self.cols) // self.load_rows

    @property
    def sum_width(self):
        """Bits of a signed block sum."""
        return self.arithmetic.sum_width


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """The chip's memory ports, and the memory that simulation puts behind each.

    ``data_width`` (bits) and ``addr_width`` are each AXI4 port's. ``burst_beats`` bounds a burst;
    ``outstanding`` is the number of reads one engine keeps in flight; of writes, of which many are single
    beats, it is :attr:`outstanding_writes`. There are ``homes`` ports: with more than one, byte address A is
    behind port A // ``home_bytes``. With ``host_port`` the chip has a slave port for a host, which leads to
    all of them. ``bandwidth`` (bytes per cycle, reads and writes together) and
    ``latency`` (cycles from AR to the first R beat) describe the memory of a port, for simulation and for
    the roofline. With ``dram`` the chip has a DRAM controller at each port, and its pins instead of the
    port's; both are the DRAM's then.
    """

    data_width: int = 256
    addr_width: int = 32
    burst_beats: int = 16
    outstanding: int = 8
    homes: int = 1
    home_bytes: int = 1 << 28
    host_port: bool = False
    bandwidth: Fraction = Fraction(20)
    latency: int = 60
    dram: DramConfig | None = None

    def __post_init__(self):
        if self.dram is not None:
            object.__setattr__(self, "bandwidth", self.dram.bandwidth)
            object.__setattr__(self, "latency", self.dram.latency)
        _power_of_two("memory data_width", self.data_width, 32)
        _require(self.data_width <= 512, f"memory data_width must be at most 512, not {self.data_width!r}")
        _require(16 <= self.addr_width <= 40, f"memory addr_width must be 16 to 40, not {self.addr_width!r}")
        _power_of_two("memory burst_beats", self.burst_beats)
        _require(self.burst_beats <= 256, f"memory burst_beats must be at most 256, not {self.burst_beats!r}")
        _power_of_two("memory outstanding", self.outstanding)
        _power_of_two("memory homes", self.homes)
        _power_of_two("memory home_bytes", self.home_bytes, BOUNDARY_BYTES)
        _require(
            self.homes == 1 or self.homes * self.home_bytes <= 1 << self.addr_width,
            f"{self.homes} homes of {self.home_bytes} bytes are more than memory addr_width "
            f"{self.addr_width} can address",
        )
        _require(
            0 < self.bandwidth <= self.data_bytes,
            f"memory bandwidth must be above 0 and at most {self.data_bytes} bytes per cycle, not "
            f"{self.bandwidth}",
        )
        if self.dram is not None:
            own, held = self.dram.timing.burst_bytes, self.dram.timing.bytes
            _require(
                self.data_bytes == own,
                f"the DRAM has beats of {own} bytes, and a memory data_width of {self.data_width} does not",
            )
            _require(
                held == (self.home_bytes if self.homes > 1 else 1 << self.addr_width),
                f"the DRAM has {held} bytes, and addr_width (of several homes: home_bytes) does not say so",
            )

    @property
    def data_bytes(self):
        return self.data_width // 8

    @property
    def beat_lines(self):
        """Lines that LOAD and STORE move whole multiples of: those of a beat, at least 1."""
        return max(1, self.data_bytes // LINE_BYTES)

    @property
    def most_bytes(self):
        """Bytes of memory that the chip can address."""
        return 1 << self.addr_width if self.homes == 1 else self.homes * self.home_bytes

    @property
    def total_bandwidth(self):
        """Bytes per cycle of all ports together."""
        return self.homes * self.bandwidth

    @property
    def outstanding_writes(self):
        """Writes that the DMA engine keeps in flight: each takes a bit."""
        return 4 * self.outstanding

    @property
    def axi(self):
        """The :class:`~poblano.axi.signature.AXIConfig` of each master inside the chip. With several homes,
        which answer in any order, there is an id for each burst in flight."""
        ids = ceil_log2(self.outstanding_writes) if self.homes > 1 else 1
        return AXIConfig(addr_width=self.addr_width, data_width=self.data_width, id_width=ids)

    @property
    def home_map(self):
        """The :class:`~poblano.axi.homes.HomesConfig`: which home an address is in."""
        return HomesConfig(count=self.homes, size=self.home_bytes)


@dataclass(frozen=True, kw_only=True)
class TileConfig:
    """One tile: an array with its accumulator, buffers and vector unit.

    ``lanes`` FP32 lanes make a row of vector memory, the accumulator's scaler and the vector unit.
    ``tokens`` is the accumulator's depth: the most activation rows of one matrix command. ``scalers``
    columns of block sums are scaled in a cycle (``lanes`` by default). ``vmem_lines`` (32 bytes each) sizes
    the vector memory, ``amem_blocks`` (32 elements, a scale and a sum each) the activation memory,
    ``fifo_bytes`` the weight buffer.
    """

    array: ArrayConfig = field(default_factory=ArrayConfig)
    lanes: int = 8
    scalers: int = None  # type: ignore[assignment]  # never None once it is made
    tokens: int = 128
    vmem_lines: int = 8192
    vmem_banks: int = 4
    amem_blocks: int = 4096
    fifo_bytes: int = 8192

    @property
    def vmem_rows(self):
        """Rows of ``lanes`` words in vector memory."""
        return self.vmem_lines * LINE_WORDS // self.lanes

    @property
    def amem_words(self):
        """Words of ``array.segments`` blocks in activation memory."""
        return self.amem_blocks // self.array.segments

    @property
    def row_lines(self):
        """Lines that rows of vector memory begin at multiples of: 1, or more of more than 8 lanes."""
        return max(1, self.lanes // LINE_WORDS)

    @property
    def local(self):
        """The :class:`LocalConfig` of the tile's memories."""
        return LocalConfig(
            lanes=self.lanes,
            segments=self.array.segments,
            sum_width=self.array.arithmetic.activation_sum_width,
            vmem_addr_width=(self.vmem_rows - 1).bit_length(),
            amem_addr_width=(self.amem_blocks - 1).bit_length(),
        )

    def __post_init__(self):
        _power_of_two("tile lanes", self.lanes, 2)
        if self.scalers is None:
            object.__setattr__(self, "scalers", self.lanes)
        _power_of_two("tile scalers", self.scalers, self.lanes)
        _require(
            self.scalers <= self.array.cols,
            f"tile scalers must be at most the array's {self.array.cols} cols, not {self.scalers}",
        )
        _power_of_two("array rows of a tile", self.array.rows)
        _power_of_two("array cols of a tile", self.array.cols, 2)
        _power_of_two("tile tokens", self.tokens, 2)
        _power_of_two("tile vmem_lines", self.vmem_lines, 16)
        _power_of_two("tile vmem_banks", self.vmem_banks, 2)
        _power_of_two("tile amem_blocks", self.amem_blocks, 16)
        _power_of_two("tile fifo_bytes", self.fifo_bytes, 256)
        _require(
            max(self.vmem_lines, self.amem_blocks) <= 1 << LOCAL_BITS,
            f"vmem_lines and amem_blocks must be at most {1 << LOCAL_BITS}: commands address them with "
            f"{LOCAL_BITS} bits",
        )
        _require(
            self.lanes <= min(self.array.cols, BLOCK),
            f"tile lanes must be at most the array's cols and {BLOCK}, not {self.lanes} with "
            f"{self.array.cols} cols",
        )


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """The whole chip: ``tiles`` tiles, one DMA engine, one command processor, one or more memory ports.

    ``formats`` are the number formats of every tile's array (the given ``tile``'s by default). With
    ``clock_gates`` the clocks of parts that have nothing to do stand still; without, for FPGAs, there is one
    clock, and every cycle is the same.
    """

    name: str = "custom"
    formats: tuple | None = None
    tiles: int = 2
    tile: TileConfig = field(default_factory=TileConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    queue_depth: int = 4
    clock_gates: bool = True

    def __post_init__(self):
        formats = tuple(self.tile.array.formats if self.formats is None else self.formats)
        object.__setattr__(self, "formats", formats)
        object.__setattr__(self, "tile", replace(self.tile, array=replace(self.tile.array, formats=formats)))
        _require(1 <= self.tiles <= MOST_TILES, f"tiles must be 1 to {MOST_TILES}, not {self.tiles!r}")
        _power_of_two("queue_depth", self.queue_depth)
        tile, memory = self.tile, self.memory
        _require(
            memory.data_width <= 32 * tile.lanes,
            f"memory data_width {memory.data_width} must be at most a vector-memory row of {32 * tile.lanes} "
            "bits",
        )
        _require(
            self.tiles % memory.homes == 0,
            f"tiles must be a multiple of the memory's {memory.homes} homes, not {self.tiles!r}",
        )

    @property
    def stream_bytes(self):
        """Bytes in a word of a tile's weight stream: a memory beat, or what enters the array in a cycle,
        the largest."""
        array = self.tile.array
        return max(self.memory.data_bytes, array.load_rows * array.cols, array.load_rows * array.rows)

    @cached_property
    def topology(self):
        """The :class:`~poblano.isa.topology.Topology`: units, read masters and bus sources, and their
        numbers."""
        return Topology(self)

    @property
    def units(self):
        """How many units execute commands."""
        return len(self.topology.units)

    @property
    def macs_per_cycle(self):
        return self.tiles * self.tile.array.rows * self.tile.array.cols

    def with_memory(self, **changes):
        """This chip with another memory behind it."""
        return replace(self, memory=replace(self.memory, **changes))


def _row_bandwidth(tiles, cols):
    """Bytes per cycle that feed every array one Q4_1 weight row a cycle: 5 bits a weight with scale and
    minimum."""
    return Fraction(tiles * cols * 5, 8)


_TILE64 = TileConfig(
    array=ArrayConfig(rows=64, cols=64),
    lanes=32,
    scalers=64,
    tokens=256,
    vmem_lines=32768,
    amem_blocks=65536,
    fifo_bytes=65536,
)

PRESETS = {
    "nano": ChipConfig(
        name="nano",
        tiles=1,
        tile=TileConfig(
            array=ArrayConfig(rows=4, cols=4),
            lanes=2,
            tokens=16,
            vmem_lines=1024,
            amem_blocks=512,
            fifo_bytes=512,
        ),
        memory=MemoryConfig(data_width=64, burst_beats=8, outstanding=4, bandwidth=_row_bandwidth(1, 4)),
        queue_depth=2,
    ),
    "ulx3s": ChipConfig(
        name="ulx3s",
        tiles=1,
        tile=TileConfig(
            array=ArrayConfig(rows=4, cols=4),
            lanes=2,
            tokens=16,
            vmem_lines=1024,
            amem_blocks=512,
            fifo_bytes=512,
        ),
        memory=MemoryConfig(data_width=32, burst_beats=16, outstanding=4, bandwidth=Fraction(4), latency=4),
        queue_depth=2,
        clock_gates=False,
    ),
    "desk": ChipConfig(
        name="desk",
        tiles=2,
        tile=TileConfig(
            array=ArrayConfig(rows=16, cols=16, load_rows=2),
            lanes=8,
            tokens=128,
            vmem_lines=8192,
            amem_blocks=4096,
            fifo_bytes=8192,
        ),
        memory=MemoryConfig(data_width=256, addr_width=29, dram=DramConfig()),
    ),
    "tile64": ChipConfig(
        name="tile64", tiles=1, tile=_TILE64, memory=MemoryConfig(data_width=256, bandwidth=Fraction(32))
    ),
    "flagship": ChipConfig(
        name="flagship",
        tiles=16,
        tile=_TILE64,
        memory=MemoryConfig(
            data_width=256, addr_width=40, outstanding=32, bandwidth=Fraction(32), latency=200
        ),
        queue_depth=8,
    ),
    "quad": ChipConfig(
        name="quad",
        tiles=4,
        formats=(*DEFAULT_FORMATS, "mxfp8_e4m3", "mxfp4_e2m1"),
        tile=replace(_TILE64, array=ArrayConfig(rows=64, cols=64, load_rows=2)),
        memory=MemoryConfig(
            data_width=512, outstanding=16, homes=4, home_bytes=1 << 30, bandwidth=Fraction(64), latency=100
        ),
    ),
}
"""``nano`` fits a small FPGA; ``ulx3s`` is the same with a memory port for an FPGA's block RAM; ``desk`` is
simulated; ``tile64`` is the block of an ASIC, one 64x64 array with its buffers. ``flagship`` is the whole
data-centre chip, for export and for the performance model: 16 of these tiles (65,536 MAC a cycle) and a
memory with HBM's latency and 40-bit addresses. Its one memory port is the widest there is, 32 bytes a
cycle: at 1 GHz one pseudo-channel of HBM (26 GB/s), not a stack (819 GB/s). ``quad`` has four tiles,
each with a home of its own: 1 GiB behind a port of 64 bytes a cycle, two pseudo-channels of HBM. That is 102
weights of Q4_1, more than a row of an array, so two rows enter at once. A tile has 1 MiB of vector memory and
2 MiB of activation memory: enough for steps of 256 tokens of a model of 2048/8192."""


def preset(name):
    """The preset called ``name``; :class:`ConfigError` names the ones there are."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(f"unknown preset {name!r}; the presets are {', '.join(PRESETS)}") from None
