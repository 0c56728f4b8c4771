#!/usr/bin/env python3
"""Prefill and decode on the RTL in cycles against the roofline; fails below the bars (75 % and 80 %)."""

import argparse
import sys

from poblano.config import preset
from poblano_host.models import load_model
from poblano_host.runtime.report import Run, summarise
from poblano_host.runtime.session import Session

BARS = {"prefill": 0.75, "decode": 0.80}
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
    "foolishness, it was the "
    "epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
    "Darkness, it was "
    "the spring of hope, it was the winter of despair, we had everything before us, we had nothing before "
    "us. "
) * 4

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="smollm2")
parser.add_argument("--preset", default="desk")
parser.add_argument("--prompt-tokens", type=int, default=64)
parser.add_argument("--tokens", type=int, default=1, help="decoded after the first")
parser.add_argument("--check", action="store_true", help="compare with the golden model")
arguments = parser.parse_args()

config, model = preset(arguments.preset), load_model(arguments.model)
prompt = model.tokenizer.encode(TEXT)[: arguments.prompt_tokens]
session = Session(model, config, check=arguments.check, report=lambda line: print(line, file=sys.stderr))
runs = [
    Run(step.phase, step.count, step.program, step.result)
    for step, _ in session.generate(prompt, arguments.tokens + 1)
]
failed = False
for phase, bar in BARS.items():
    summary = summarise([run for run in runs if run.phase == phase], config)
    fraction = summary.roofline_fraction
    failed |= fraction < bar
    print(
        f"{model.config.name} {phase}: {summary.cycles} cycles, {fraction:.3f} of the roofline (bar {bar}), "
        f"{summary.cycles_per_second:.0f} simulated cycles/s"
    )
sys.exit(failed)
