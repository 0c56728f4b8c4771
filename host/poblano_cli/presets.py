"""The command ``poblano presets``."""

from poblano.config import PRESETS

from .display import print_table

__all__ = ["presets"]


def presets():
    """List the chip's configurations."""
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
    for name, config in PRESETS.items():
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
