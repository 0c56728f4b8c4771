#!/usr/bin/env python3
"""Holds the closed form of ``poblano compare`` against public measurements: one efficiency for each vendor,
fitted on one of them. Prints all, those that miss too; ``--json`` writes the figures, ``--write`` the table
in docs/compare.md."""

import argparse
import json
from pathlib import Path

from document import lines_of, rewrite

from poblano_market.calibration import BAR, calibrate
from poblano_market.chips import read_chips

NAME = "scripts/bench_compare.py"
DOCUMENT = Path(__file__).parents[1] / "docs" / "compare.md"


def figures(calibration):
    """Errors of what was held out, by vendor, and of how many points."""
    result: dict[str, float] = {}
    for vendor, efficiency in calibration.efficiency.items():
        held = [item for item in calibration.held if item.vendor == vendor and not item.point.fit]
        errors = sorted(abs(item.error) for item in held)
        result |= {
            f"{vendor}/efficiency": efficiency.mid,
            f"{vendor}/held_out": len(held),
            f"{vendor}/held_out_within": sum(error <= BAR for error in errors),
            f"{vendor}/median_error": errors[len(errors) // 2],
            f"{vendor}/worst_error": errors[-1],
        }
    return result


def table(calibration):
    """All measurements, as lines of Markdown."""
    chips = read_chips()[0]
    lines = ["| measurement | on | measured | closed form | error |", "|---|---|--:|--:|--:|"]
    for item in calibration.held:
        what = item.point.what.replace("_", " ")
        error = "fitted" if item.point.fit else f"{round(100 * item.error):+d} %"
        shown = error if item.within or item.point.fit else f"**{error}**"
        lines.append(
            f"| {item.point.name} | {chips[item.point.chip].name} | {item.point.value:,.4g} {what} "
            f"| {item.modelled:,.4g} | {shown} |"
        )
    return lines


def stale():
    """Whether the document's table is another one."""
    return lines_of(DOCUMENT, NAME) != table(calibrate())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="Rewrite the table in docs/compare.md.")
    arguments = parser.parse_args()
    calibration = calibrate()
    print("\n".join(table(calibration)))
    found = figures(calibration)
    for name, value in found.items():
        print(f"{name}: {value:.3g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.write:
        rewrite(DOCUMENT, NAME, table(calibration))


if __name__ == "__main__":
    main()
