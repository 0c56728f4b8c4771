"""Configurations of the matmul unit's bench: passes and segments, lanes equal to and fewer than columns,
both word widths."""

from fractions import Fraction

from poblano.config import PRESETS, ArrayConfig, ChipConfig, MemoryConfig, TileConfig
from poblano.formats.element import FORMATS

__all__ = ["CONFIGS", "REPEATED"]

REPEATED = ("array_row", "float_add", "float_multiply", "fixed_to_float")
"""Modules of a large unit that a simulator should compile once."""


def _config(
    name,
    *,
    rows,
    cols,
    lanes,
    width,
    tiles=2,
    tokens=8,
    scalers=None,
    formats=("int8", "int4"),
    load_rows=1,
    fp4_rate=1,
    amem_blocks=256,
):
    array = ArrayConfig(rows=rows, cols=cols, formats=formats, load_rows=load_rows, fp4_rate=fp4_rate)
    return ChipConfig(
        name=name,
        tiles=tiles,
        tile=TileConfig(
            array=array,
            lanes=lanes,
            scalers=scalers,
            tokens=tokens,
            vmem_lines=1024,
            amem_blocks=amem_blocks,
            fifo_bytes=4096,
        ),
        memory=MemoryConfig(data_width=width, bandwidth=Fraction(width // 8)),
    )


EVERY = tuple(FORMATS)
_GEMM: dict[str, dict] = {
    "": {},
    "_load2": {"load_rows": 2},
    "_load4": {"load_rows": 4},
    "_fp4": {
        "load_rows": 4,
        "fp4_rate": 2,
        "scalers": 16,
        "formats": ("int8", "int4", "mxfp8_e4m3", "mxfp4_e2m1"),
    },
}
CONFIGS = {
    c.name: c
    for c in (
        PRESETS["nano"],
        PRESETS["desk"],
        _config("least", rows=2, cols=2, lanes=2, width=32, tiles=1, formats=EVERY),
        _config("row", rows=1, cols=4, lanes=2, width=64, tokens=4),
        _config("four", rows=4, cols=4, lanes=2, width=64, tokens=16, formats=EVERY, load_rows=2),
        _config(
            "eight",
            rows=8,
            cols=8,
            lanes=4,
            scalers=8,
            width=128,
            tiles=3,
            tokens=64,
            formats=("int8", "int4", "mxfp8_e4m3", "mxfp4_e2m1"),
            load_rows=2,
            fp4_rate=2,
        ),
        _config("mx", rows=8, cols=8, lanes=4, width=64, formats=("mxfp8_e4m3", "mxfp4_e2m1")),
        _config("wide", rows=8, cols=16, lanes=16, width=128, tiles=5),
        _config(
            "broad",
            rows=16,
            cols=32,
            lanes=8,
            scalers=16,
            width=256,
            tokens=64,
            formats=("int8", "mxint8", "mxfp8_e4m3"),
            load_rows=2,
        ),
        _config("tall", rows=32, cols=4, lanes=4, width=128, tokens=16),
        _config("square", rows=32, cols=32, lanes=16, scalers=32, width=256, tokens=64),
        _config(
            "segments",
            rows=64,
            cols=8,
            lanes=4,
            width=128,
            formats=("int8", "int4", "mxfp8_e4m3"),
            load_rows=2,
        ),
        PRESETS["tile64"],
        *(
            _config(
                f"gemm16{name}", rows=16, cols=16, lanes=8, width=256, tokens=128, amem_blocks=4096, **options
            )
            for name, options in _GEMM.items()
        ),
    )
}
"""What ``gemm*`` are for: ``scripts/bench_gemm.py``."""
