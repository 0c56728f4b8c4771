"""A chip's netlist runs programs: it must do what the golden model does, and its nets' changes give its
power."""

import ctypes
from dataclasses import dataclass, replace
from functools import partial
import re

import numpy as np

from poblano.config import ConfigError
from poblano_host.compiler import CompiledModel
from poblano_host.models import load_model
from poblano_host.runtime.backend import GoldenBackend, SimulationBackend
from poblano_host.runtime.errors import Mismatch
from poblano_host.sim.simulation import Simulation

from .flow import Design, Source
from .power import module_power
from .simulate import COUNTER_SOURCE, MEMORY_MODEL, NetMap, behavioural
from .tools import AsicError

__all__ = ["BlockPower", "Power", "gate_level", "gates", "layer_program", "measure_power", "run_layer"]

TEXT = (
    "And God said unto Moses, Speak unto the children of Israel, and bid them that they make them fringes in "
    "the borders of their garments"
)
TOKENS = 32
COUNTED = 20_000
"""Cycles, from the program's start, whose changes are counted."""


def gates(design, *, counting=None):
    """Verilog of the netlist of a design with models of its memories."""
    text = behavioural(
        design.modules,
        [name for name in design.counts if not design.modules[name].macro],
        design.library,
        counting=counting,
        top=design.source.top,
    )
    sram = re.search(r"^module poblano_sram\b.*?^endmodule$", design.source.verilog, re.MULTILINE | re.DOTALL)
    often = [name for name, count in design.counts.items() if count > 1 and not design.modules[name].macro]
    inline = "`verilator_config\n" + "".join(f'no_inline -module "{name}"\n' for name in often) + "`verilog\n"
    return inline + "\n".join([text, MEMORY_MODEL, sram[0] + "\n" if sram else ""])


def gate_level(verilog, top):
    """Verilog of the netlist of ``top`` in ``verilog``, to be simulated in its place."""
    return gates(Design.build(Source(top, verilog, top, f"{top}.v")))


def layer_program(config, *, tokens=TOKENS):
    """The first layer of the default model, compiled for ``config``, and the program of a prompt's
    ``tokens`` through it."""
    model = load_model("default")
    model = model.shortened(1)
    model = replace(model, config=replace(model.config, name=f"a layer of {model.config.name}"))
    compiled = CompiledModel(model, config, context=min(model.config.context, 128))
    ids = list(model.tokenizer.encode(TEXT))
    count = min(tokens, compiled.max_tokens, len(ids))
    return compiled, compiled.step(ids[:count], 0, logits="none"), count


def run_layer(
    config, verilog, *, sources=None, tokens=TOKENS, report=lambda text: None, start=lambda simulation: None
):
    """Run :func:`layer_program` on ``verilog`` and on the golden model: the :class:`RunResult`; Mismatch if
    their memories differ."""
    compiled, program, count = layer_program(config, tokens=tokens)
    simulation = partial(Simulation, verilog=verilog, sources=sources)
    size, ring = compiled.memory_bytes, compiled.ring
    chip = SimulationBackend(config, size, ring, report=report, simulation=simulation)
    golden = GoldenBackend(config, size, ring)
    for backend in (chip, golden):
        for address, data in compiled.image + program.inputs:
            backend.write(address, data)
    report("running a layer on the netlist")
    try:
        start(chip.simulation)
        result, _ = [backend.run(program.encode()) for backend in (chip, golden)]
        different = np.flatnonzero(chip.memory[: ring[0]] != golden.memory[: ring[0]])
        if len(different):
            raise Mismatch(
                "the netlist's memory differs from the golden model's, the first byte is at "
                f"0x{different[0]:x}"
            )
    finally:
        chip.close()
    return result, count


@dataclass
class BlockPower:
    """pJ a cycle of all that is in a place of the hierarchy."""

    name: str
    clock: float
    internal: float
    switching: float
    leakage: float

    @property
    def energy(self):
        return self.clock + self.internal + self.switching


@dataclass
class Power:
    """``blocks``, the first is the whole chip; the ``cycles`` that were counted; ``tokens`` of the prompt;
    ``frequency`` in MHz."""

    blocks: list
    cycles: int
    tokens: int
    frequency: float
    title: str

    @property
    def energy(self):
        return self.blocks[0].energy

    def milliwatts(self, block):
        return block.energy * self.frequency * 1e-3 + block.leakage * 1e-6

    def words(self):
        return (
            f"Power: {self.cycles:,} cycles of the first layer of the default model, {self.tokens} tokens, "
            "on the netlist in simulation; "
            "changes of settled nets (no glitches, wires, clock tree, memories)"
        )

    def rows(self):
        return [
            (
                b.name,
                f"{b.energy:,.0f}",
                f"{b.clock:,.0f}",
                f"{b.internal:,.0f}",
                f"{b.switching:,.0f}",
                f"{self.milliwatts(b):,.2f}",
            )
            for b in self.blocks
        ]

    def as_json(self):
        return {
            "cycles": self.cycles,
            "tokens": self.tokens,
            "frequency_mhz": self.frequency,
            "method": self.words(),
            "blocks": [
                {**vars(b), "energy": b.energy, "milliwatts": self.milliwatts(b)} for b in self.blocks
            ],
        }


def measure_power(design, *, report=lambda text: None, tokens=TOKENS):
    """The :class:`Power` of a chip that runs a layer; Mismatch if its netlist does something else than the
    golden model."""
    if design.source.config is None:
        raise ConfigError(f"{design.source.title} runs no programs: no power")
    nets = NetMap()
    verilog = gates(design, counting=nets)
    counts = np.zeros(nets.size, np.uint64)
    held = {}

    def start(simulation):
        held["library"] = simulation.library
        simulation.library.poblano_count(counts.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(COUNTED))

    _, count = run_layer(
        design.source.config,
        verilog,
        sources={"changes.cpp": COUNTER_SOURCE},
        tokens=tokens,
        report=report,
        start=start,
    )
    held["library"].poblano_counted.restype = ctypes.c_uint64
    cycles = int(held["library"].poblano_counted())
    if not cycles:
        raise AsicError("no cycle was counted")
    own = {}
    for name, instances in design.counts.items():
        if design.modules[name].macro:
            continue
        base = nets.base.get(name)
        changes = (
            {}
            if base is None
            else {
                bit: int(n)
                for bit, n in zip(nets.nets[name], counts[base : base + len(nets.nets[name])])
                if n
            }
        )
        own[name] = module_power(design.modules[name], design.library, changes, instances, cycles)
    return Power(
        _blocks(design, own, cycles),
        cycles,
        count,
        design.timing["all"].fmax if "all" in design.timing else 100.0,
        design.source.title,
    )


def _blocks(design, own, cycles):
    """Figures of the lines of ``design.blocks()``; a module in several places is shared among them by its
    copies."""
    whole = {}

    def of(name):
        if name not in whole:
            mine = own.get(name)
            n = design.counts[name]
            values = (
                [0.0] * 4
                if mine is None
                else [
                    mine.clock / cycles / n,
                    mine.internal / cycles / n,
                    mine.switching / cycles / n,
                    mine.leakage,
                ]
            )
            for instance in design.modules[name].instances:
                if instance.kind in design.modules:
                    values = [a + b for a, b in zip(values, of(instance.kind))]
            whole[name] = values
        return whole[name]

    return [
        BlockPower("  " * b.depth + b.path.rsplit("/", 1)[-1], *(b.count * value for value in of(b.module)))
        for b in design.blocks()
    ]
