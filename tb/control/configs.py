"""Configurations of the control benches."""

from dataclasses import replace
from fractions import Fraction

from poblano.config import (
    PRESETS,
    ArrayConfig,
    ChipConfig,
    ExpertsConfig,
    MemoryConfig,
    PagingConfig,
    TileConfig,
)
from poblano.formats.element import FORMATS

__all__ = ["CHECKED", "CONFIGS"]


def _config(
    name,
    *,
    tiles,
    rows=8,
    cols=16,
    lanes=8,
    width=64,
    burst=16,
    queue_depth=4,
    addr_width=32,
    vmem_lines=1024,
    amem_blocks=256,
):
    return ChipConfig(
        name=name,
        tiles=tiles,
        queue_depth=queue_depth,
        tile=TileConfig(
            array=ArrayConfig(rows=rows, cols=cols),
            lanes=lanes,
            tokens=16,
            vmem_lines=vmem_lines,
            amem_blocks=amem_blocks,
            fifo_bytes=1024,
        ),
        memory=MemoryConfig(
            data_width=width, addr_width=addr_width, burst_beats=burst, bandwidth=Fraction(width // 8)
        ),
    )


CONFIGS = {
    c.name: c
    for c in (
        _config("one", tiles=1, width=32, burst=4, queue_depth=1, addr_width=40),
        replace(PRESETS["desk"], queue_depth=2),
        _config("many", tiles=16, width=128, burst=256),
    )
}
"""The processor's: 1, 2 and 16 tiles; bursts of less than a command, of a few and of all that fit; several
queue depths."""

CHECKED = (
    PRESETS["nano"],
    PRESETS["desk"],
    PRESETS["tile64"],
    replace(
        _config(
            "full",
            tiles=32,
            rows=32,
            cols=32,
            lanes=16,
            width=256,
            vmem_lines=1 << 20,
            amem_blocks=1 << 20,
            addr_width=40,
        ),
        experts=ExpertsConfig(experts=256, rows=1024),
    ),
    replace(_config("formats", tiles=2), formats=tuple(FORMATS)),
    replace(_config("mx", tiles=1), formats=("mxfp8_e4m3", "mxfp4_e2m1")),
    _config(
        "least", tiles=1, rows=2, cols=2, lanes=2, width=32, vmem_lines=16, amem_blocks=16, addr_width=16
    ),
    _config("wide", tiles=1, lanes=16, width=512),
    _config("pages", tiles=2).with_memory(paging=PagingConfig(slots=4, pages=16)),
    replace(_config("experts", tiles=2, lanes=16), experts=ExpertsConfig(experts=100, used=7, rows=20)),
    _config("page_parts", tiles=4).with_memory(
        homes=2, home_bytes=1 << 15, paging=PagingConfig(slots=4, pages=16)
    ),
    _config("homes", tiles=4).with_memory(homes=2, home_bytes=1 << 15),
)
"""The checker's: fewer and more lanes than a line has words, several segments, the smallest and the largest
memories, all formats and two, beats of two lines, page tables, experts,
two homes, and both of the last and the first."""
