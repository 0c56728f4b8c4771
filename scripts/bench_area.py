#!/usr/bin/env python3
"""Rewrites the table in docs/area.md: a processing element for each set of formats on each target."""

import argparse
from pathlib import Path
import sys

from document import rewrite

from poblano_flows.area import FORMAT_SETS, TARGETS, markdown, measure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--document", type=Path, default=Path(__file__).parents[1] / "docs" / "area.md")
arguments = parser.parse_args()

areas = []
for formats in FORMAT_SETS:
    for target in TARGETS:
        print(", ".join(formats), "on", target, file=sys.stderr, flush=True)
        areas.append(measure(formats, target))
rewrite(arguments.document, "scripts/bench_area.py", markdown(areas))
