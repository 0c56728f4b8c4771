#!/usr/bin/env python3
"""The bytes a cycle that the units of each preset can take from memory, and what memory gives them: the table
of ``docs/architecture.md``."""

from pathlib import Path

import document

from poblano.config import BLOCK, PRESETS
from poblano.formats.element import Element
from poblano.isa.weight_stream import ScaleFormat, step_bytes

__all__ = ["NAME", "PAGE", "table"]

NAME = "scripts/bandwidths.py"
PAGE = Path(__file__).parent.parent / "docs" / "architecture.md"
STREAMS: dict[str, dict] = {
    "Q4_1": dict(element=Element.U4, scale=ScaleFormat.F16, minimum=True),
    "Q8_0": dict(element=Element.S8, scale=ScaleFormat.F16),
    "K and V": dict(element=Element.S8, scale=ScaleFormat.F32),
}
"""What a tile's stream carries; the 4-bit weights are those of SmolLM2, the others of its head and its
caches."""


def taken(config, **stream):
    """Bytes a cycle of a weight stream that loads rows into the array in each cycle."""
    array = config.tile.array
    rows = array.load_rows * (array.fp4_rate if stream["element"].bits == 4 else 1)
    return step_bytes(config, **stream) / (BLOCK * array.segments / rows)


def table():
    """Lines of Markdown, a row for each preset."""
    head = ["preset", "tiles", *(f"{name}, needs" for name in STREAMS), "a tile's stream, gets"]
    head += ["DMA engine, can take", "all memory gives"]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---'] + ['--:'] * (len(head) - 1))}|"]
    for name, config in PRESETS.items():
        memory = config.memory
        cells = [
            *(taken(config, **stream) for stream in STREAMS.values()),
            float(memory.total_bandwidth / config.tiles),
            memory.data_bytes,
            float(memory.total_bandwidth),
        ]
        lines.append(f"| `{name}` | {config.tiles} | {' | '.join(f'{cell:.4g}' for cell in cells)} |")
    return lines


if __name__ == "__main__":
    document.rewrite(PAGE, NAME, table())
