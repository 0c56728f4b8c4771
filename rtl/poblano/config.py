"""One configuration object makes every size of the chip.

A block gets only its slice (:class:`ArrayConfig`, :class:`TileConfig`, :class:`MemoryConfig`,
:class:`LocalConfig`) and the few numbers that it needs besides; only the chip, its tiles and the command
processor see the whole. The presets are in :data:`PRESETS`; :func:`preset` looks one up with a clear error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from .array_config import DEFAULT_FORMATS, ArrayConfig
from .axi.paging import PAGE_ALIGNMENT, PagingConfig
from .config_error import FOLLOWS, ConfigError, between, power_of_two, require
from .config_file import read_config
from .dram.config import DramConfig
from .experts_config import MOST_GROUPS, ExpertsConfig
from .isa.header import LOCAL_BITS
from .isa.topology import MOST_TILES, Topology
from .local_config import BLOCK, LINE_BYTES, LINE_WORDS, LocalConfig
from .memory_config import MemoryConfig

__all__ = [
    "BLOCK",
    "LINE_BYTES",
    "LINE_WORDS",
    "MOST_GROUPS",
    "ArrayConfig",
    "ChipConfig",
    "ConfigError",
    "ExpertsConfig",
    "LocalConfig",
    "MemoryConfig",
    "PAGE_ALIGNMENT",
    "PRESETS",
    "PagingConfig",
    "TileConfig",
    "preset",
]


@dataclass(frozen=True, kw_only=True)
class TileConfig:
    """One tile: an array with its accumulator, buffers and vector unit.

    ``lanes`` FP32 lanes make a row of vector memory, the accumulator's scaler and the vector unit.
    ``tokens`` is the accumulator's depth: the most activation rows of one matrix command. ``scalers``
    columns of block sums are scaled in a cycle (``lanes`` by default). ``vmem_lines`` (32 bytes each) sizes
    the vector memory, ``amem_blocks`` (32 elements, a scale and a sum each) the activation memory,
    ``fifo_bytes`` the weight buffer. ``ecc`` and ``experts`` are the chip's.
    """

    array: ArrayConfig = field(default_factory=ArrayConfig)
    lanes: int = 8
    scalers: int = None  # type: ignore[assignment]  # never None once it is made
    tokens: int = 128
    vmem_lines: int = 8192
    vmem_banks: int = 4
    amem_blocks: int = 4096
    fifo_bytes: int = 8192
    ecc: bool = field(default=False, metadata=FOLLOWS)
    experts: ExpertsConfig | None = field(default=None, metadata=FOLLOWS)

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
            ecc=self.ecc,
        )

    def __post_init__(self):
        power_of_two("array rows of a tile", self.array.rows)
        power_of_two("array cols of a tile", self.array.cols, 2)
        power_of_two("tile lanes", self.lanes, 2)
        require(
            self.lanes <= min(self.array.cols, BLOCK),
            f"tile lanes must be at most the array's cols and {BLOCK}, not {self.lanes} with "
            f"{self.array.cols} cols",
        )
        if self.scalers is None:
            object.__setattr__(self, "scalers", self.lanes)
        require(
            self.scalers in (1 << n for n in range(32)) and self.lanes <= self.scalers <= self.array.cols,
            f"tile scalers must be a power of two from the {self.lanes} lanes to the array's "
            f"{self.array.cols} cols, not {self.scalers!r}",
        )
        power_of_two("tile tokens", self.tokens, 2)
        power_of_two("tile vmem_lines", self.vmem_lines, 16)
        power_of_two("tile vmem_banks", self.vmem_banks, 2)
        power_of_two("tile amem_blocks", self.amem_blocks, 16)
        power_of_two("tile fifo_bytes", self.fifo_bytes, 256)
        require(
            max(self.vmem_lines, self.amem_blocks) <= 1 << LOCAL_BITS,
            f"vmem_lines and amem_blocks must be at most {1 << LOCAL_BITS}: commands address them with "
            f"{LOCAL_BITS} bits",
        )

    @property
    def derived(self):
        """The fields that follow from others, as they are given then."""
        return {"scalers": None} if self.scalers == self.lanes else {}


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """The whole chip: ``tiles`` tiles, one DMA engine, one command processor, one or more memory ports.

    ``formats`` are the number formats of every tile's array (the given ``tile``'s by default). With
    ``clock_gates`` the clocks of parts that have nothing to do stand still; without, for FPGAs, there is one
    clock, and every cycle is the same.

    With ``ecc`` the words of memories carry check bits: single flipped bits are corrected, two are errors.
    With ``clear_at_reset`` the local memories are zero after a reset; ``ecc`` implies it. Where nothing on
    the chip moves for ``watchdog`` cycles while a command waits or is in progress, that is an error; 0
    leaves the watchdog out, and software can set another time. ``experts`` are the mixtures of experts that
    the chip routes; None: it routes none, and has no hardware for it.
    """

    name: str = "custom"
    formats: tuple | None = None
    tiles: int = 2
    tile: TileConfig = field(default_factory=TileConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    queue_depth: int = 4
    clock_gates: bool = True
    ecc: bool = False
    clear_at_reset: bool | None = None
    watchdog: int = 65536
    experts: ExpertsConfig | None = None

    def __post_init__(self):
        if self.clear_at_reset is None:
            object.__setattr__(self, "clear_at_reset", self.ecc)
        require(
            self.clear_at_reset or not self.ecc, "ecc needs clear_at_reset: no word has check bits before"
        )
        if self.ecc and self.memory.dram is not None:
            try:
                replace(self.memory.dram, ecc=True)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        require(
            isinstance(self.watchdog, int) and 0 <= self.watchdog < 1 << 32,
            f"watchdog must be a number of cycles below {1 << 32}, or 0 for none, not {self.watchdog!r}",
        )
        formats = tuple(self.tile.array.formats if self.formats is None else self.formats)
        object.__setattr__(self, "formats", formats)
        array = replace(self.tile.array, formats=formats)
        object.__setattr__(self, "tile", replace(self.tile, array=array, ecc=self.ecc, experts=self.experts))
        object.__setattr__(self, "memory", replace(self.memory, ecc=self.ecc))
        between("tiles", self.tiles, 1, MOST_TILES)
        power_of_two("queue_depth", self.queue_depth)
        require(
            not self.ecc or self.queue_depth <= 8,
            f"queue_depth must be at most 8 with ecc, not {self.queue_depth}: longer queues are memories "
            "without check bits",
        )
        tile, memory = self.tile, self.memory
        require(
            memory.data_width <= 32 * tile.lanes,
            f"memory data_width must be at most {32 * tile.lanes}, 32 bits for each of the tile's "
            f"{tile.lanes} lanes, not {memory.data_width}",
        )
        require(
            self.tiles % memory.homes == 0,
            f"tiles must be a multiple of the memory's {memory.homes} homes, not {self.tiles!r}",
        )

    @property
    def derived(self):
        """The fields that follow from others, as they are given then."""
        cleared = {"clear_at_reset": None} if self.clear_at_reset == self.ecc else {}
        return {"formats": None} | cleared

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

    def with_axi_ports(self, *, bandwidth=Fraction(20), latency=60):
        """This chip with AXI4 ports instead of DRAM controllers, for a memory of other kinds."""
        return self.with_memory(dram=None, addr_width=32, bandwidth=Fraction(bandwidth), latency=latency)

    def with_ecc(self, ecc=True):
        """This chip with check bits in its memories, which are then cleared at reset, or without."""
        return replace(self, ecc=ecc, clear_at_reset=None)

    def with_memory(self, **changes):
        """This chip with another memory behind it."""
        return replace(self, memory=replace(self.memory, **changes))


def _row_bandwidth(tiles, cols):
    """Bytes per cycle that feed every array one Q4_1 weight row a cycle: 5 bits a weight with scale and
    minimum."""
    return Fraction(tiles * cols * 5, 8)


_FORMATS64 = (*DEFAULT_FORMATS, "mxfp8_e4m3", "mxfp4_e2m1")


def _small_tile():
    return TileConfig(
        array=ArrayConfig(rows=4, cols=4),
        lanes=2,
        tokens=16,
        vmem_lines=1024,
        amem_blocks=512,
        fifo_bytes=512,
    )


def _tile64(**array):
    return TileConfig(
        array=ArrayConfig(rows=64, cols=64, **array),
        lanes=32,
        scalers=64,
        tokens=256,
        vmem_lines=32768,
        amem_blocks=65536,
        fifo_bytes=65536,
    )


def _hbm3_homes(count, pages):
    """As many homes of 1 GiB, each two pseudo-channels of HBM3 side by side: 64 bytes a cycle. Sequences have
    ``pages`` pages at most."""
    dram = DramConfig(channels=2)
    return MemoryConfig(
        data_width=512,
        addr_width=39,
        outstanding=16,
        fetch_bursts=8,
        homes=count,
        home_bytes=dram.timing.bytes,
        dram=dram,
        paging=PagingConfig(pages=pages),
    )


def _nano():
    memory = MemoryConfig(data_width=64, burst_beats=8, outstanding=4, bandwidth=_row_bandwidth(1, 4))
    return ChipConfig(tiles=1, tile=_small_tile(), memory=memory, queue_depth=2)


def _ulx3s():
    # The board's memory: 32 MiB, at the board's clock, behind pins with registers.
    sdram = DramConfig(
        kind="SDR-100",
        clock_mhz=Fraction(30),
        phy_read=1,
        reads=8,
        writes=4,
        read_beats=64,
        write_beats=32,
        write_batch=16,
    )
    memory = MemoryConfig(
        data_width=32, addr_width=25, burst_beats=16, outstanding=4, host_port=True, dram=sdram
    )
    return ChipConfig(tiles=1, tile=_small_tile(), memory=memory, queue_depth=2, clock_gates=False)


def _desk():
    tile = TileConfig(
        array=ArrayConfig(rows=16, cols=16, load_rows=2),
        lanes=8,
        tokens=128,
        vmem_lines=8192,
        amem_blocks=4096,
        fifo_bytes=8192,
    )
    memory = MemoryConfig(data_width=256, addr_width=29, dram=DramConfig(), paging=PagingConfig())
    return ChipConfig(tiles=2, tile=tile, memory=memory)


def _desk_moe():
    return replace(_desk(), experts=ExpertsConfig())


def _one_tile64():
    return ChipConfig(tiles=1, tile=_tile64(), memory=MemoryConfig(data_width=256, bandwidth=Fraction(32)))


def _hbm3_chip(tiles, queue_depth, pages):
    return ChipConfig(
        tiles=tiles,
        formats=_FORMATS64,
        tile=_tile64(load_rows=2),
        memory=_hbm3_homes(tiles, pages),
        queue_depth=queue_depth,
    )


class _Presets(Mapping):
    """Configurations by name, made when they are looked up: one that can't be built breaks only itself."""

    def __init__(self, **makers):
        self._makers, self._made = makers, {}

    def __getitem__(self, name):
        if name not in self._made:
            maker = self._makers[name]
            try:
                self._made[name] = replace(maker(), name=name)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"the preset {name!r} can't be built: {error}") from error
        return self._made[name]

    def __contains__(self, name):
        return name in self._makers

    def __iter__(self):
        return iter(self._makers)

    def __len__(self):
        return len(self._makers)


PRESETS = _Presets(
    nano=_nano,
    ulx3s=_ulx3s,
    desk=_desk,
    **{"desk-moe": _desk_moe},
    tile64=_one_tile64,
    flagship=lambda: _hbm3_chip(16, 8, pages=256),
    quad=lambda: _hbm3_chip(4, 4, pages=512),
)
"""``nano`` fits a small FPGA; ``ulx3s`` is the same for a board, with a controller of its
SDRAM and a port for its host; ``desk`` is
simulated, with a pseudo-channel of HBM3, and ``desk-moe`` routes experts too; ``tile64`` is the block of an
ASIC, one 64x64 array with its
buffers. ``flagship`` is the whole data-centre chip, for export and for the performance model: 16 of these
tiles (65,536 MAC a cycle) and one stack of HBM3, 16 GiB at 819 GB/s and 800 MHz. Each tile has a home of
its own: 1 GiB behind two pseudo-channels, 64 bytes a cycle. That is 102 weights of Q4_1, more than a row of
an array, so two rows enter at once. A tile has 1 MiB of vector memory and 2 MiB of activation memory:
enough for steps of 256 tokens of a model of 2048/8192. ``quad`` is a quarter of it, which can be
simulated."""


def preset(name):
    """The preset called ``name``, or that of a TOML file if the name ends so; :class:`ConfigError` names the
    ones there are."""
    if str(name).endswith(".toml"):
        return read_config(name, ChipConfig, preset)
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
