#!/usr/bin/env python3
"""Builds the FPGA boards' designs and rewrites the table in docs/fpga.md; boards that are not named keep
their rows."""

import argparse
from pathlib import Path
import sys

from document import lines_of, rewrite

from poblano_fpga.boards import BOARDS, board
from poblano_fpga.build import build
from poblano_fpga.engine import tokens_per_second

NAME = "scripts/bench_fpga.py"
HEAD = [
    "| Board | Array | LUT | FF | DSP | BRAM | Clock, MHz | Fmax, MHz | Million MACs/s | Tokens/s |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("boards", nargs="*", default=list(BOARDS))
parser.add_argument("--document", type=Path, default=Path(__file__).parents[1] / "docs" / "fpga.md")
parser.add_argument("--output", type=Path, default=Path("build/fpga"))
arguments = parser.parse_args()

measured = {}
for name in arguments.boards:
    chosen = board(name)
    result = build(chosen, arguments.output, report=lambda line: print(line, file=sys.stderr, flush=True))
    cells = [f"{result.used[kind]:,} of {result.available[kind]:,}" for kind in ("LUT", "FF", "DSP", "BRAM")]
    measured[f"| {chosen.title}"] = " | ".join(
        [
            f"| {chosen.title}",
            f"{result.rows} x {result.cols}",
            *cells,
            f"{result.clock:g}",
            f"{result.fmax:.1f}",
            f"{result.macs_per_second / 1e6:,.0f}",
            f"{tokens_per_second(chosen):.2f} |",
        ]
    )
rows = {line.split(" | ")[0]: line for line in lines_of(arguments.document, NAME)[2:]} | measured
order = [f"| {chosen.title}" for chosen in BOARDS.values()]
rewrite(arguments.document, NAME, HEAD + [rows[key] for key in order if key in rows])
