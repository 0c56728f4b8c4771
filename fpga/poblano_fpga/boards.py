"""The boards: devices, pins, clocks, and the engine that each holds."""

from dataclasses import dataclass, field, replace

from poblano.config import ArrayConfig, ConfigError
from poblano.engine.config import EngineConfig
from poblano.engine.system import EngineSystem

__all__ = ["BOARDS", "Board", "board", "with_array"]


@dataclass(frozen=True)
class Board:
    """``clock_hz`` of the design comes from the crystal's ``input_hz`` through the device's PLL with the
    parameters ``pll``.

    ``pins``: package pins of clk, rx (from the host), tx and the LEDs ``active`` and ``busy``, which light
        when 0 if ``led_low``.
    ``fixed``: pins that must have a level. ``multipliers``: of 8 by 8 bits; ``luts``, ``flip_flops``,
        ``block_rams``: what the device has.
    """

    name: str
    title: str
    family: str
    device: str
    input_hz: int
    clock_hz: int
    baud: int
    pll: dict
    pins: dict
    engine: EngineConfig
    multipliers: int
    multiplier_cells: str
    luts: int
    flip_flops: int
    block_rams: int
    payload: int = 256
    led_low: bool = True
    fixed: dict = field(default_factory=dict)
    loader: tuple = ()
    seed: int = 1

    @property
    def array(self):
        return self.engine.array

    @property
    def sdram(self):
        """The :class:`~poblano.board.sdram.SdramSignature` of the SDRAM that the system has pins for; None
        without."""
        return None

    @property
    def macs_per_second(self):
        return self.array.rows * self.array.cols * self.clock_hz

    def system(self):
        """The design and its bridge, with ``rx``, ``tx``, ``active`` and ``busy``."""
        return EngineSystem(self.engine, clock_hz=self.clock_hz, baud=self.baud, payload=self.payload)


def _engine(rows, cols, *, multiplier_registers=False, **options):
    return EngineConfig(
        array=ArrayConfig(rows=rows, cols=cols, formats=("int8",), multiplier_registers=multiplier_registers),
        **options,
    )


BOARDS = {
    b.name: b
    for b in (
        Board(
            name="icebreaker",
            title="iCEBreaker (iCE40UP5K)",
            family="ice40",
            device="iCE40UP5K-SG48",
            input_hz=12_000_000,
            clock_hz=24_000_000,
            baud=3_000_000,
            pll=dict(DIVR=0, DIVF=63, DIVQ=5, FILTER_RANGE=1),
            pins=dict(clk="35", rx="6", tx="9", led_active="37", led_busy="11"),
            engine=_engine(4, 4, tokens=16, memory_bytes=65536, ports=1),
            multipliers=16,
            multiplier_cells="8 SB_MAC16, two products each",
            luts=5280,
            flip_flops=5280,
            block_rams=30,
            payload=512,
            loader=("-b", "ice40_generic"),
        ),
        Board(
            name="ulx3s",
            title="ULX3S-85F (ECP5)",
            family="ecp5",
            device="LFE5U-85F-6BG381C",
            input_hz=25_000_000,
            clock_hz=90_000_000,
            baud=3_000_000,
            pll=dict(CLKI_DIV=5, CLKFB_DIV=18, CLKOP_DIV=7, CLKOP_CPHASE=3),
            pins=dict(clk="G2", rx="M1", tx="L4", led_active="B2", led_busy="C2"),
            led_low=False,
            fixed={"L3": 1},
            engine=_engine(12, 12, multiplier_registers=True, tokens=16, memory_bytes=32768, ports=2),
            multipliers=156,
            multiplier_cells="156 MULT18X18D, one product each",
            luts=83640,
            flip_flops=83640,
            block_rams=208,
            payload=1024,
            loader=("-b", "ulx3s"),
        ),
        Board(
            name="tangnano20k",
            title="Tang Nano 20K (GW2AR-18)",
            family="gowin",
            device="GW2AR-LV18QN88C8/I7",
            input_hz=27_000_000,
            clock_hz=54_000_000,
            baud=3_000_000,
            pll=dict(FCLKIN="27", IDIV_SEL=0, FBDIV_SEL=1, ODIV_SEL=16),
            pins=dict(clk="4", rx="70", tx="69", led_active="15", led_busy="16"),
            engine=_engine(8, 12, tokens=16, memory_bytes=16384, ports=2),
            multipliers=96,
            multiplier_cells="96 MULT9X9",
            luts=20736,
            flip_flops=15552,
            block_rams=46,
            payload=1024,
            loader=("-b", "tangnano20k"),
        ),
    )
}


def board(name):
    """The board called ``name``; ConfigError names the ones there are."""
    if name not in BOARDS:
        raise ConfigError(f"unknown board {name!r}; the boards are {', '.join(BOARDS)}")
    return BOARDS[name]


def with_array(board, rows, cols):
    """``board`` with an array of another size; ConfigError if the board has too few multipliers for it."""
    if rows * cols > board.multipliers:
        fits = board.engine.array
        raise ConfigError(
            f"an array of {rows} x {cols} needs {rows * cols} multipliers, {rows * cols - board.multipliers} "
            "more than the "
            f"{board.multipliers} of {board.title} ({board.multiplier_cells}); {fits.rows} x {fits.cols} fits"
        )
    array = replace(board.engine.array, rows=rows, cols=cols)
    return replace(board, engine=replace(board.engine, array=array))
