#!/usr/bin/env python3
"""Steps of several sequences: cycles on the RTL against the roofline and against one sequence, logits that
differ from those of each sequence alone, and the host's time for a step.

``desk/batchN_...`` are decode steps of SmolLM2 on ``desk`` at positions around 256, which differ from
sequence to sequence: ``cycles`` of the step, ``roofline`` (the part of it), ``speedup`` (tokens a cycle over
those of one sequence). ``desk/prompt_beside8_cycles`` are those that 56 tokens of a prompt, from position
128 on, add to the step of 8 sequences, and ``_roofline`` is the part of them that the rooflines of the two
steps differ by. Cycles do not depend on the numbers in weights and caches, so that a step at a
position needs none before it. ``different_logits`` counts rows of logits, of random requests on the golden
chip, that are not those of the request alone: in random batches with shared beginnings and preemption, on 1,
2 and 4 tiles, in ``batches`` steps of more than one; ``moe/`` is the mixture of experts, ``rtl/`` are 20
requests on the RTL of two tiles.
``kv_waste`` is the part of the memory of pages that is reserved and not used, of 64 sequences of 64 to 2,048
positions, and ``kv_waste_256`` of 64 to 448. ``host_ms_per_step32`` is the CPU time of a
step of 32 sequences, from the choice of its tokens to the choice of those that follow, without compiling its
shape: half of the requests are at temperature 0, half at 0.8 with top-k 40, on a chip that completes all
commands at once and has random logits. ``--quick`` takes three layers of SmolLM2 and few sequences. Parts can
be named: ``moe --requests 45`` compares the mixture's logits alone, in about 15 minutes.
"""

import argparse
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest
import json
from pathlib import Path
import statistics
import sys
import time

from bench_host import InstantChip
import numpy as np

from poblano.config import BLOCK, preset
from poblano_host.compiler import Chunk, CompiledModel
from poblano_host.models import load_model
from poblano_host.runtime.backend import DeviceBackend, open_backend, place_model
from poblano_host.runtime.report import Run, summarise
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session, Step, run_program
from poblano_host.serve.engine import Engine, Started
from poblano_host.serve.pages import PagePool
from poblano_host.serve.request import Request
from poblano_host.serve.scheduler import Scheduler

BATCHES = (1, 8, 32)
BESIDE, PROMPT_ROWS = 8, 56
"""Decoded sequences, and tokens of a prompt in their step: what fills it."""
BARS = {
    "different_logits": 0,
    "smollm2/different_logits": 0,
    "moe/different_logits": 0,
    "rtl/different_logits": 0,
    "moe/rtl/different_logits": 0,
    "host_ms_per_step32": 10.0,
    "kv_waste": 0.04,
    "kv_waste_256": 0.08,
}
LEAST = {"desk/batch32_roofline": 0.8, "desk/prompt_beside8_roofline": 0.95}
"""Of all layers: the halves of a step are not both at work in its first half layer and in its last."""
load = cache(load_model)


@dataclass(frozen=True)
class Compared:
    """A part of the bench: random requests, whose logits are compared by :func:`different`. ``seed`` is added
    to the bench's."""

    model: str
    preset: str = "desk"
    requests: int = 200
    tiles: tuple = (1, 2, 4)
    backend: str = "golden"
    layers: int | None = None
    seed: int = 0

    def measure(self, prefix, count, seed, figures):
        model = load(self.model)
        if self.layers is not None:
            model = model.shortened(self.layers)
        options = dict(tiles=self.tiles, backend=self.backend, prefix=prefix)
        different(model, preset(self.preset), count, self.seed + seed, figures, **options)


COMPARED = {
    "default": Compared("default"),
    "smollm2": Compared("smollm2", requests=20, tiles=(1, 4), layers=2, seed=1),  # all 30 would take hours
    "moe": Compared("moe", "desk-moe"),
    "rtl": Compared("default", requests=20, tiles=(2,), backend="sim"),
    "moe/rtl": Compared("moe", "desk-moe", requests=20, tiles=(2,), backend="sim"),
}
PARTS = ("speed", "kv_waste", "host", *COMPARED)
SOON = ("speed", "kv_waste", "host", "default")
CONTEXT = 512
CHOSEN_CONTEXT, CHOSEN_PAGES, CHOSEN_TOKENS = 256, 20, 40
"""Positions of a sequence, pages of eight of them, so few that some are preempted, and tokens of answers."""


def around(count, seed=0):
    """A token of each of ``count`` sequences, at positions around 256."""
    positions = 256 + np.random.default_rng(seed).integers(-40, 41, count)
    return [Chunk(n, int(position), (5 + n,)) for n, position in enumerate(positions)]


def speed(model, batches, figures):
    """Cycles of decode steps on the RTL, and of one with a part of a prompt."""
    config = preset("desk")
    compiled = CompiledModel(model, config, context=CONTEXT, slots=max(batches) + 1)
    report = lambda line: print(line, file=sys.stderr)
    backend = open_backend("sim", config, compiled.memory_bytes, compiled.ring, report=report)
    place_model(backend, compiled)

    def measured(chunks, logits):
        """Cycles of a step, and those of its roofline."""
        program = compiled.batch(chunks, logits=logits)
        result, _ = run_program(backend, program)
        step = Step("decode", 256, logits, program, result)
        return result.cycles, result.cycles * summarise([Run.of_step(step)], config).roofline_fraction

    for count in batches:
        cycles, roofline = measured(around(count), count)
        figures[f"desk/batch{count}_cycles"] = cycles
        figures[f"desk/batch{count}_roofline"] = round(roofline / cycles, 4)
        speedup = count * figures["desk/batch1_cycles"] / cycles
        figures[f"desk/batch{count}_speedup"] = round(speedup, 3)
        if count == BESIDE:
            prompt = Chunk(count, 128, tuple(range(5, 5 + PROMPT_ROWS)))
            both, least = measured([prompt, *around(count)], count)
            figures[f"desk/prompt_beside{BESIDE}_cycles"] = both - cycles
            figures[f"desk/prompt_beside{BESIDE}_roofline"] = round((least - roofline) / (both - cycles), 4)
    backend.close()


class Recorded(Engine):
    """An engine that keeps the logits that each token was chosen from, by request and answer."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen: dict = {}
        self.preempted = self.batches = 0

    def _choose(self, request, index, row):
        self.seen.setdefault((request.id, index), []).append(row.logits.values.tobytes())
        return super()._choose(request, index, row)

    def _run(self, step):
        self.preempted += len(step.preempted)
        self.batches += len(step.parts) > 1
        return super()._run(step)


def random_requests(model, count, generator):
    """(before which step, request, sampler): prompts of which many begin alike, at random times."""
    tokens = lambda n: generator.integers(0, model.config.vocab, n).tolist()
    beginnings = [tokens(n) for n in (40, 70, 100)]
    arrivals = []
    for n in range(count):
        shared = beginnings[generator.integers(3)][: generator.integers(1, 100)]
        prompt = (shared if generator.random() < 0.6 else []) + tokens(generator.integers(1, 40))
        request = Request(id=f"r{n}", prompt=tuple(prompt), tokens=int(generator.integers(1, CHOSEN_TOKENS)))
        sampler = Sampler(temperature=float(generator.choice([0, 0.8])), seed=n)
        arrivals.append((int(generator.integers(0, count)), request, sampler))
    return arrivals


def different(model, config, count, seed, figures, *, tiles=(1, 2, 4), prefix="", backend="golden"):
    """Rows of logits, that tokens were chosen from, that are not those of the request alone on the golden
    chip: on chips of so many tiles, in batches with others, with shared beginnings and preemption. The
    figures' names begin with ``prefix``."""
    arrivals = random_requests(model, count, np.random.default_rng(seed))
    alone, expected = Session(model, config, backend="golden", context=CHOSEN_CONTEXT), {}
    for _, request, sampler in arrivals:
        alone.rewind(0)
        steps = alone.generate(list(request.prompt), request.tokens, sampler, logits=True)
        expected[request.id, 0] = [step.logits.tobytes() for step, token in steps if token is not None]
    wrong = total = cached = preempted = batches = 0
    for number in tiles:
        engine = Recorded(
            model,
            replace(config, tiles=number),
            backend=backend,
            sequences=8,
            context=CHOSEN_CONTEXT,
            pages=CHOSEN_PAGES,
        )
        waiting, step = sorted(arrivals, key=lambda arrival: arrival[0]), 0
        while waiting or engine.scheduler.running or engine.scheduler.waiting:
            while waiting and waiting[0][0] <= step:
                engine.add(*waiting.pop(0)[1:])
            events = engine.step() or ()
            cached += sum(event.cached for event in events if isinstance(event, Started))
            step += 1
        for key, rows in expected.items():
            found = engine.seen[key]
            wrong += sum(a != b for a, b in zip_longest(found, rows))
            total += len(rows)
        preempted += engine.preempted
        batches += engine.batches
    counts = {"different_logits": wrong, "compared_logits": total, "batches": batches}
    counts |= {"cached_tokens": cached, "preempted": preempted}
    figures |= {prefix + name: value for name, value in counts.items()}


def kv_waste(lengths, compiled, figures, name):
    """Memory of pages that is reserved and not used by sequences of so many positions, while they are
    decoded: parts of pages that they do not fill, and what pages are aligned to."""
    positions, used = compiled.page_positions, compiled.pages.used / compiled.pages.bytes
    pool = PagePool(pages=sum(-(-n // positions) for n in lengths), positions=positions)
    scheduler = Scheduler(pool, rows=4 * len(lengths), sequences=len(lengths), context=max(lengths) + 1)
    for n, length in enumerate(lengths):
        # Of different beginnings: nothing is shared.
        scheduler.add(Request(id=str(n), prompt=tuple(range(n, n + length - 16)), tokens=16))
    reserved = filled = 0
    while (step := scheduler.plan()) is not None:
        chosen = {(part.request.id, index): -1 for part in step.parts for index in part.choices}
        scheduler.finish(step, chosen)
        reserved += (pool.pages - pool.free) * positions
        filled += sum(sequence.computed for sequence in scheduler.running)
    figures[name] = round(1 - used * filled / reserved, 4)


def host(model, figures):
    """CPU time of a step of 32 sequences."""
    open_chip = lambda config, size, ring, report: DeviceBackend(
        config, size, ring, InstantChip(config, size)
    )
    engine = Engine(model, preset("desk"), backend=open_chip, sequences=32, context=CONTEXT)
    leave_logits(engine.compiled, engine.backend.device.memory, 32)
    for n in range(32):
        request = Request(id=str(n), prompt=(5 + n,), tokens=20)
        engine.add(request, Sampler(temperature=0.8 * (n % 2), top_k=40, seed=n))
    seconds = []
    for _ in range(12):
        begun = time.process_time()
        engine.step()
        seconds.append(time.process_time() - begun)
        assert engine.rows == 32
    figures["host_ms_per_step32"] = round(1000 * statistics.median(seconds[2:]), 3)


def leave_logits(compiled, memory, count):
    """Random logits in the memory of a chip, as steps of ``count`` sequences leave them."""
    program = compiled.batch(around(count), logits=-1)
    start, stride = program.logits[0], compiled.vocab_stride
    rows = np.random.default_rng(0).normal(0, 3, (count, stride // 4)).astype(np.float32)
    rows[:, compiled.model.config.vocab :] = -np.inf
    memory[start : start + count * stride] = rows.view(np.uint8).ravel()
    maxima, at = rows.reshape(count, -1, BLOCK).max(-1), 0
    for piece in program.maxima:
        part = np.zeros((count, piece.stride), np.float32)
        part[:, : piece.blocks] = maxima[:, at : at + piece.blocks]
        memory[piece.address : piece.address + part.nbytes] = part.view(np.uint8).ravel()
        at += piece.blocks


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="three layers, few sequences, parts that are soon"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--requests", type=int, metavar="N", help="of parts that compare logits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    quick, figures = arguments.quick, {}
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"no part {part!r}; there are {', '.join(PARTS)}")
    for part in arguments.parts or (SOON if quick else PARTS):
        if compared := COMPARED.get(part):
            count = arguments.requests or (6 if quick else compared.requests)
            compared.measure("" if part == "default" else f"{part}/", count, arguments.seed, figures)
            continue
        model = load("smollm2")
        shorter = model.shortened(3) if quick else model
        if part == "speed":
            speed(shorter, BATCHES[:2] if quick else BATCHES, figures)
        elif part == "host":
            host(shorter, figures)
        else:
            compiled = CompiledModel(model, preset("desk"), context=2048)
            generator = np.random.default_rng(arguments.seed)
            kv_waste(generator.integers(64, 2049, 64).tolist(), compiled, figures, "kv_waste")
            kv_waste(generator.integers(64, 449, 64).tolist(), compiled, figures, "kv_waste_256")
    missed = []
    for name, value in figures.items():
        most, least = BARS.get(name), None if quick else LEAST.get(name)
        bar = least if most is None else most
        print(f"{name}: {value}" + ("" if bar is None else f" (bar {bar})"))
        if most is not None and value > most or least is not None and value < least:
            missed.append(name)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
