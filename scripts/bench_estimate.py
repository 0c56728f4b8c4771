#!/usr/bin/env python3
"""The estimates of `poblano estimate` against the RTL in simulation: cycles of steps, and beside them the
plain roofline's error.

Without a name it measures :data:`CASES` and :data:`HELD_OUT` cases that are drawn by ``--seed``, which nobody
has looked at while the model was made, and fails if a bar is missed. Cycles do not depend on the numbers in
weights and caches, so that models are shapes and memory is zero.
"""

import argparse
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
import json
from pathlib import Path
import random
import sys

from document import rewrite
from rich.console import Console
from rich.table import Table

from poblano.config import ArrayConfig, ChipConfig, ConfigError, MemoryConfig, TileConfig, preset
from poblano.dram.config import DramConfig
from poblano_estimate.shapes import SHAPES, model_shape
from poblano_estimate.step import Model
from poblano_host.compiler import CompileError
from poblano_host.compiler.model import Chunk
from poblano_host.runtime.backend import open_backend, place_model, write_pieces

MEAN, WORST, TIMES = 0.02, 0.05, 3
"""Bars: the mean and the worst error, and how often ours must be in the roofline's."""
LOW, HALF = 0.8, 0.5
"""At least so many of the cases run below so much of their roofline."""
HELD_OUT = 20
PAGE = Path(__file__).parents[1] / "docs" / "estimate.md"


def _odd():
    """A chip that is like no preset: three tiles, low arrays, few lanes, narrow beats, single commands."""
    tile = TileConfig(
        array=ArrayConfig(rows=8, cols=16, load_rows=4),
        lanes=4,
        tokens=32,
        vmem_lines=4096,
        vmem_banks=2,
        amem_blocks=2048,
        fifo_bytes=2048,
    )
    memory = MemoryConfig(data_width=128, burst_beats=8, outstanding=4, bandwidth=Fraction(12), latency=40)
    return ChipConfig(name="odd", tiles=3, tile=tile, memory=memory, queue_depth=2)


def _ddr3():
    """A chip with a DDR3, whose banks are refreshed together, and arrays as high as a block."""
    tile = TileConfig(
        array=ArrayConfig(rows=32, cols=8, load_rows=2),
        lanes=8,
        tokens=32,
        vmem_lines=4096,
        amem_blocks=2048,
        fifo_bytes=4096,
    )
    dram = DramConfig(kind="DDR3-1600", clock_mhz=Fraction(200))
    memory = MemoryConfig(data_width=128, addr_width=29, dram=dram)
    return ChipConfig(name="ddr3", tiles=2, tile=tile, memory=memory)


def _homes():
    """A chip like a small ``quad``: two homes of two pseudo-channels side by side, more lanes than a line."""
    tile = TileConfig(
        array=ArrayConfig(rows=32, cols=16, load_rows=2),
        lanes=16,
        tokens=32,
        vmem_lines=8192,
        amem_blocks=2048,
        fifo_bytes=8192,
    )
    dram = DramConfig(channels=2)
    memory = MemoryConfig(
        data_width=512, addr_width=40, outstanding=16, homes=2, home_bytes=dram.timing.bytes, dram=dram
    )
    return ChipConfig(name="homes", tiles=2, tile=tile, memory=memory)


CHIPS = {
    "nano": lambda: preset("nano"),
    "desk": lambda: preset("desk"),
    "desk_axi": lambda: preset("desk").with_axi_ports(),
    "quad": lambda: preset("quad"),
    "odd": _odd,
    "ddr3": _ddr3,
    "homes": _homes,
}


@dataclass(frozen=True)
class Case:
    """A step of chunks at ``places``, (tokens, position), of a model of ``sizes``, (layers, dim, ffn_dim,
    heads, kv_heads, head_dim, vocab), or of a shape's name, on one of :data:`CHIPS`, with a plain memory of
    ``plain`` bytes a cycle and latency where they are given."""

    chip: str
    sizes: tuple | str
    format: str
    places: tuple
    plain: tuple | None = None
    slow: bool = False

    @property
    def config(self):
        config = CHIPS[self.chip]()
        if self.plain is None:
            return config
        return config.with_memory(bandwidth=Fraction(self.plain[0]), latency=self.plain[1])

    @property
    def shape(self):
        if isinstance(self.sizes, str):
            return model_shape(self.sizes)[0]
        layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab = self.sizes
        return replace(
            SHAPES["smollm2-135m"],
            name="drawn",
            layers=layers,
            dim=dim,
            ffn_dim=ffn_dim,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            vocab=vocab,
        )

    @cached_property
    def model(self):
        end = max(position + count for count, position in self.places)
        return Model(self.shape, self.format, self.config, context=max(end, 64), slots=len(self.places))

    @property
    def fits(self):
        """Whether there is room for it."""
        try:
            return self.model is not None
        except CompileError:
            return False

    @property
    def name(self):
        plain = "" if self.plain is None else f"/{self.plain[0]}B,{self.plain[1]}"
        sizes = self.sizes if isinstance(self.sizes, str) else "x".join(map(str, self.sizes))
        places = "+".join(f"{count}@{position}" for count, position in self.places)
        return f"{self.chip}{plain}/{sizes}/{self.format}/{places}"


TINY = 2, 64, 96, 4, 2, 32, 72
SMALL = 2, 128, 384, 4, 2, 32, 1024
WIDE = 1, 576, 1536, 9, 3, 64, 512
DEEP = 8, 128, 256, 4, 2, 32, 512
QUAD = 1, 1024, 2048, 16, 4, 64, 512
ONE, LATER, FEW, MANY = ((1, 8),), ((1, 250),), ((5, 3),), ((32, 0),)
SEVERAL = (1, 3), (1, 40), (1, 130), (1, 60)


def _cases():
    """Those that the model was made with."""
    found = [
        Case("nano", TINY, form, places, plain)
        for form, places, plain in (
            ("q8_0", ONE, None),
            ("q4_1", ONE, ("8", 20)),
            ("q4_0", ONE, ("8", 150)),
            ("q8_0", ((1, 40),), ("4", 150)),
            ("q4_1", FEW, None),
            ("q8_0", FEW, ("8", 100)),
            ("q4_0", ((8, 0),), ("1", 60)),
            ("q4_1", ((12, 20),), ("8", 60)),
        )
    ]
    found += [Case("nano", DEEP, "q4_1", ONE, ("8", 60)), Case("nano", "default", "q8_0", ONE, ("8", 60))]
    found += [
        Case("desk", sizes, form, places)
        for sizes, form, places in (
            (TINY, "q8_0", ONE),
            (TINY, "q4_1", SEVERAL),
            (SMALL, "q8_0", ONE),
            (SMALL, "q4_1", LATER),
            (SMALL, "q4_0", FEW),
            (SMALL, "q8_0", MANY),
            (SMALL, "q4_1", SEVERAL),
            (WIDE, "q4_1", LATER),
            (WIDE, "q8_0", MANY),
            (WIDE, "q8_0", ONE),
            (WIDE, "q4_0", SEVERAL),
            (DEEP, "q4_1", ONE),
            (DEEP, "q8_0", ((16, 16),)),
            ("default", "q8_0", ((1, 31),)),
            ("default", "q8_0", ((64, 0),)),
        )
    ]
    found += [
        Case("desk_axi", sizes, form, places, plain)
        for sizes, form, places, plain in (
            (TINY, "q4_1", ONE, ("32", 120)),
            (TINY, "q8_0", SEVERAL, ("32", 60)),
            (SMALL, "q8_0", ONE, ("20", 60)),
            (SMALL, "q4_1", MANY, ("32", 120)),
            (SMALL, "q4_0", SEVERAL, ("10", 20)),
            (WIDE, "q4_1", LATER, ("32", 60)),
        )
    ]
    found += [
        Case("odd", sizes, form, places, plain)
        for sizes, form, places, plain in (
            (TINY, "q8_0", ONE, None),
            (TINY, "q4_1", SEVERAL, ("16", 60)),
            (SMALL, "q4_1", ONE, ("16", 20)),
            (SMALL, "q8_0", FEW, ("16", 100)),
            (SMALL, "q4_0", ((16, 8),), None),
            (SMALL, "q4_1", SEVERAL, ("16", 40)),
        )
    ]
    found += [
        Case("ddr3", sizes, form, places)
        for sizes, form, places in (
            (TINY, "q4_1", ONE),
            (SMALL, "q8_0", ONE),
            (SMALL, "q4_0", ((16, 8),)),
            (SMALL, "q4_1", SEVERAL),
        )
    ]
    found += [
        Case("homes", sizes, form, places, slow=True)
        for sizes, form, places in (
            (TINY, "q8_0", ONE),
            (SMALL, "q4_1", LATER),
            (WIDE, "q4_1", ONE),
            (SMALL, "q8_0", MANY),
            (SMALL, "q4_1", SEVERAL),
        )
    ]
    found += [Case("quad", QUAD, "q4_1", ONE, slow=True), Case("quad", QUAD, "q8_0", MANY, slow=True)]
    found += [Case("desk", "smollm2-135m", "q4_1", ((1, 512),), slow=True)]
    return found


CASES = {case.name: case for case in _cases()}


def drawn(seed, count, *, slow):
    """``count`` cases by a ``seed``; with ``slow`` on chips that take long to compile too."""
    rng, found = random.Random(seed), {}
    while len(found) < count:
        chip = rng.choice(
            ["nano", "nano", "desk", "desk", "desk_axi", "odd", "ddr3"] + ["homes", "quad"] * slow
        )
        small, large = chip in ("nano", "odd", "ddr3"), chip == "quad"
        kv_heads = rng.choice([4] if large else [1, 2] if small else [1, 2, 3])
        sizes = (
            rng.choice([1, 2, 3]),
            rng.choice([512, 1024] if large else [64, 96, 128] if small else [128, 256, 384]),
            rng.choice([1024, 2048] if large else [96, 160, 256] if small else [256, 384, 768]),
            kv_heads * rng.choice([1, 2, 3]),
            kv_heads,
            rng.choice([64] if large else [32, 64]),
            rng.choice([512, 1024] if large else [72, 200] if small else [256, 1024]),
        )
        position = rng.choice([0, 7, 30] if small else [0, 20, 150, 400])
        kind = rng.choice(["one", "one", "several", "prefill"])
        places: tuple = ((1, position),)
        if kind == "prefill":
            places = ((rng.choice([2, 5, 8] if small else [4, 16, 40]), position),)
        elif kind == "several":
            places = tuple((1, rng.choice([1, 20, 100])) for _ in range(rng.choice([2, 3, 6])))
        rates = {"nano": ("4", "8"), "desk_axi": ("10", "20", "32"), "odd": ("8", "12", "16")}
        plain = (rng.choice(rates[chip]), rng.choice([20, 60, 150])) if chip in rates else None
        case = Case(chip, sizes, rng.choice(["q4_0", "q4_1", "q8_0"]), places, plain)
        if case.fits:
            found[case.name] = case
    return found


def simulated(case):
    """The cycles of a :class:`Case` in RTL simulation."""
    compiled = case.model.compiled
    chunks = [Chunk(n, position, (0,) * count) for n, (count, position) in enumerate(case.places)]
    program = compiled.batch(chunks, logits=len(chunks))
    report = lambda line: print(line, file=sys.stderr, flush=True)
    backend = open_backend("sim", case.config, compiled.memory_bytes, compiled.ring, report=report)
    try:
        place_model(backend, compiled)
        write_pieces(backend, program.inputs)
        return backend.run(program.code).cycles
    finally:
        backend.close()


def measure(case):
    """(cycles of the RTL, the :class:`~poblano_estimate.step.StepEstimate`) of a :class:`Case`."""
    return simulated(case), case.model.step(case.places, logits=len(case.places))


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
