#!/usr/bin/env python3
"""Fault campaigns of a decode step, with bars: flipped bits, errors of memory, resets.

Random bits of DRAM, SRAM and queues flip: none may be silent, and none hang the chip. Memory answers any beat
with an error, or channels of it do not answer; the chip and its queue are reset in random cycles. After each
error and each reset the next program must run bit-exact. ``--quick`` does a few of each on a small chip.
"""

import argparse
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import sys

from poblano.config import preset
from poblano_host.faults.campaign import Campaign
from poblano_host.faults.summary import COLUMNS, Summary
from poblano_host.models import load_model

PROMPT = "And God said unto Moses,"


@dataclass(frozen=True)
class Case:
    """Faults by kind on a preset, with AXI4 ports in place of a DRAM if ``axi``; ``bits`` flip at once."""

    preset: str
    counts: dict
    axi: bool = False
    bits: int = 1

    def config(self, ecc):
        config = preset(self.preset)
        config = config.with_axi_ports() if self.axi and config.memory.dram is not None else config
        return replace(config, ecc=ecc, clear_at_reset=None)


FULL = {
    "flips": Case("desk", {"dram": 3334, "sram": 3333, "fifo": 3333}),
    "resets": Case("desk", {"reset": 1000, "queue-reset": 1000}),
    "axi": Case("desk", {"axi-error": 1000, "silent": 500}, axi=True),
}
QUICK = {
    "flips": Case("nano", {"sram": 30, "fifo": 30}),
    "resets": Case("nano", {"reset": 10, "queue-reset": 10}),
    "axi": Case("nano", {"axi-error": 10, "silent": 10}),
}


def measure(cases, model, prompt, *, ecc=True, seed=0, jobs=1, report=lambda text: None):
    """The figures of ``cases``, and a :class:`Summary` of each."""
    summaries = {}
    for name, case in cases.items():
        campaign = Campaign(model, case.config(ecc), prompt, report=report)
        faults = [
            fault
            for kind, count in case.counts.items()
            for fault in campaign.faults(kind, count, seed, bits=case.bits)
        ]
        outcomes = campaign.run(faults, jobs=jobs)
        summaries[name] = Summary(outcomes, {k: places.blocks() for k, places in campaign.places.items()})
        campaign.close()
        report(f"{name}: {len(outcomes)} faults in a step of {campaign.golden.cycles} cycles")
    return figures(summaries), summaries


def figures(summaries):
    """What has a bar, by name."""
    found = {name: summary.outcomes for name, summary in summaries.items()}
    flips, resets, axi = (found.get(name, []) for name in ("flips", "resets", "axi"))
    count = lambda outcomes, result: sum(outcome.result == result for outcome in outcomes)
    return {
        "flips": len(flips),
        "silent": count(flips, "silent"),
        "hangs": count(flips, "hang"),
        "corrected": count(flips, "corrected"),
        "flips_next_wrong": sum(outcome.next is False for outcome in flips),
        "resets": len(resets),
        "resets_wrong": sum(outcome.wrong for outcome in resets),
        "axi_errors": len(axi),
        "axi_wrong": sum(outcome.wrong for outcome in axi),
    }


BARS = ("silent", "hangs", "flips_next_wrong", "resets_wrong", "axi_wrong")
"""Figures that must be 0."""


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(FULL)}")
    parser.add_argument("--model", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="few faults, on nano")
    parser.add_argument("--no-ecc", dest="ecc", action="store_false")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in FULL:
            parser.error(f"no case {name!r}; there are {', '.join(FULL)}")
    return arguments


def main():
    arguments = parse()
    cases = QUICK if arguments.quick else FULL
    cases = {name: cases[name] for name in arguments.cases or cases}
    model = load_model(arguments.model)
    found, summaries = measure(
        cases,
        model,
        model.framed(PROMPT),
        ecc=arguments.ecc,
        seed=arguments.seed,
        jobs=arguments.jobs,
        report=lambda line: print(line, file=sys.stderr),
    )
    for summary in summaries.values():
        print("\n| | " + " | ".join(COLUMNS) + " |\n|---|" + "--:|" * len(COLUMNS))
        for share in summary.kinds():
            print(f"| {' | '.join(share.row())} |")
    print()
    for name, value in found.items():
        print(f"{name}: {value}")
    if arguments.json:
        details = {name: summary.as_json() for name, summary in summaries.items()}
        arguments.json.write_text(json.dumps(found | {"cases": details}, indent=2) + "\n")
    missed = [name for name in BARS if found[name]]
    if missed:
        sys.exit(f"not 0: {', '.join(missed)}")


if __name__ == "__main__":
    main()
