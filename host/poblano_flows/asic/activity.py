"""A chip's netlist runs programs: it must do what the golden model does, and its nets' changes and clocks'
ticks give its power."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from poblano.config import ConfigError
from poblano_host.compiler import CompiledModel
from poblano_host.compiler.program import Program
from poblano_host.models import load_model
from poblano_host.runtime.backend import GoldenBackend, SimulationBackend, place_model
from poblano_host.runtime.errors import Mismatch
from poblano_host.sim.simulation import Simulation

from .flat import Flat
from .power import GatePower, ModulePower, module_power
from .simulate import Activity, compile_netlist

__all__ = ["BlockPower", "Power", "Workload", "decode", "measure_power", "module_powers", "prefill", "run"]

TEXT = (
    "And God said unto Moses, Speak unto the children of Israel, and bid them that they make them fringes in "
    "the borders of their garments"
)
TOKENS = 32


@dataclass(frozen=True)
class Workload:
    """A ``program`` of a ``compiled`` model, with ``tokens``, in words a ``title``; the golden model runs
    what comes ``before`` it."""

    title: str
    compiled: CompiledModel
    before: tuple
    program: Program
    tokens: int

    @property
    def macs(self):
        """Multiply-accumulates of its matrix products."""
        return sum(work.macs for work in self.program.work)


def prefill(config, *, tokens=TOKENS):
    """A prompt of at most ``tokens`` through the first layer of the default model."""
    model = load_model("default").shortened(1)
    model = replace(model, config=replace(model.config, name=f"a layer of {model.config.name}"))
    compiled = CompiledModel(model, config, context=min(model.config.context, 128))
    ids = _ids(model, compiled, min(tokens, compiled.max_tokens))
    title = f"{len(ids)} tokens of a prompt through the first layer of the default model"
    return Workload(title, compiled, (), compiled.step(ids, 0, logits="none"), len(ids))


def decode(config, *, tokens=TOKENS, layers=None):
    """A token after a prompt of ``tokens``, through all or ``layers`` of the default model, to its logits."""
    model = load_model("default")
    if layers is not None:
        model = model.shortened(layers)
    compiled = CompiledModel(model, config, context=min(model.config.context, 128))
    *prompt, last = _ids(model, compiled, tokens + 1)
    before, position = [], 0
    while position < len(prompt):
        part = prompt[position : position + compiled.max_tokens]
        before.append(compiled.step(part, position, logits="none"))
        position += len(part)
    title = f"a token after {len(prompt)} others through the default model"
    return Workload(title, compiled, tuple(before), compiled.step([last], len(prompt)), 1)


def _ids(model, compiled, tokens):
    return list(model.tokenizer.encode(TEXT))[: min(tokens, compiled.context)]


def run(workload, config, flat, *, report=lambda text: None):
    """Run the ``workload`` on the netlist ``flat`` and on the golden model: the :class:`RunResult`, and what
    :class:`Activity` counted from the program's start to its end. Mismatch if their memories differ."""
    size, ring = workload.compiled.memory_bytes, workload.compiled.ring
    before = GoldenBackend(config, size, ring)
    place_model(before, workload.compiled)
    for program in workload.before:
        _write(before, program)
        before.run(program.encode())
    golden = GoldenBackend(config, size, ring)  # with empty local memories, as the chip
    build = lambda verilog, top, sources, **_: compile_netlist(flat, top, sources)
    simulation = partial(Simulation, verilog="", build=build)
    chip = SimulationBackend(config, size, ring, report=report, simulation=simulation)
    try:
        for backend in (chip, golden):
            place_model(backend, workload.compiled)
            backend.memory[:] = before.memory
            _write(backend, workload.program)
        activity = Activity(flat, chip.simulation.library)
        activity.clear()
        result, _ = [backend.run(workload.program.encode()) for backend in (chip, golden)]
        counts = activity.take()
        different = np.flatnonzero(chip.memory[: ring[0]] != golden.memory[: ring[0]])
        if len(different):
            raise Mismatch(
                "the netlist's memory differs from the golden model's, the first byte is at "
                f"0x{different[0]:x}"
            )
    finally:
        chip.close()
    return result, *counts


def _write(backend, program):
    for address, data in program.inputs:
        backend.write(address, data)


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
    """Of a program, ``title``, from its start to its end: ``blocks``, the first is the whole chip;
    ``cycles``, ``tokens``, ``macs``, and ``bytes`` of memory traffic; ``running``, the mean part of the
    flip-flops whose clocks tick; ``frequency`` in MHz."""

    title: str
    blocks: list
    cycles: int
    tokens: int
    macs: int
    bytes: int
    running: float
    frequency: float

    @property
    def energy(self):
        """pJ a cycle."""
        return self.blocks[0].energy

    @property
    def total(self):
        """pJ of the program."""
        return self.energy * self.cycles

    @property
    def per_mac(self):
        """pJ a multiply-accumulate."""
        return self.total / self.macs

    @property
    def per_token(self):
        """pJ a token."""
        return self.total / self.tokens

    @property
    def per_byte(self):
        """pJ a byte of memory traffic."""
        return self.total / self.bytes

    @property
    def tops_per_watt(self):
        """Operations, two a multiply-accumulate, a second for a watt, in 10^12; with leakage."""
        leakage = self.blocks[0].leakage * self.cycles / self.frequency * 1e-6  # nW us to pJ
        return 2 * self.macs / (self.total + leakage)

    def milliwatts(self, block):
        return block.energy * self.frequency * 1e-3 + block.leakage * 1e-6

    def words(self):
        return (
            f"Power of {self.title}: {self.cycles:,} cycles on the netlist in simulation; changes of settled "
            "nets (no glitches, wires, clock tree, memories). "
            f"In a cycle the clocks of {100 * self.running:.1f} % of the flip-flops tick. "
            f"{self.total / 1e6:,.2f} uJ: {self.per_token / 1e6:,.3f} uJ a token, "
            f"{self.per_mac:,.1f} pJ a multiply-accumulate, "
            f"{self.per_byte:,.0f} pJ a byte of memory traffic."
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
            "title": self.title,
            "cycles": self.cycles,
            "tokens": self.tokens,
            "macs": self.macs,
            "bytes": self.bytes,
            "flip_flops_running": self.running,
            "pj": self.total,
            "tops_per_watt": self.tops_per_watt,
            "frequency_mhz": self.frequency,
            "method": self.words(),
            "blocks": [
                {**vars(b), "energy": b.energy, "milliwatts": self.milliwatts(b)} for b in self.blocks
            ],
        }


def measure_power(design, workloads=None, *, report=lambda text: None):
    """The :class:`Power` of a chip in each of ``workloads``, by default :func:`prefill` and :func:`decode`;
    Mismatch if its netlist does something else than the golden model."""
    config = design.source.config
    if config is None:
        raise ConfigError(f"{design.source.title} runs no programs: no power")
    report(f"flattening {design.source.title}")
    flat = Flat(design.modules, design.source.top, design.library)
    return [
        _measured(design, flat, workload, report)
        for workload in (workloads or (prefill(config), decode(config)))
    ]


def _measured(design, flat, workload, report):
    report(f"running {workload.title} on the netlist of {design.source.title}")
    result, changes, ticks = run(workload, design.source.config, flat, report=report)
    cycles = int(ticks[0])
    own = module_powers(design, flat, changes, ticks)
    return Power(
        title=workload.title,
        blocks=_blocks(design, own, cycles),
        cycles=cycles,
        tokens=workload.tokens,
        macs=workload.macs,
        bytes=result.bytes_read + result.bytes_written,
        running=float(ticks[flat.flip_flops[:, 2]].sum() / (cycles * len(flat.flip_flops))),
        frequency=design.timing["all"].fmax if "all" in design.timing else 100.0,
    )


def module_powers(design, flat, changes, ticks):
    """The :class:`ModulePower` of each module, with its clock gates."""
    own = {
        name: module_power(design.modules[name], design.library, *found)
        for name, found in flat.by_module(changes, ticks).items()
    }
    gate = GatePower(design.library)
    for clock, count in zip(flat.clocks[1:], ticks[1:]):
        energy = ticks[clock.parent] * gate.clock + changes[clock.enable] * gate.enable
        energy += count * gate.tick(clock.load)
        mine = own[clock.module]
        leakage = mine.leakage + gate.leakage / design.counts[clock.module]
        own[clock.module] = ModulePower(mine.switching, mine.internal, mine.clock + float(energy), leakage)
    return own


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
