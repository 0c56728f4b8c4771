"""Configurations of the matmul unit's bench: passes and segments, lanes equal to and fewer than columns, both word widths."""

from fractions import Fraction

from poblano.config import PRESETS, ArrayConfig, ChipConfig, MemoryConfig, TileConfig

__all__ = ["CONFIGS"]


def _config(name, *, rows, cols, lanes, width, tiles=2, tokens=8):
    return ChipConfig(name=name, tiles=tiles,
                      tile=TileConfig(array=ArrayConfig(rows=rows, cols=cols), lanes=lanes, tokens=tokens, vmem_lines=1024,
                                      amem_blocks=256, fifo_bytes=4096),
                      memory=MemoryConfig(data_width=width, bandwidth=Fraction(width // 8)))


CONFIGS = {c.name: c for c in (
    PRESETS["nano"],
    PRESETS["desk"],
    _config("least", rows=2, cols=2, lanes=2, width=32, tiles=1),
    _config("row", rows=1, cols=4, lanes=2, width=64, tokens=4),
    _config("wide", rows=8, cols=16, lanes=16, width=128, tiles=5),
    _config("tall", rows=32, cols=16, lanes=4, width=128, tokens=16),
    _config("square", rows=32, cols=32, lanes=16, width=256, tokens=32),
    _config("segments", rows=64, cols=32, lanes=8, width=256),
    PRESETS["tile64"],
)}
