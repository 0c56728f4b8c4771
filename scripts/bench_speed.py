#!/usr/bin/env python3
"""Steps of a model on the RTL in simulation: cycles against the roofline.

Without a case or a preset it measures all of :data:`CASES` and fails if one misses its bar. ``--preset``
measures one step of your own choice: of how many tokens, layers, tiles, and with how many bytes of memory a
cycle. Cycles do not depend on the numbers in weights and caches, so that a step at a position needs none
before it.
"""

import argparse
from dataclasses import dataclass, replace
from fractions import Fraction
import json
from pathlib import Path
import sys

from poblano.config import ConfigError, preset
from poblano_host.compiler import CompileError
from poblano_host.models import load_model
from poblano_host.runtime.report import Run, summarise
from poblano_host.runtime.session import Session


@dataclass(frozen=True)
class Case:
    """A step of ``tokens`` from ``position`` on through ``layers`` layers (None: all, and the logits of the
    last token) on ``preset`` with other ``tiles`` and ``bandwidth`` (bytes a cycle), if they are given.

    ``bar``: the least fraction of the roofline.
    """

    preset: str
    tokens: int
    position: int = 0
    layers: int | None = None
    tiles: int | None = None
    bandwidth: Fraction | None = None
    bar: float = 0.0

    @property
    def config(self):
        config = preset(self.preset)
        if self.tiles is not None:
            config = replace(config, tiles=self.tiles)
        return config if self.bandwidth is None else config.with_memory(bandwidth=self.bandwidth)


CASES = {
    "tile64/prefill112": Case("tile64", 112, layers=1, bar=0.80),
    "desk4/prefill48": Case("desk", 48, layers=1, tiles=4, bandwidth=Fraction(32), bar=0.85),
    "desk8/prefill48": Case("desk", 48, layers=1, tiles=8, bandwidth=Fraction(32), bar=0.75),
    "desk/decode": Case("desk", 1, position=64, bar=0.975),
    "desk/prefill64": Case("desk", 64, bar=0.886),
}
"""Steps of SmolLM2-135M. The bandwidth of the chips of four and eight tiles is that of the widest port."""


def measure(case, model, *, check):
    """The :class:`~poblano_host.runtime.report.Summary` of a :class:`Case`."""
    config = case.config
    if case.layers is not None:
        model = model.shortened(case.layers)
    session = Session(model, config, check=check, report=lambda line: print(line, file=sys.stderr))
    session.position = case.position
    tokens = [n % model.config.vocab for n in range(case.tokens)]
    step = session.step("prefill", tokens, "last" if case.layers is None else "none")
    session.close()
    return summarise([Run(step.phase, step.count, step.program, step.result)], config)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--preset", help="measure a step of your own on this preset")
    parser.add_argument("--tiles", type=int)
    parser.add_argument("--layers", type=int, help="the first of the model; all, and the logits, by default")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--position", type=int, default=0, help="of the first token")
    parser.add_argument("--batch", type=int, default=1, help="sequences; the chip takes one at a time")
    parser.add_argument("--bandwidth", type=Fraction, help="bytes of memory a cycle")
    parser.add_argument("--check", action="store_true", help="compare all of memory with the golden model's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in CASES:
            parser.error(f"no case {name!r}; there are {', '.join(CASES)}")
    if arguments.batch != 1:
        parser.error("the chip takes one sequence at a time: --batch 1")
    return arguments


def chosen(arguments):
    """The :class:`Case` s to measure, by name."""
    if arguments.preset is None:
        return {name: CASES[name] for name in arguments.cases or CASES}
    tiles = "" if arguments.tiles is None else arguments.tiles
    name = f"{arguments.preset}{tiles}/{'decode' if arguments.tokens == 1 else f'prefill{arguments.tokens}'}"
    case = Case(
        arguments.preset,
        arguments.tokens,
        arguments.position,
        arguments.layers,
        arguments.tiles,
        arguments.bandwidth,
    )
    return {name: case}


def main():
    arguments = parse()
    model, figures, missed = load_model(arguments.model), {}, []
    for name, case in chosen(arguments).items():
        summary = measure(case, model, check=arguments.check)
        fraction = summary.roofline_fraction
        figures[name] = round(fraction, 4)
        figures |= {f"{name}/{key}": value for key, value in summary.as_json().items()}
        if fraction < case.bar:
            missed.append(name)
        print(
            f"{name}: {summary.cycles} cycles, {fraction:.3f} of the roofline (bar {case.bar}), "
            f"{summary.cycles_per_second:.0f} simulated cycles/s"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    try:
        main()
    except (CompileError, ConfigError, ValueError) as error:
        sys.exit(f"bench_speed: {error}")
