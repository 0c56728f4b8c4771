"""Prints how close the golden chip is to float on a text, and fails if a bar is missed; or, with --case,
how close formats are."""

import argparse
from pathlib import Path
import sys

from poblano.config import preset
from poblano_host.accuracy import CASES, Bars, compare_cases, measure, report
from poblano_host.models import ModelError, load_model, quantise_model

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("models", nargs="+", help="model files or folders")
parser.add_argument("--text", type=Path, required=True, help="a text file")
parser.add_argument("--tokens", type=int, default=250)
parser.add_argument("--chip", default="desk")
parser.add_argument("--format", default="q8_0", help="blocks for float matrices")
parser.add_argument(
    "--case",
    action="append",
    choices=["all", *CASES],
    help="formats to compare with float on the stored weights, and on the case's weights; no bars",
)
arguments = parser.parse_args()

text = arguments.text.read_text()
rows, failed = [], False
for path in arguments.models:
    try:
        model = quantise_model(load_model(path), arguments.format)
        if arguments.case:
            cases = CASES if "all" in arguments.case else {name: CASES[name] for name in arguments.case}
            for name, *accuracies in compare_cases(
                model, preset(arguments.chip), text, arguments.tokens, cases
            ):
                against = (
                    "chip, stored weights",
                    "chip, its weights",
                    "float with its activations, its weights",
                )
                rows += [(f"{name}: {what}", accuracy) for what, accuracy in zip(against, accuracies)]
                print(report(rows[-3:]), file=sys.stderr, flush=True)
            continue
        accuracy = measure(model, preset(arguments.chip), text, arguments.tokens)
    except ModelError as error:
        sys.exit(str(error))
    rows.append((model.config.name, accuracy))
    for line in Bars().failures(accuracy):
        failed = True
        print(f"{model.config.name}: {line}", file=sys.stderr)
print(report(rows))
sys.exit(failed)
