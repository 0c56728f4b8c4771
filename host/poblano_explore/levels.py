"""What a point is worth, in rising fidelity: closed form, the model of commands in time, standard cells, and
RTL with the golden check."""

from dataclasses import dataclass, replace

import numpy as np

from poblano.config import ConfigError
from poblano_estimate.serve import estimate
from poblano_estimate.shapes import model_shape
from poblano_flows.asic.flow import Design, chip_source
from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.models import load_model
from poblano_host.runtime.session import Session

from .space import configuration

__all__ = ["LEVELS", "Infeasible", "Point", "evaluate"]

LEVELS = ("closed form", "events", "cells", "rtl")
"""In rising fidelity; a level is asked only about what the one below found good."""

CELL_UM2 = {
    "processing element": 22_800,
    "lane": 2_200_000,
    "scaler": 350_000,
    "tile": 500_000,
    "chip": 2_300_000,
}
"""Standard cells of 180 nm for each of these, INT8 (docs/asic.md: `nano`, `desk`, `tile64` within 15 %)."""
BIT_UM2 = 10
"""Of memory (docs/asic.md)."""
MULTIPLIERS = {"int8,int4": 1.0, "int8,int4,mxfp8_e4m3": 1.5, "int8,int4,mxfp4_e2m1": 1.0}
"""Cells of a processing element by its formats, relative to INT8 (docs/area.md, NAND2)."""
CYCLE_PJ_MM2, MAC_PJ, DRAM_PJ_BYTE = 75, 60, 31
"""A cycle for each mm2 of cells, a multiply-accumulate and a byte of DRAM (docs/asic.md: `nano` and `desk`
within 20 %; poblano_market/data/energy.toml)."""


class Infeasible(Exception):
    """A point that can't be built, holds too little for the model, or is slower than its clock."""


@dataclass(frozen=True)
class Point:
    """What a level says of a point."""

    level: str
    parameters: dict
    prefill_cycles: float
    decode_cycles: float
    cells_mm2: float
    memory_bits: int
    fmax_mhz: float | None
    macs: float
    bytes: float
    task: dict

    @property
    def seconds(self):
        """Of the whole task."""
        cycles = self.prefill_cycles + self.task["output"] * self.decode_cycles
        return cycles / self.parameters["clock_mhz"] / 1e6

    @property
    def tokens_s(self):
        return self.task["output"] / self.seconds

    @property
    def area_mm2(self):
        return self.cells_mm2 + self.memory_bits * BIT_UM2 / 1e6

    @property
    def tokens_j(self):
        cycles = self.seconds * self.parameters["clock_mhz"] * 1e6
        energy = cycles * self.cells_mm2 * CYCLE_PJ_MM2 + self.macs * MAC_PJ + self.bytes * DRAM_PJ_BYTE
        return self.task["output"] / (energy * 1e-12)

    @property
    def values(self):
        """What is made large, large and small."""
        return self.tokens_s, self.tokens_j, self.area_mm2

    def as_json(self):
        return {**vars(self), "tokens_s": self.tokens_s, "tokens_j": self.tokens_j, "area_mm2": self.area_mm2}


def evaluate(level, task, parameters, before=None):
    """The :class:`Point`, from that of the level ``before``; :class:`Infeasible` says why there is none."""
    try:
        config = configuration(task, parameters)
        if level == "closed form":
            return _closed(task, parameters, config)
        return {"events": _events, "cells": _cells, "rtl": _rtl}[level](before, task, config)
    except (ConfigError, CompileError) as error:
        raise Infeasible(str(error)) from None


def _work(task, compiled):
    """(prefill, decode): a list of the layers' work of each step of them."""
    most, steps = compiled.max_tokens, []
    for first in range(0, task.prompt, most):
        steps.append((min(most, task.prompt - first), first))
    prefill = [work for count, first in steps for work in compiled.work(count, first)]
    return prefill, compiled.work(1, task.prompt)


def _vector(model, config, tokens, context):
    """Cycles of the vector units for tokens of all layers: norms, rotations, softmax, activation, quantising,
    each a walk over its row."""
    shape = model.config
    elements = 8 * shape.dim + 3 * shape.ffn_dim + 3 * shape.heads * context
    return tokens * shape.layers * elements / config.tile.lanes / config.tiles


def _bandwidth(config):
    """Bytes a cycle that all ports give: what is behind them, or what so many bursts in flight carry."""
    memory = config.memory
    flying = memory.outstanding * memory.burst_beats * memory.data_bytes
    return memory.homes * min(float(memory.bandwidth), flying / (memory.latency + memory.burst_beats))


def _cycles(config, works, tokens):
    """Of the layers of a step: each takes its multiply-accumulates, of which a weight tile takes no less time
    than it takes to enter the array (docs/utilisation.md), or its bytes, the longer."""
    array = config.tile.array
    entering = max(1.0, array.rows / array.load_rows / tokens)
    return sum(
        max(
            work.macs * entering / config.macs_per_cycle,
            (work.weight_bytes + work.other_bytes) / _bandwidth(config),
        )
        for work in works
    )


def _closed(task, parameters, config):
    """The larger of the arrays' and memory's cycles and of the vector units'; cells from what chips have."""
    model = load_model(task.model)
    compiled = CompiledModel(model, config, context=task.prompt + task.output)
    prefill, decode = _work(task, compiled)
    together = min(task.prompt, compiled.max_tokens)
    cycles = [
        max(_cycles(config, works, rows), _vector(model, config, tokens, task.prompt))
        for works, tokens, rows in ((prefill, task.prompt, together), (decode, 1, 1))
    ]
    tile, array = config.tile, config.tile.array
    elements = array.rows * array.cols * CELL_UM2["processing element"] * MULTIPLIERS[parameters["formats"]]
    units = tile.lanes * CELL_UM2["lane"] + tile.scalers * CELL_UM2["scaler"] + CELL_UM2["tile"]
    cells = config.tiles * (elements + units) + CELL_UM2["chip"]
    bits = (
        256 * tile.vmem_lines + 301 * tile.amem_blocks + 8 * tile.fifo_bytes + 72 * tile.tokens * array.cols
    )
    total = lambda name: (
        sum(getattr(w, name) for w in prefill) + task.output * sum(getattr(w, name) for w in decode)
    )
    return Point(
        level="closed form",
        parameters=parameters,
        prefill_cycles=cycles[0],
        decode_cycles=cycles[1],
        cells_mm2=cells / 1e6,
        memory_bits=config.tiles * bits,
        fmax_mhz=None,
        macs=total("macs"),
        bytes=total("weight_bytes") + total("other_bytes"),
        task=task.as_json(),
    )


def _events(point, task, config):
    """Cycles of the compiler's commands, walked through the hardware's times."""
    shape, form = model_shape(task.model)
    found = estimate(shape, form, config, context=task.prompt + 1, prefill=task.prompt)
    cycles = {name: phase.cycles for name, phase in found.phases.items()}
    return replace(point, level="events", prefill_cycles=cycles["prefill"], decode_cycles=cycles["decode"])


def _cells(point, task, config):
    """yosys' cells, and the longest path by OpenSTA, which the clock must allow."""
    design = Design.build(chip_source(config))
    design.analyse(blocks=False)
    fmax = design.timing["all"].fmax
    if fmax < point.parameters["clock_mhz"]:
        raise Infeasible(f"its longest path allows {fmax:.0f} MHz")
    return replace(
        point,
        level="cells",
        cells_mm2=design.total.area / 1e6,
        memory_bits=design.total.memory_bits,
        fmax_mhz=fmax,
    )


def _rtl(point, task, config):
    """Cycles of the RTL, whose memory must be the golden model's after each step."""
    model = load_model(task.model)
    ids = [int(n) for n in np.random.default_rng(0).integers(0, model.config.vocab, task.prompt)]
    session = Session(model, config, check=True, context=task.prompt + task.output)
    cycles = {"prefill": 0, "decode": 0}
    try:
        for step, _ in session.generate(ids, 2):
            cycles[step.phase] += step.result.cycles
    finally:
        session.close()
    return replace(point, level="rtl", prefill_cycles=cycles["prefill"], decode_cycles=cycles["decode"])
