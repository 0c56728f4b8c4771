#!/usr/bin/env python3
"""Fault campaigns of a decode step, with bars: flipped bits, errors of memory, resets.

Random bits of DRAM, SRAM and queues flip: none may be silent, and none hang the chip. Memory answers any beat
with an error, or channels of it do not answer; the chip and its queue are reset in random cycles. After each
error and each reset the next program must run bit-exact. ``--quick`` does a few of each on a small chip.
Cases without a bar show what is not protected: flip-flops, and a chip without ECC. ``--document`` writes the
tables of all cases into ``docs/reliability.md``.
"""

import argparse
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import sys

from document import rewrite

from poblano.config import preset
from poblano_host.faults.campaign import Campaign
from poblano_host.faults.summary import COLUMNS
from poblano_host.models import load_model

PROMPT = "And God said unto Moses,"


@dataclass(frozen=True)
class Case:
    """Faults by kind on a preset, with AXI4 ports in place of a DRAM if ``axi``; ``bits`` flip at once."""

    text: str
    preset: str
    counts: dict
    axi: bool = False
    bits: int = 1
    ecc: bool = True

    def scaled(self, factor):
        """With more or fewer faults, but some of each kind."""
        return replace(self, counts={kind: max(1, round(factor * n)) for kind, n in self.counts.items()})

    @property
    def config(self):
        config = preset(self.preset)
        config = config.with_axi_ports() if self.axi and config.memory.dram is not None else config
        return config.with_ecc(self.ecc)


FULL = {
    "flips": Case("One bit flips:", "desk", {"dram": 3334, "sram": 3333, "fifo": 3333}),
    "double": Case("Two bits of a word flip:", "desk", {"dram": 400, "sram": 400, "fifo": 400}, bits=2),
    "resets": Case("The chip, or its queue, is reset:", "desk", {"reset": 1000, "queue-reset": 1000}),
    "axi": Case(
        "Memory at AXI4 ports fails or is silent:", "desk", {"axi-error": 1000, "silent": 500}, axi=True
    ),
    "unprotected": Case("Flip-flops, which have no protection:", "desk", {"flip-flop": 3000}),
    "without": Case(
        "Without `ecc`, one bit flips:", "desk", {"dram": 300, "sram": 300, "fifo": 300}, ecc=False
    ),
}
QUICK = {
    "flips": Case("One bit flips:", "nano", {"sram": 30, "fifo": 30}),
    "resets": Case("The chip, or its queue, is reset:", "nano", {"reset": 10, "queue-reset": 10}),
    "axi": Case("Memory fails or is silent:", "nano", {"axi-error": 10, "silent": 10}),
}
DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
NAME = "scripts/bench_faults.py --document"
BY_BLOCK = ("flip-flop",)
"""Kinds of faults with a table of their blocks in the document."""


def measure(cases, model, prompt, *, seed=0, jobs=1, report=lambda text: None):
    """The figures of ``cases``, and a Summary of each."""
    summaries = {}
    for name, case in cases.items():
        campaign = Campaign(model, case.config, prompt, report=report)
        faults = [
            fault
            for kind, count in case.counts.items()
            for fault in campaign.faults(kind, count, seed, bits=case.bits)
        ]
        outcomes = campaign.run(faults, jobs=jobs)
        summaries[name] = campaign.summary(outcomes)
        campaign.close()
        report(f"{name}: {len(outcomes)} faults in a step of {campaign.golden.cycles} cycles")
    return figures(summaries), summaries


def figures(summaries):
    """What has a bar, by name."""
    found = {name: summary.outcomes for name, summary in summaries.items()}
    flips, double, resets, axi = (found.get(name, []) for name in ("flips", "double", "resets", "axi"))
    count = lambda outcomes, result: sum(outcome.result == result for outcome in outcomes)
    return {
        "flips": len(flips),
        "silent": count(flips, "silent"),
        "hangs": count(flips, "hang"),
        "corrected": count(flips, "corrected"),
        "flips_next_wrong": sum(outcome.next is False for outcome in flips),
        "double_flips": len(double),
        "double_wrong": sum(outcome.wrong for outcome in double),
        "resets": len(resets),
        "resets_wrong": sum(outcome.wrong for outcome in resets),
        "axi_errors": len(axi),
        "axi_wrong": sum(outcome.wrong for outcome in axi),
    }


BARS = ("silent", "hangs", "flips_next_wrong", "double_wrong", "resets_wrong", "axi_wrong")
"""Figures that must be 0."""


def tables(cases, summaries):
    """Lines of a document: a table for each case."""
    lines = []
    for name, summary in summaries.items():
        lines += ["", cases[name].text, "", *_table("kind", summary.kinds())]
        for kind in BY_BLOCK:
            if parts := summary.parts(kind):
                lines += ["", f"By block, where `{kind}` bits are:", "", *_table("block", parts)]
    return lines[1:]


def _table(first, shares):
    rows = [[first, *COLUMNS], ["---"] + ["--:"] * len(COLUMNS), *(share.row() for share in shares)]
    return [f"| {' | '.join(row)} |" for row in rows]


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(FULL)}")
    parser.add_argument("--model", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times as many faults")
    parser.add_argument("--quick", action="store_true", help="few faults, on nano")
    parser.add_argument("--document", action="store_true", help="write the tables of all cases")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in FULL:
            parser.error(f"no case {name!r}; there are {', '.join(FULL)}")
    if arguments.document and (arguments.cases or arguments.quick):
        parser.error("--document needs all cases")
    return arguments


def main():
    arguments = parse()
    cases = QUICK if arguments.quick else FULL
    cases = {name: cases[name].scaled(arguments.scale) for name in arguments.cases or cases if name in cases}
    model = load_model(arguments.model)
    found, summaries = measure(
        cases,
        model,
        model.framed(PROMPT),
        seed=arguments.seed,
        jobs=arguments.jobs,
        report=lambda line: print(line, file=sys.stderr),
    )
    lines = tables(cases, summaries)
    print("\n".join(lines), end="\n\n")
    if arguments.document:
        rewrite(DOCUMENT, NAME, lines)
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
