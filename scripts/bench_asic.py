#!/usr/bin/env python3
"""Rewrites the tables in docs/asic.md: the INT8 PE and 16x16 array, and the presets that have a place in
it, in standard cells."""

import argparse
from pathlib import Path
import sys

from document import begin, rewrite

from poblano.config import PRESETS, preset
from poblano_flows.asic.activity import measure_power
from poblano_flows.asic.equivalence import prove
from poblano_flows.asic.flow import Design, array_source, chip_source
from poblano_flows.asic.scaling import NODES, tops_per_watt

NAME = "scripts/bench_asic.py: {}"


def note(line):
    print(line, file=sys.stderr, flush=True)


def summary(designs):
    lines = [
        "| Design | Cells | Flip-flops | Clock gates | Flip-flops behind | Cell area mm2 | Memory bits | "
        "Critical path ns | MHz |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for title, design, top in designs:
        cells, area, flip_flops, bits = design.whole[top]
        gates, behind = design.gated(top)
        timing = design.timing["all" if top == design.source.top else "PE"]
        memory = " (a memory's estimate in it)" if timing.paths[0].macros else ""
        lines.append(
            f"| {title} | {cells:,} | {flip_flops:,} | {gates:,} | {100 * behind / flip_flops:.0f} % | "
            f"{area / 1e6:.4f} | {bits:,} | "
            f"{timing.period:.2f}{memory} | {timing.fmax:.0f} |"
        )
    return lines


def blocks(design):
    lines = [
        "| Block | Copies | Cells | Cell area mm2 | | Memory bits | Memory mm2 (estimate) |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for block in design.blocks():
        if block.depth > 3:
            continue
        name = "&nbsp;" * 2 * block.depth + block.path.rsplit("/", 1)[-1]
        lines.append(
            f"| {name} | {block.count:,} | {block.cells:,} | {block.area / 1e6:.3f} | "
            f"{100 * block.area / design.total.area:.1f} % | "
            f"{block.memory_bits:,} | {block.memory_area / 1e6:.2f} |"
        )
    return lines


def power(power):
    lines = [
        power.words(),
        "",
        f"| Block | pJ a cycle | clock pins | inside cells | pins' charge | mW at {power.frequency:.0f} MHz "
        "|",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for block, row in zip(power.blocks, power.rows()):
        if block.name.startswith(" " * 8):
            continue
        lines.append(f"| {block.name.replace('  ', '&nbsp;' * 2)} | " + " | ".join(row[1:]) + " |")
    return lines


def energy(powers):
    """A line for each (title, :class:`~poblano_flows.asic.activity.Power`)."""
    nodes = [f"TOPS/W at {node}" for node in NODES]
    lines = [
        "| Design | Program | pJ a cycle | pJ a multiply-accumulate | uJ a token | pJ a byte | "
        "TOPS/W at 180 nm | " + " | ".join(nodes) + " |",
        "|---|---|" + "--:|" * (5 + len(NODES)),
    ]
    for title, power in powers:
        scaled = [f"{least:.2f} to {most:.2f}" for least, most in tops_per_watt(power.tops_per_watt).values()]
        lines.append(
            f"| {title} | {power.title} | {power.energy:,.0f} | {power.per_mac:,.1f} | "
            f"{power.per_token / 1e6:,.2f} | {power.per_byte:,.0f} | "
            f"{power.tops_per_watt:.4f} | " + " | ".join(scaled) + " |"
        )
    return lines


def proofs(title, design, verdicts):
    proved = [v for v in verdicts if v.result == "proved"]
    others = ", ".join(f"`{v.module}` ({v.result})" for v in verdicts if v.result != "proved")
    return [
        f"| {title} | {len(proved)} of {len(verdicts)} | {sum(v.registers for v in proved):,} | "
        f"{sum(v.outputs for v in proved):,} | {others or 'none'} |"
    ]


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--document", type=Path, default=Path(__file__).parents[1] / "docs" / "asic.md")
parser.add_argument(
    "--prove", nargs="*", default=["nano"], help="presets whose netlists are proved equal to the RTL"
)
arguments = parser.parse_args()
has = lambda name: begin(NAME.format(name)) in arguments.document.read_text()
write = lambda name, lines: rewrite(arguments.document, NAME.format(name), lines)

array = Design.build(array_source(16, 16, ("int8",)), report=note)
array.analyse(report=note)
rows = [("PE, INT8", array, "poblano_pe"), ("array 16x16, INT8", array, "systolic_array")]
energies = []
proved = ["| Design | Modules proved | Registers | Signals | Not proved |", "|---|--:|--:|--:|---|"]
proved += proofs("array 16x16, INT8", array, prove(array.modules, array.counts, array.library, report=note))
for name in PRESETS:
    if not has(f"blocks of {name}"):
        continue
    design = Design.build(chip_source(preset(name)), report=note)
    design.analyse(report=note)
    rows.append((f"`{name}`", design, design.source.top))
    write(f"blocks of {name}", blocks(design))
    if has(f"power of {name}"):
        powers = measure_power(design, report=note)
        energies += [(f"`{name}`", found) for found in powers]
        write(f"power of {name}", [line for found in powers for line in [*power(found), ""]][:-1])
    if name in arguments.prove:
        proved += proofs(
            f"`{name}`", design, prove(design.modules, design.counts, design.library, report=note)
        )
write("summary", summary(rows))
write("proofs", proved)
write("energy", energy(energies))
