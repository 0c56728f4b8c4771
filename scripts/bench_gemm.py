"""Cycles of matrix products on one array, measured in RTL simulation: ``python scripts/bench_gemm.py``.

Beside them SCALE-Sim's formula for the same products on a weight-stationary array, ``(2R + C + M - 2) *
ceil(K/R) * ceil(N/C)`` (Samajdar et al., ISPASS 2020, equation 5): it loads a tile, computes and drains,
one after the other. Utilisation is M*K*N over cycles*R*C; more than 1 only where an element multiplies two
weights a cycle. Writes the tables of ``docs/utilisation.md``.
"""

import argparse
import json
from math import ceil
from pathlib import Path
import re
import sys
import tempfile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "rtl"), str(ROOT / "host")]

from tb.common.runner import run_bench  # noqa: E402
from tb.common.units import matmul_unit  # noqa: E402
from tb.compute.configs import CONFIGS, REPEATED  # noqa: E402

PAGE = ROOT / "docs" / "utilisation.md"
INT8, Q4_1 = ("S8", "F16", "INT8"), ("U4", "F16", "INT8")
MXFP8, MXFP4 = ("E4M3", "E8M0", "MXFP8_E4M3"), ("E2M1", "E8M0", "MXFP8_E4M3")
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128)
TABLES = {
    "16x16": ("gemm16", [(m, 576, 128, *INT8) for m in TOKENS]),
    "16x16, two rows of weights a cycle": ("gemm16_load2", [(m, 576, 128, *INT8) for m in TOKENS]),
    "16x16, four rows of weights a cycle": ("gemm16_load4", [(m, 576, 128, *INT8) for m in TOKENS]),
    "16x16, four rows a cycle, two 4-bit weights a PE, Q4_1": (
        "gemm16_fp4",
        [(m, 576, 128, *Q4_1) for m in TOKENS],
    ),
    "16x16, four rows a cycle, two 4-bit weights a PE, MXFP4 with MXFP8 activations": (
        "gemm16_fp4",
        [(m, 576, 128, *MXFP4) for m in TOKENS],
    ),
    "16x16, awkward shapes": (
        "gemm16",
        [
            (*shape, *INT8)
            for shape in ((1, 1, 1), (7, 40, 9), (33, 65, 17), (128, 32, 1000), (128, 4096, 16))
        ],
    ),
    "64x64": ("tile64", [(m, 576, 1536, *INT8) for m in (1, 16, 64, 128, 256)]),
}


def measure(config, shapes):
    """``[{cycles, bytes}]`` of ``shapes`` on the configuration called ``config``."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "figures.json")
        run_bench(
            matmul_unit(CONFIGS[config]),
            name=f"matmul_{config}",
            module="tb.compute.gemm",
            build_args=("--no-public-flat-rw",),
            no_inline=REPEATED,
            env={"CONFIG": config, "SHAPES": json.dumps(shapes), "FIGURES": str(figures)},
        )
        return json.loads(figures.read_text())


def table(config, shapes, figures):
    """Lines of Markdown."""
    array = CONFIGS[config].tile.array
    rows, cols = array.rows, array.cols
    lines = [
        "| M x K x N | cycles | bound | utilisation | weight bytes/cycle | SCALE-Sim | its utilisation |",
        "|---|---|---|---|---|---|---|",
    ]
    for (m, k, n, element, *_), figure in zip(shapes, figures):
        rate = array.fp4_rate if element in ("U4", "S4", "E2M1") else 1
        tiles = ceil(k / rows) * ceil(n / cols)
        bound = ceil(k / (rows * rate)) * ceil(n / cols) * max(m, rows // array.load_rows)
        scale_sim = (2 * rows + cols + m - 2) * tiles
        share = lambda cycles: f"{100 * m * k * n / (cycles * rows * cols):.1f} %"
        lines.append(
            f"| {m} x {k} x {n} | {figure['cycles']:,} | {bound:,} | {share(figure['cycles'])} | "
            f"{figure['bytes'] / figure['cycles']:.1f} | {scale_sim:,} | {share(scale_sim)} |"
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description="Measure matrix products in RTL simulation.")
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"which; all by default: {'; '.join(TABLES)}"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/utilisation.md")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.tables if name not in TABLES]
    if unknown:
        parser.error(f"unknown table {unknown[0]!r}")
    for name in arguments.tables or TABLES:
        config, shapes = TABLES[name]
        lines = table(config, shapes, measure(config, shapes))
        print(f"\n{name}\n" + "\n".join(lines), flush=True)
        if arguments.write:
            page = PAGE.read_text()
            pattern = re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", re.DOTALL)
            if not pattern.search(page):
                sys.exit(f"{PAGE} has no place for {name!r}")
            PAGE.write_text(pattern.sub(lambda _: "\n".join(lines) + "\n", page, count=1))


if __name__ == "__main__":
    main()
