#!/usr/bin/env python3
"""A layer of a mixture of experts on the RTL in simulation: cycles against the roofline, bytes that were read
without use, bytes that are requested before they are waited for, and what routing and experts without rows
take; and of experts with 64 rows or more, how much of the arrays' peak their products reach. Beside each
stands ``whole_experts``, the most of the roofline that memory would allow if each tile had whole experts.

Every case is run on the golden chip too, and all of memory is compared. The weights are random.

The roofline is the sum over operators of the larger of what an operator's multiply-accumulates take and what
the bytes take that it has to read; ``of_layer`` is the part of the layer's, which could do the
multiply-accumulates of one operator while it reads for another. A case with ``more_memory`` is on a chip with
that many times the vector and activation memories of its preset, as its rows do not fit into these.

A step of one layer begins with loading its rows, while the arrays wait, which is no part of a layer; that of
a model does so once. ``further_layer`` is what the second of two layers takes: by how much their step is
longer.
"""

import argparse
from dataclasses import dataclass, replace
import json
import math
from pathlib import Path
import sys
from unittest import mock

from bench_speed import random_model
import numpy as np

from poblano.config import ExpertsConfig, preset
from poblano.control.fetch import BURST_COMMANDS
from poblano.isa.commands import COMMAND_BYTES, Opcode
from poblano.isa.topology import UnitKind
from poblano_host.compiler import CompiledModel
from poblano_host.compiler.experts import mixtures
from poblano_host.compiler.model import Chunk
from poblano_host.models.arch import FAMILIES
from poblano_host.models.capacity import Capacity
from poblano_host.models.operators import Attention, Linear
from poblano_host.runtime.backend import GoldenBackend, SimulationBackend, place_model
from poblano_host.runtime.report import roofline_cycles
from poblano_host.runtime.timeline import slices


@dataclass(frozen=True)
class Sizes:
    """Those of a layer; its weights, of Q4_1, are random."""

    dim: int
    ffn_dim: int
    heads: int
    kv_heads: int
    experts: int
    used: int
    head_dim: int = 64

    def model(self, layers=1):
        c = FAMILIES["mixtral"].config_type(
            **vars(self),
            architecture="mixtral",
            name=f"{self.experts} experts of {self.dim}/{self.ffn_dim}",
            layers=layers,
            vocab=512,
            context=512,
            rope_base=10000.0,
            norm_eps=1e-5,
        )
        return random_model(c)


@dataclass(frozen=True)
class Case:
    """A step of ``tokens`` tokens of each of ``sequences`` on ``preset``, which routes experts if it does not
    yet.

    ``bar``: the least part of the roofline; ``peak_bar``: of the arrays' peak that experts are to reach.
    ``alike``: all are one token, so that most slots have no expert. ``capacity``: of the experts, as 6/32;
    then all tokens are of a prompt. ``position``: of the first token of each sequence, whose caches before it
    are random. ``layers``: of the model; ``further``: to be compared with the same of two."""

    preset: str
    sizes: Sizes
    sequences: int
    tokens: int = 1
    bar: float = 0.0
    peak_bar: float | None = None
    alike: bool = False
    capacity: str | None = None
    position: int = 0
    more_memory: int = 1
    layers: int = 1
    further: bool = False

    @property
    def model(self):
        model = self.sizes.model(self.layers)
        return model if self.capacity is None else model.with_capacity(Capacity.read(self.capacity))

    @property
    def config(self):
        config, times = preset(self.preset), self.more_memory
        tile = config.tile
        more = dict(vmem_lines=times * tile.vmem_lines, amem_blocks=times * tile.amem_blocks)
        config = replace(config, tile=replace(tile, **more))
        return config if config.experts is not None else replace(config, experts=ExpertsConfig())

    def chunks(self):
        step = 0 if self.alike else 7
        text = lambda n: tuple((step * (n * self.tokens + k) + 1) % 512 for k in range(self.tokens))
        return [Chunk(n, self.position, text(n), self.tokens) for n in range(self.sequences)]


OLMOE = Sizes(2048, 1024, 32, 32, 64, 8)
SOME = Sizes(1024, 512, 16, 16, 16, 4)
"""Less of it, for a quick look."""
SMALL = Sizes(256, 192, 4, 2, 16, 2)
GPT_OSS = Sizes(2880, 2880, 64, 8, 8, 4)
"""With 8 of its experts."""
ROWS = 64
"""Rows of each expert in a part of a prompt; what fits beside them sets these sizes."""
NARROW = Sizes(256, 512, 4, 4, 4, 4)
EMPTY = Case("desk-moe", SMALL, 8, alike=True)
SOME_EMPTY = 3
"""So many slots without an expert are passed over apart, as commands of used ones lie between theirs."""
MOST_EMPTY, LEAST_AHEAD = 4, 0.9
"""Cycles of an expert without rows, and the share of experts' bytes that are requested in time: the bars."""
CASES = {
    "desk/decode1": Case("desk-moe", OLMOE, 1, bar=0.92),
    "desk/decode8": Case("desk-moe", OLMOE, 8, bar=0.92),
    "desk/decode64": Case("desk-moe", OLMOE, 64, bar=0.92, position=255, more_memory=8),
    "moe/decode1": Case("desk-moe", SMALL, 1, bar=0.80),
    "desk/prefill64": Case("desk-moe", NARROW, 1, tokens=ROWS, peak_bar=0.85),
    "moe/prefill64": Case("desk-moe", SMALL, 1, tokens=64),
    "moe/capacity": Case("desk-moe", SMALL, 1, tokens=64, capacity="6/32"),
    "quad/decode1": Case("quad", GPT_OSS, 1, bar=0.92),
    "quad/decode8": Case("quad", GPT_OSS, 8, bar=0.92),
    "quad/decode64": Case("quad", GPT_OSS, 64, bar=0.92, position=255, further=True),
}
QUICK = {
    "desk/decode1": Case("desk-moe", SOME, 1),
    "desk/decode8": Case("desk-moe", SOME, 8),
    "moe/decode1": Case("desk-moe", SMALL, 1),
    "moe/capacity": Case("desk-moe", SMALL, 1, tokens=64, capacity="6/32"),
}


def step_bytes(program, routes):
    """Bytes that a program's commands and what they read have, where only ``routes`` experts have rows, and
    how often commands are passed over."""
    commands, total, passes, n = program.commands, 0, 0, 0
    while n < len(commands):
        o, opcode = commands[n].operands, commands[n].opcode
        n += 1
        total += COMMAND_BYTES
        if opcode is Opcode.EXPERT and o["slot"] >= routes:
            n, passes = n + o["skip"], passes + 1
        elif opcode is Opcode.STREAM:
            total += o["rows"] * o["row_bytes"]
        elif opcode is Opcode.LOAD:
            total += 32 * o["rows"] * o["lines"]
    return total, passes


def routing(program, events):
    """Cycles from the start of the router's product to that of the first expert's first STREAM."""
    names = [program.label(n).rsplit(".", 2)[-2:] for n in range(len(program))]
    first = {name: n for n, name in reversed([(n, tuple(name)) for n, name in enumerate(names)])}
    found = {int(s["command"]): int(s["start"]) for s in slices(program.commands, events)}
    router = next(
        n
        for n in range(len(program))
        if names[n][-1] == "router" and program.commands[n].opcode is Opcode.MATMUL
    )
    return found[first["ffn_experts", "gate"]] - found[router]


def ahead(program, events, topology):
    """The share of the bytes of experts' weights whose STREAM had begun before the MATMUL that takes them:
    from then on it requests as far ahead as its FIFO has room. No expert is passed over."""
    start = {int(s["command"]): int(s["start"]) for s in slices(program.commands, events)}
    place = lambda opcode, tile: [
        n
        for n, command in enumerate(program.commands)
        if command.opcode is opcode and command.unit == topology.unit(opcode.kind, tile)
    ]
    total = early = 0
    for tile in range(len(topology.units_of(UnitKind.STREAM))):
        for stream, product in zip(place(Opcode.STREAM, tile), place(Opcode.MATMUL, tile), strict=True):
            name, part = program.label(stream).rsplit(".", 2)[-2:]
            if name == "ffn_experts" and part != "router":
                size = program.commands[stream].operands["row_bytes"]
                total, early = total + size, early + size * (start[stream] < start[product])
    return early / total


def of_peak(program, events, routes, case):
    """The part of the arrays' peak that experts reach, from the start of the first expert's first product to
    the end of the last one's sum."""
    its = [s for s in slices(program.commands, events) if _of_expert(program.label(int(s["command"])))]
    products = [s for s in its if program.commands[int(s["command"])].opcode is Opcode.MATMUL]
    cycles = max(int(s["end"]) for s in its) - min(int(s["start"]) for s in products)
    macs = 3 * case.sizes.dim * case.sizes.ffn_dim * sum(rows for _, rows, _ in routes)
    return macs / (cycles * case.config.macs_per_cycle)


def operators_cycles(case, compiled, routes):
    """The least that the operators of the last layer take one after the other: each as long as its
    multiply-accumulates or the bytes that it has to read take, whichever is longer. Each of the experts of
    ``routes`` that has rows is an operator."""
    config, memory = case.config, compiled.memory
    tokens, seen = case.sequences * case.tokens, case.position + case.tokens
    cycles = lambda macs, size: max(macs / config.macs_per_cycle, size / float(config.memory.total_bandwidth))
    layer, total = memory.graph.layers[-1], 0.0
    for node in layer:
        if isinstance(node, Linear):
            macs = tokens * math.prod(node.tensors[node.weight])
            total += cycles(macs, memory.matrix(node.weight).size)
        elif isinstance(node, Attention):
            keys = sum(range(case.position + 1, seen + 1))
            size = memory.cache(node).layout.token_bytes(seen, node.kv_heads)
            total += cycles(case.sequences * 2 * keys * node.heads * node.head_dim, case.sequences * size)
    for node in mixtures(layer):
        places = memory.experts(node)
        total += cycles(tokens * node.experts * node.width, places.router.size)
        for _, rows, _ in routes:
            total += cycles(3 * rows * node.hidden * node.width, places.size)
    return total


def _of_expert(label):
    """Whether it is that of a command of an expert's block."""
    its = label.split(".")
    return its[-2:-1] == ["ffn_experts"] and its[-1] in ("gather", "gate", "up", "silu", "down", "add")


def _run(chip, compiled, program):
    """The result of a program, and all of memory but the ring."""
    place_model(chip, compiled)
    for first, end in compiled.pages.extents:
        # Bytes that are small values, and in fours small scales.
        chip.write(first, np.random.default_rng(0).integers(0x30, 0x40, end - first, np.uint8))
    for address, data in program.inputs:
        chip.write(address, data)
    result, memory = chip.run(program.words), np.array(chip.memory)
    memory[compiled.ring[0] : compiled.ring[0] + COMMAND_BYTES * compiled.ring[1]] = 0
    return result, memory


def _compared(case):
    """(the compiled model, the program, the RTL's result of it, the experts that got rows) of a
    :class:`Case`; ValueError where the golden chip's memory is another."""
    config = case.config
    compiled = CompiledModel(case.model, config, slots=case.sequences)
    program = compiled.batch(case.chunks(), logits=0)
    places = config, compiled.memory_bytes, compiled.ring
    sim, golden = SimulationBackend(*places), GoldenBackend(*places)
    run, ours = _run(sim, compiled, program)
    other, theirs = _run(golden, compiled, program)
    sim.close()
    if not np.array_equal(ours, theirs) or run.rerouted != other.rerouted:
        raise ValueError("the RTL and the golden chip differ")
    return compiled, program, run, golden.chip.routes


def empty_expert_cycles(case):
    """(cycles of a slot without an expert, cycles of the first :data:`SOME_EMPTY` of them together): what a
    step whose tokens are ``alike`` takes more than the same with fewer slots."""
    _, _, whole, routes = _compared(case)
    sizes, used = case.sizes, len(routes)

    def with_slots(count):
        with mock.patch("poblano_host.compiler.lower.experts.slots", lambda s, node: count):
            return _compared(case)[2].cycles

    some = with_slots(used + SOME_EMPTY)
    slots = min(sizes.experts, case.sequences * sizes.used)
    return (whole.cycles - some) / (slots - used - SOME_EMPTY), some - with_slots(used)


def whole_experts(case, draws=2000, seed=0):
    """What memory's bandwidth could reach at most if each tile had whole experts instead of some columns of
    each: the mean number of used experts of a tile over the largest, of tokens that choose at random."""
    sizes, tokens = case.sizes, case.sequences * case.tokens
    generator = np.random.default_rng(seed)
    mean = most = 0
    for _ in range(draws):
        scores = generator.random((tokens, sizes.experts))
        chosen = np.unique(np.argpartition(scores, sizes.used - 1, axis=1)[:, : sizes.used])
        of_tile = np.bincount(chosen % case.config.tiles, minlength=case.config.tiles)
        mean, most = mean + of_tile.mean(), most + of_tile.max()
    return mean / most


def further_layer(case, cycles):
    """The figures of a second layer behind one of so many ``cycles``."""
    case = replace(case, layers=2)
    compiled, _, run, routes = _compared(case)
    more = run.cycles - cycles
    part = operators_cycles(case, compiled, routes) / more
    return dict(further_layer=round(part, 4), further_layer_cycles=more)


def measure(case):
    """The figures of a :class:`Case`."""
    compiled, program, run, routes = _compared(case)
    config = case.config
    (work,) = program.work
    unused = work.experts - len(routes)
    least = operators_cycles(case, compiled, routes)
    of_layer = roofline_cycles(work.using(len(routes)), config)
    size, passes = step_bytes(program, len(routes))
    # Commands that may have been fetched before it was known that they are passed over.
    fetched = passes * (config.memory.fetch_bursts * BURST_COMMANDS + 1)
    found = dict(
        cycles=run.cycles,
        roofline_cycles=round(least),
        of_layer=round(of_layer / run.cycles, 4),
        experts_used=len(routes),
        bytes_read=run.bytes_read,
        bytes_unused_experts=max(0, run.bytes_read - size - fetched * COMMAND_BYTES),
        whole_experts=round(float(whole_experts(case)), 4),
    )
    if case.more_memory > 1:
        found["more_memory"] = case.more_memory
    if case.further:
        found |= further_layer(case, run.cycles)
    if case.capacity is not None:
        found["rerouted"] = run.rerouted
    if case.peak_bar is not None:
        if min(rows for _, rows, _ in routes) < ROWS:
            raise ValueError(f"an expert has less than {ROWS} rows")
        found["experts_of_peak"] = round(of_peak(program, run.events, routes, case), 4)
    elif not unused:
        found["routing_cycles"] = routing(program, run.events)
        found["bytes_ahead"] = round(ahead(program, run.events, config.topology), 4)
    return least / run.cycles, found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="smaller layers, and no bars")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    cases = QUICK if arguments.quick else CASES
    for name in arguments.cases:
        if name not in cases:
            parser.error(f"no case {name!r}; there are {', '.join(cases)}")
    figures, missed = {}, []
    for name in arguments.cases or cases:
        fraction, found = measure(cases[name])
        figures[name] = round(fraction, 4)
        figures |= {f"{name}/{key}": value for key, value in found.items()}
        if name == "desk/decode1":
            figures["routing_share"] = round(found["routing_cycles"] / found["cycles"], 4)
        if fraction < cases[name].bar:
            missed.append(name)
        if found.get("experts_of_peak", 1) < (cases[name].peak_bar or 0):
            missed.append(f"{name}/experts_of_peak")
        if found.get("bytes_ahead", 1) < LEAST_AHEAD and not arguments.quick:
            missed.append(f"{name}/bytes_ahead")
        print(f"{name}: {fraction:.3f} of the roofline; {found}", flush=True)
    if not arguments.cases:
        each, first = empty_expert_cycles(EMPTY)
        figures |= dict(empty_expert_cycles=round(each, 2), first_empty_experts_cycles=first)
        print(f"empty_expert_cycles: {each:.2f}, and of the first {SOME_EMPTY} {first}", flush=True)
        if figures["empty_expert_cycles"] > MOST_EMPTY and not arguments.quick:
            missed.append("empty_expert_cycles")
    figures["bytes_unused_experts"] = sum(
        figures[f"{n}/bytes_unused_experts"] for n in arguments.cases or cases
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
