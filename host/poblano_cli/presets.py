"""The command ``poblano presets``."""

import typer

from poblano.config import PRESETS, ConfigError, preset
from poblano.config_file import config_text

from .tables import note, print_table

__all__ = ["presets"]


def presets(
    name: str = typer.Argument(
        None, help="A preset or a .toml file: print all its fields, as a .toml file has them."
    ),
):
    """List the chip's configurations, or print all fields of one."""
    if name is not None:
        print(config_text(preset(name)), end="")
        return
    columns = [
        "preset",
        "tiles",
        "array",
        "lanes",
        "MAC/cycle",
        "homes",
        "memory bits",
        "bytes/cycle",
        "latency",
        "vector memory",
        "activation memory",
        "weight FIFO",
    ]
    rows = []
    for name in PRESETS:
        try:
            config = PRESETS[name]
        except ConfigError as error:
            note(error)
            continue
        tile, memory = config.tile, config.memory
        rows.append(
            (
                name,
                str(config.tiles),
                f"{tile.array.rows} x {tile.array.cols}",
                str(tile.lanes),
                str(config.macs_per_cycle),
                str(memory.homes),
                str(memory.data_width),
                f"{float(memory.bandwidth):g}",
                str(memory.latency),
                f"{tile.vmem_lines * 32 // 1024} KiB",
                f"{tile.amem_blocks * 32 // 1024} KiB",
                f"{tile.fifo_bytes} B",
            )
        )
    print_table(columns, rows, left=len(columns))
