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
from typing import Any

import numpy as np

from poblano.config import BLOCK, ConfigError, preset
from poblano_host.compiler import CompileError
from poblano_host.models import Model, ModelConfig, load_model
from poblano_host.models.arch import FAMILIES
from poblano_host.models.model import BlockTensor
from poblano_host.runtime.report import Run, summarise
from poblano_host.runtime.session import Session


def random_model(config):
    """The :class:`Model` of a ModelConfig, without text, whose weights, of Q4_1, are random."""
    generator, tensors = np.random.default_rng(0), {}
    for name, shape in FAMILIES[config.architecture].graph(config).shapes().items():
        if len(shape) == 1:
            tensors[name] = generator.uniform(0.5, 1.5, shape).astype(np.float32)
            continue
        q = generator.integers(0, 16, shape, np.uint8)
        scale = generator.uniform(0.1, 0.3, (shape[0], shape[1] // BLOCK)) * shape[1] ** -0.5
        tensors[name] = BlockTensor("q4_1", q, scale.astype(np.float16), (-7.5 * scale).astype(np.float16))
    return Model(config, tensors, None)  # type: ignore[arg-type]  # no text


@dataclass(frozen=True)
class Sizes:
    """Those of a Llama of one layer with heads of 64; its weights, of Q4_1, are random."""

    dim: int
    ffn_dim: int
    heads: int
    kv_heads: int

    def model(self):
        c = ModelConfig(
            **vars(self),
            architecture="llama",
            name=f"{self.dim}/{self.ffn_dim}",
            layers=1,
            head_dim=64,
            vocab=512,
            context=1 << 15,
            rope_base=10000.0,
            norm_eps=1e-5,
        )
        return random_model(c)


@dataclass(frozen=True)
class Case:
    """A step of ``tokens`` from ``position`` on through ``layers`` layers (None: all, and the logits of the
    last token) on ``preset`` with other ``tiles`` and ``homes``, and a memory of ``bandwidth`` bytes a
    cycle in each home instead of a DRAM, if they are given; of a layer of ``sizes`` instead of the model.

    ``bar``: the least fraction of the roofline.
    """

    preset: str
    tokens: int
    position: int = 0
    layers: int | None = None
    tiles: int | None = None
    bandwidth: Fraction | None = None
    homes: int | None = None
    sizes: Sizes | None = None
    bar: float = 0.0

    @property
    def config(self):
        config = preset(self.preset)
        tiles = config.tiles if self.tiles is None else self.tiles
        dram = config.memory.dram
        changes: dict[str, Any] = {}
        if self.bandwidth is not None:  # of a memory without banks and rows
            config = config.with_axi_ports(bandwidth=self.bandwidth)
        elif self.homes == 1 and dram is not None:
            changes["addr_width"] = dram.addr_width
        if self.homes is not None:
            changes["homes"] = self.homes
        return replace(config, tiles=tiles, memory=replace(config.memory, **changes))


LLAMA_1B = Sizes(2048, 8192, 32, 8)


def scaled(tiles, tokens, position=0):
    """A case of as much work for each tile of ``desk``, of which there are ``tiles``, each with a home."""
    sizes = Sizes(512, 384 * tiles, 2 * tiles, tiles)
    return Case(
        "desk", tokens, position, 1, tiles, Fraction(10), tiles, sizes, bar=0.9 if tokens == 1 else 0.8
    )


CASES = {
    "tile64/prefill112": Case("tile64", 112, layers=1, bar=0.80),
    "desk4/prefill48": Case("desk", 48, layers=1, tiles=4, bandwidth=Fraction(32), bar=0.85),
    "desk8/prefill48": Case("desk", 48, layers=1, tiles=8, bandwidth=Fraction(32), bar=0.75),
    "desk/decode": Case("desk", 1, position=64, bar=0.95),
    "desk/prefill64": Case("desk", 64, bar=0.88),
    "desk/decode4096": Case("desk", 1, position=4095, bar=0.90),
    "desk/decode8192": Case("desk", 1, position=8191, layers=3, bar=0.90),
    "desk/prefill64_from_1984": Case("desk", 64, position=1984, layers=1, bar=0.75),
    "quad/decode": Case("quad", 1, position=64, layers=1, sizes=LLAMA_1B, bar=0.92),
    "quad/decode32768": Case("quad", 1, position=32767, layers=1, sizes=LLAMA_1B, bar=0.90),
    "quad/prefill256": Case("quad", 256, layers=1, sizes=LLAMA_1B, bar=0.92),
    "quad1/prefill64": Case("quad", 64, layers=1, tiles=1, homes=1, sizes=LLAMA_1B),
    **{f"desk{n}/scaled_prefill32": scaled(n, 32) for n in (1, 2, 4, 8)},
    **{f"desk{n}/scaled_decode": scaled(n, 1, 64) for n in (1, 2, 4, 8)},
}
"""Steps of SmolLM2-135M, where the bandwidth of the chips of four and eight tiles is that of a port of 256
bits; of a layer of Llama-3.2-1B's sizes, on ``quad`` and, as much work a tile, on one of its tiles; and of
layers that grow with the number of ``desk``'s tiles."""


def measure(case, model, *, check):
    """The :class:`~poblano_host.runtime.report.Summary` of a :class:`Case`."""
    config = case.config
    if case.sizes is not None:
        model = case.sizes.model()
    elif case.layers is not None:
        model = model.shortened(case.layers)
    end = case.position + case.tokens
    context = None if end <= 2048 else end
    report = lambda line: print(line, file=sys.stderr)
    session = Session(model, config, context=context, check=check, report=report)
    session.position = case.position
    tokens = [n % model.config.vocab for n in range(case.tokens)]
    step = session.step("prefill", tokens, "last" if case.layers is None else "none")
    session.close()
    return summarise([Run.of_step(step)], config)


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
    cases, figures, missed = chosen(arguments), {}, []
    model = None if all(case.sizes for case in cases.values()) else load_model(arguments.model)
    for name, case in cases.items():
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
