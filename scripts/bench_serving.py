#!/usr/bin/env python3
"""Steps of several sequences: cycles on the RTL against the roofline and against one sequence, logits that
differ from those of each sequence alone, and the host's time for a step.

``desk/batchN_...`` are decode steps of SmolLM2 on ``desk`` at positions around 256, which differ from
sequence to sequence: ``cycles`` of the step, ``roofline`` (the part of it), ``speedup`` (tokens a cycle over
those of one sequence). Cycles do not depend on the numbers in weights and caches, so that a step at a
position needs none before it. ``different_logits`` counts rows of logits of the default model on the golden
chip, in random batches, that are not those of the sequence alone. ``host_ms_per_step32`` is the CPU time of a
step of 32 sequences, from the choice of its tokens to the choice of those that follow, without compiling its
shape: half of the requests are at temperature 0, half at 0.8 with top-k 40, on a chip that completes all
commands at once and has random logits. ``--quick`` takes three layers of SmolLM2 and few sequences.
"""

import argparse
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
from poblano_host.runtime.backend import DeviceBackend, GoldenBackend, open_backend, place_model
from poblano_host.runtime.report import Run, summarise
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Step, run_program
from poblano_host.serve.engine import Engine
from poblano_host.serve.request import Request

BATCHES = (1, 8, 32)
BARS = {"different_logits": 0, "host_ms_per_step32": 10.0}
CONTEXT = 512


def around(count, seed=0):
    """A token of each of ``count`` sequences, at positions around 256."""
    positions = 256 + np.random.default_rng(seed).integers(-40, 41, count)
    return [Chunk(n, int(position), (5 + n,)) for n, position in enumerate(positions)]


def speed(model, batches, figures):
    """Cycles of decode steps on the RTL."""
    config = preset("desk")
    compiled = CompiledModel(model, config, context=CONTEXT, slots=max(batches))
    report = lambda line: print(line, file=sys.stderr)
    backend = open_backend("sim", config, compiled.memory_bytes, compiled.ring, report=report)
    place_model(backend, compiled)
    for count in batches:
        program = compiled.batch(around(count), logits=-1)
        result, _ = run_program(backend, program)
        step = Step("decode", 256, count, program, result)
        name, cycles = f"desk/batch{count}", result.cycles
        figures[f"{name}_cycles"] = cycles
        figures[f"{name}_roofline"] = round(summarise([Run.of_step(step)], config).roofline_fraction, 4)
        speedup = count * figures["desk/batch1_cycles"] / cycles
        figures[f"{name}_speedup"] = round(speedup, 3)
    backend.close()


def different(count, seed, figures):
    """Rows of logits that depend on what else is in their steps."""
    model, config = load_model("default"), preset("desk")
    generator = np.random.default_rng(seed)
    texts = [
        generator.integers(0, model.config.vocab, generator.integers(4, 120)).tolist() for _ in range(count)
    ]
    compiled = CompiledModel(model, config, slots=count)
    rows = lambda backend, program: np.frombuffer(
        backend.read(program.logits[0], program.logits[1] * compiled.vocab_stride), np.uint32
    ).reshape(program.logits[1], -1)

    def run(backend, chunks):
        program = compiled.batch(chunks, logits=-1)
        run_program(backend, program)
        return rows(backend, program)

    def fresh():
        backend = GoldenBackend(config, compiled.memory_bytes, compiled.ring)
        place_model(backend, compiled)
        return backend

    wrong = total = 0
    together, done, seen = fresh(), [0] * count, [[] for _ in texts]
    while any(len(text) > at for text, at in zip(texts, done)):
        left, chunks = compiled.max_tokens, []
        for n in generator.permutation(count):
            most = min(left, len(texts[n]) - done[n], int(generator.choice([1, 1, 5, 30])))
            if most > 0:
                chunks.append(Chunk(int(n), done[n], tuple(texts[n][done[n] : done[n] + most])))
                left, done[n] = left - most, done[n] + most
        found, at = run(together, chunks), 0
        for chunk in chunks:
            seen[chunk.slot].append(found[at : at + len(chunk.tokens)])
            at += len(chunk.tokens)
    for text, parts in zip(texts, seen):
        alone = fresh()
        steps = range(0, len(text), compiled.max_tokens)
        expected = [run(alone, [Chunk(0, at, tuple(text[at : at + compiled.max_tokens]))]) for at in steps]
        wrong += int((np.concatenate(parts) != np.concatenate(expected)).any(axis=1).sum())
        total += len(text)
    figures |= {"different_logits": wrong, "compared_logits": total}


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
    parser.add_argument("--quick", action="store_true", help="three layers, few sequences")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    model, figures = load_model("smollm2"), {}
    if arguments.quick:
        model = model.shortened(3)
    speed(model, BATCHES[:2] if arguments.quick else BATCHES, figures)
    different(4 if arguments.quick else 24, arguments.seed, figures)
    host(model, figures)
    missed = []
    for name, value in figures.items():
        bar = BARS.get(name)
        print(f"{name}: {value}" + ("" if bar is None else f" (bar {bar})"))
        if bar is not None and value > bar:
            missed.append(name)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
