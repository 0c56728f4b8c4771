"""Boards that hold the whole chip, with their SDRAM as its memory."""

from dataclasses import dataclass, fields

from poblano.board.sdram import SdramPhy
from poblano.board.system import ChipSystem
from poblano.config import ChipConfig, ConfigError, preset

from .boards import BOARDS, Board

__all__ = ["CHIP_BOARDS", "ChipBoard", "chip_board"]


@dataclass(frozen=True, kw_only=True)
class ChipBoard(Board):
    """A board whose design is a chip; ``pins`` are also its SDRAM's."""

    chip: ChipConfig

    @property
    def memory_bytes(self):
        return self.chip.memory.most_bytes

    @property
    def array(self):
        return self.chip.tile.array

    @property
    def sdram(self):
        dram = self.chip.memory.dram
        return None if dram is None else SdramPhy.pins_of(dram)

    def system(self):
        return ChipSystem(
            self.chip,
            memory_bytes=self.memory_bytes,
            clock_hz=self.clock_hz,
            baud=self.baud,
            payload=self.payload,
        )


def _with_chip(name, chip, **changes):
    board = BOARDS[name]
    values = {f.name: getattr(board, f.name) for f in fields(Board)}
    return ChipBoard(
        **values
        | dict(name=f"{name}-chip", title=f"{board.title}, the whole chip", engine=None, chip=preset(chip))
        | changes
    )


def _ulx3s_sdram():
    """The SDRAM's package pins by port, as the board's schematics have them."""
    pins = {
        "clk": "F19",
        "cke": "F20",
        "cs_n": "P20",
        "we_n": "T20",
        "cas_n": "T19",
        "ras_n": "R20",
        "dqm": "U19 E20",
        "ba": "P19 N20",
        "a": "M20 M19 L20 L19 K20 K19 K18 J20 J19 H20 N19 G20 G19",
        "dq": "J16 L18 M18 N18 P18 T18 T17 U20 E19 D20 D19 C20 E18 F18 J18 J17",
    }
    ports = {}
    for name, places in pins.items():
        several = " " in places
        for n, place in enumerate(places.split()):
            ports[f"sdram_{name}[{n}]" if several else f"sdram_{name}"] = place
    return ports


CHIP_BOARDS = {
    "ulx3s": _with_chip(
        "ulx3s",
        "ulx3s",
        clock_hz=30_000_000,
        baud=3_000_000,
        pins=BOARDS["ulx3s"].pins | _ulx3s_sdram(),
        pll=dict(CLKI_DIV=5, CLKFB_DIV=6, CLKOP_DIV=20, CLKOP_CPHASE=10),
    )
}


def chip_board(name):
    """The board called ``name`` with the whole chip; ConfigError names the ones there are."""
    if name not in CHIP_BOARDS:
        raise ConfigError(f"no board {name!r} holds the whole chip; {', '.join(CHIP_BOARDS)} does")
    return CHIP_BOARDS[name]
