#!/usr/bin/env python3
"""Energy of a multiplication in an INT8 array's netlist, by the activations that meet a weight tile."""

import argparse
import json
from pathlib import Path
import sys

from poblano_flows.asic.array_energy import ArrayEnergy

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", type=int, default=16)
parser.add_argument("--cols", type=int, default=16)
parser.add_argument("--tokens", type=int, nargs="+", default=[1, 16, 128])
parser.add_argument("--json", type=Path, help="file to write")
arguments = parser.parse_args()

array = ArrayEnergy(
    arguments.rows, arguments.cols, report=lambda line: print(line, file=sys.stderr, flush=True)
)
results = []
print(f"pJ a MAC, array {arguments.rows}x{arguments.cols}, INT8\n")
print(f"{'tokens':>6} {'weights by':>10} {'all':>8} {'clock':>8} {'cells':>8} {'pins':>8}")
for transpose in False, True:
    for tokens in arguments.tokens:
        energy = array.measure(tokens, transpose=transpose)
        results.append(energy.as_json())
        values = energy.energy, energy.clock, energy.internal, energy.switching
        by = "columns" if transpose else "rows"
        print(f"{tokens:>6} {by:>10} " + " ".join(f"{value:8.2f}" for value in values))
if arguments.json:
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
