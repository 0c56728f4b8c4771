"""Configurations of the memory benches, small memories and several widths."""

from fractions import Fraction

from poblano.config import ArrayConfig, ChipConfig, MemoryConfig, TileConfig

__all__ = ["CONFIGS"]


def _config(name, *, tiles, rows, cols, lanes, width, burst, outstanding, fifo):
    return ChipConfig(
        name=name,
        tiles=tiles,
        tile=TileConfig(
            array=ArrayConfig(rows=rows, cols=cols),
            lanes=lanes,
            tokens=16,
            vmem_lines=128,
            vmem_banks=4,
            amem_blocks=64,
            fifo_bytes=fifo,
        ),
        memory=MemoryConfig(
            data_width=width, burst_beats=burst, outstanding=outstanding, bandwidth=Fraction(width // 8)
        ),
    )


CONFIGS = {
    c.name: c
    for c in (
        _config("narrow", tiles=2, rows=4, cols=4, lanes=2, width=64, burst=8, outstanding=4, fifo=256),
        _config("least", tiles=1, rows=8, cols=8, lanes=2, width=32, burst=1, outstanding=1, fifo=256),
        _config("desk", tiles=2, rows=16, cols=16, lanes=8, width=256, burst=16, outstanding=8, fifo=1024),
        _config("wide", tiles=3, rows=64, cols=64, lanes=16, width=256, burst=16, outstanding=4, fifo=512),
        _config("widest", tiles=2, rows=64, cols=64, lanes=32, width=512, burst=16, outstanding=4, fifo=1024),
        _config("mixed", tiles=2, rows=32, cols=32, lanes=16, width=64, burst=256, outstanding=2, fifo=1024),
    )
}
