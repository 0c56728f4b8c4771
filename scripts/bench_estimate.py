#!/usr/bin/env python3
"""The estimates of `poblano estimate` against the RTL in simulation: cycles of steps, and beside them the
plain roofline's error.

Without a name it measures :data:`CASES` and :data:`HELD_OUT` cases that are drawn by ``--seed``, which nobody
has looked at while the model was made, and fails if a bar is missed. Cycles do not depend on the numbers in
weights and caches, so that models are shapes and memory is zero; but for mixtures of experts, whose weights
are random.
"""

import argparse
import json
from pathlib import Path
import sys
from unittest import mock

from bench_speed import random_model
from document import rewrite
from estimate_cases import CASES, drawn
from rich.console import Console
from rich.table import Table

from poblano.config import ConfigError
from poblano.isa.commands import Opcode
from poblano.moe.reference import routes
from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.compiler.model import Chunk
from poblano_host.runtime.backend import GoldenBackend, open_backend, place_model, write_pieces

MEAN, WORST, TIMES = 0.02, 0.05, 3
"""Bars: the mean and the worst error, and how often ours must be in the roofline's."""
LOW, HALF = 0.8, 0.5
"""At least so many of the cases run below so much of their roofline."""
HELD_OUT = 20
PAGE = Path(__file__).parents[1] / "docs" / "estimate.md"


def _step(compiled, case):
    """The program of a :class:`Case`."""
    chunks = [
        Chunk(n, position, tuple((7 * n + 3 * k + 1) % case.shape.vocab for k in range(count)))
        for n, (count, position) in enumerate(case.places)
    ]
    return compiled.batch(chunks, logits=len(chunks))


def simulated(case, compiled=None):
    """The cycles of a :class:`Case` in RTL simulation, of the shape or with weights that are ``compiled``."""
    compiled = case.model.compiled if compiled is None else compiled
    program = _step(compiled, case)
    report = lambda line: print(line, file=sys.stderr, flush=True)
    backend = open_backend("sim", case.config, compiled.memory_bytes, compiled.ring, report=report)
    try:
        place_model(backend, compiled)
        write_pieces(backend, program.inputs)
        return backend.run(program.code).cycles
    finally:
        backend.close()


def routed(case, compiled):
    """The experts that have rows, (number, rows), of each ROUTE command of a :class:`Case` that is not quiet,
    on the golden chip."""
    program, found = _step(compiled, case), []
    golden = GoldenBackend(case.config, compiled.memory_bytes, compiled.ring)
    place_model(golden, compiled)
    write_pieces(golden, program.inputs)

    def seen(*arguments):
        its = routes(*arguments)
        found.append([(route.expert, len(route.rows)) for route in its])
        return its

    with mock.patch("poblano_host.golden.chip.routes", seen):
        golden.run(program.words)
    quiet = [c.operands.get("quiet") for c in program.commands if c.opcode is Opcode.ROUTE]
    return [its for its, is_quiet in zip(found, quiet, strict=True) if not is_quiet]


def measure(case):
    """(cycles of the RTL, the :class:`~poblano_estimate.step.StepEstimate`) of a :class:`Case`; one with
    experts has random weights, and its estimate is told which experts they made the tokens use."""
    compiled = found = None
    if case.mixes:
        compiled = CompiledModel(random_model(case.shape), case.config, **case.room)
        found = routed(case, compiled)
    cycles = simulated(case, compiled)
    return cycles, case.model.step(case.places, logits=len(case.places), routes=found)


def summary(rows):
    """Figures of ``rows``, (held out, cycles of the RTL, estimate)."""
    errors = [abs(step.cycles / cycles - 1) for _, cycles, step in rows]
    roofline = [abs(step.roofline_cycles / cycles - 1) for _, cycles, step in rows]
    mean = lambda values: sum(values) / len(values) if values else 0.0
    low = [step.roofline_cycles < LOW * cycles for _, cycles, step in rows]
    return {
        "cases": len(rows),
        "mean_error": mean(errors),
        "worst_error": max(errors),
        "held_out_cases": sum(held for held, *_ in rows),
        "held_out_worst_error": max((e for e, (held, *_) in zip(errors, rows) if held), default=0.0),
        "roofline_mean_error": mean(roofline),
        "below_80_percent_of_roofline": mean(low),
    }


def lines(rows):
    """The table of docs/estimate.md, of ``rows`` as :func:`show` has them."""
    found = [
        "| chip | cases | drawn | cycles | of the roofline | mean error | worst error | the roofline's |",
        "|---|--:|--:|---|---|--:|--:|--:|",
    ]
    chips = {name.split("/")[0]: [] for name, *_ in rows}
    for name, *row in rows:
        chips[name.split("/")[0]].append(row)
    for chip, mine in [*chips.items(), ("all", [row[1:] for row in rows])]:
        figures = summary(mine)
        cycles = [f"{count:,}" for count in sorted(row[1] for row in mine)]
        shares = sorted(step.roofline_cycles / count for _, count, step in mine)
        found.append(
            f"| {chip} | {figures['cases']} | {figures['held_out_cases']} | {cycles[0]} to {cycles[-1]} | "
            f"{shares[0]:.0%} to {shares[-1]:.0%} | {figures['mean_error']:.2%} | "
            f"{figures['worst_error']:.2%} | {figures['roofline_mean_error']:.1%} |"
        )
    return [line.replace("%", " %") for line in found]


def missed(figures):
    """What bars the figures miss, as text."""
    found = []
    if figures["mean_error"] > MEAN:
        found.append(f"the mean error is above {MEAN:.0%}")
    if figures["worst_error"] > WORST:
        found.append(f"the worst error is above {WORST:.0%}")
    if figures["roofline_mean_error"] < TIMES * figures["mean_error"]:
        found.append(f"the roofline's error is not {TIMES} times ours")
    if figures["below_80_percent_of_roofline"] < HALF:
        found.append(f"fewer than {HALF:.0%} of the cases run below {LOW:.0%} of their roofline")
    return found


def show(rows):
    """A table of ``rows``, (name, held out, cycles, estimate)."""
    table = Table(title="Cycles in RTL simulation, and as estimated", title_justify="left")
    for name in ("case", "RTL", "estimate", "error", "of the roofline", "drawn"):
        table.add_column(name, justify="left" if name == "case" else "right")
    for name, held, cycles, step in rows:
        table.add_row(
            name,
            f"{cycles:,}",
            f"{step.cycles:,.0f}",
            f"{step.cycles / cycles - 1:+.2%}",
            f"{step.roofline_cycles / cycles:.0%}",
            "yes" if held else "",
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 150).print(table)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help="some of the cases, by a part of their names"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the cases that are drawn")
    parser.add_argument("--drawn", type=int, default=HELD_OUT, help="cases that are drawn")
    parser.add_argument(
        "--quick", action="store_true", help="only presets that compile soon, and fewer cases"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/estimate.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    return parser.parse_args()


def main():
    arguments = parse()
    known, held = {name: case for name, case in CASES.items() if not (arguments.quick and case.slow)}, {}
    if arguments.cases:
        named = lambda name: any(part in name for part in arguments.cases)
        known = {name: case for name, case in CASES.items() if named(name)}
    else:
        count = arguments.drawn // 2 if arguments.quick else arguments.drawn
        held = drawn(arguments.seed, count, slow=not arguments.quick)
    rows = []
    for name, case in (known | held).items():
        cycles, step = measure(case)
        rows.append((name, name in held, cycles, step))
        print(f"{name}: {cycles:,} cycles, {step.cycles / cycles - 1:+.2%}", file=sys.stderr, flush=True)
    if not rows:
        sys.exit(f"bench_estimate: no case has {' or '.join(arguments.cases)} in its name")
    show(rows)
    figures = summary([row[1:] for row in rows])
    for name, value in figures.items():
        print(f"{name}: {value:.4g}")
    if arguments.write:
        rewrite(PAGE, "scripts/bench_estimate.py", lines(rows))
    if arguments.json:
        each = {name: step.cycles / cycles - 1 for name, _, cycles, step in rows}
        arguments.json.write_text(json.dumps(figures | {"errors": each}, indent=2) + "\n")
    if not arguments.cases and (problems := missed(figures)):
        sys.exit(f"bench_estimate: {'; '.join(problems)}")


if __name__ == "__main__":
    try:
        main()
    except (CompileError, ConfigError, ValueError) as error:
        sys.exit(f"bench_estimate: {error}")
