"""Boards that hold the whole chip, with a memory of block RAM."""

from dataclasses import dataclass, fields

from poblano.board.system import ChipSystem
from poblano.config import ChipConfig, ConfigError, preset

from .boards import BOARDS, Board

__all__ = ["CHIP_BOARDS", "ChipBoard", "chip_board"]


@dataclass(frozen=True, kw_only=True)
class ChipBoard(Board):
    """A board whose design is a chip with ``memory_bytes`` of memory."""

    chip: ChipConfig
    memory_bytes: int

    @property
    def array(self):
        return self.chip.tile.array

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


CHIP_BOARDS = {
    "ulx3s": _with_chip(
        "ulx3s",
        "ulx3s",
        memory_bytes=1 << 18,
        clock_hz=30_000_000,
        baud=3_000_000,
        pll=dict(CLKI_DIV=5, CLKFB_DIV=6, CLKOP_DIV=20, CLKOP_CPHASE=10),
    )
}


def chip_board(name):
    """The board called ``name`` with the whole chip; ConfigError names the ones there are."""
    if name not in CHIP_BOARDS:
        raise ConfigError(f"no board {name!r} holds the whole chip; {', '.join(CHIP_BOARDS)} does")
    return CHIP_BOARDS[name]
