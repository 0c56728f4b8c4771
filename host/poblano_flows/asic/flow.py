"""A design through the flow: Verilog, cells, time, and the blocks that they add up to."""

from dataclasses import asdict, dataclass, field
from functools import cached_property

from poblano.chip import chip_verilog
from poblano.clock_gate import CLOCK_GATE
from poblano.compute.array import SystolicArray
from poblano.config import ArrayConfig, ConfigError
from poblano.verilog import emit

from .clock_gates import gates_of
from .liberty import Library, load_library
from .netlist import buffered, summary
from .synthesis import elaborate, synthesise
from .timing import analyse
from .tools import AsicError

__all__ = ["Block", "Design", "Source", "array_source", "chip_source", "peer_source"]

MEMORY_UM2_PER_BIT = 10.0
"""An estimate of a two-port SRAM of 0.18 um with its periphery: the library has no memories."""
TIMED = {
    "poblano_pe": "PE",
    "poblano_systolic_array": "array",
    "systolic_array": "array",
    "poblano_accumulator": "accumulator",
    "poblano_vector_lane": "vector lane",
    "poblano_vector_unit": "vector unit",
    "poblano_matmul_unit": "matmul unit",
}
"""Modules whose critical paths are reported beside the whole design's."""
DEPTH, LEAST = 4, 0.01
"""Levels of hierarchy in a report, and the part of the area from which on a block has its own line."""


@dataclass(frozen=True)
class Source:
    """Verilog and its top; ``config`` of a chip, whose netlist can run programs; ``peer``: someone else's."""

    title: str
    verilog: str
    top: str
    file: str
    config: object = None
    peer: bool = False

    def elaborate(self):
        """The RTLIL of its modules; ConfigError for a peer's that does not parse."""
        try:
            return elaborate(self.verilog, self.top, name=self.file)
        except AsicError as error:
            raise ConfigError(str(error)) if self.peer else error from None


def chip_source(config):
    return Source(config.name, chip_verilog(config), "chip", "chip.v", config=config)


def array_source(rows, cols, formats):
    """An array alone."""
    config = ArrayConfig(rows=rows, cols=cols, formats=tuple(formats))
    return Source(
        f"array {rows}x{cols} {','.join(formats)}",
        emit(SystolicArray(config), "systolic_array"),
        "systolic_array",
        "array.v",
    )


def peer_source(path, top):
    """Anyone's Verilog; ConfigError if it can't be read."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text") from None
    return Source(f"{path.name} ({top})", text, top, path.name, peer=True)


@dataclass
class Block:
    """A place in the hierarchy, with all that is in it: ``count`` equal ones, figures of all of them. Areas
    in um2."""

    path: str
    module: str
    depth: int
    count: int
    cells: int
    area: float
    flip_flops: int
    memory_bits: int

    @property
    def memory_area(self):
        return self.memory_bits * MEMORY_UM2_PER_BIT


@dataclass
class Design:
    """A synthesised design. ``modules``: buffered, by name; ``timing``: of ``top`` and of blocks, by
    title; ``power``: the :class:`~.activity.Power` of each program that was run."""

    source: Source
    library: Library
    modules: dict
    loads: dict
    timing: dict = field(default_factory=dict)
    power: list = field(default_factory=list)

    @staticmethod
    def build(source, *, library="osu018", rtl=None, report=lambda text: None):
        """Synthesise ``source``, whose elaborated ``rtl`` may be given."""
        cells = load_library(library)
        rtl = source.elaborate() if rtl is None else rtl
        modules, loads = buffered(synthesise(rtl, cells, what=source.title, report=report), source.top, cells)
        return Design(source, cells, modules, loads)

    @cached_property
    def counts(self):
        return summary(self.modules, self.source.top)

    def own(self, name):
        """(cells, area, flip-flops, memory bits) of a module without its submodules."""
        module = self.modules[name]
        if module.macro:
            values = module.parameters
            return 0, 0.0, 0, values.get("WIDTH", 0) * values.get("DEPTH", values.get("SIZE", 0))
        cells = [self.library.cells[i.kind] for i in module.instances if i.kind in self.library.cells]
        return len(cells), sum(c.area for c in cells), sum(c.sequential and not c.latch for c in cells), 0

    def gated(self, top=None):
        """(clock gates, flip-flops behind one or more of them) in the module ``top``, the whole design."""
        found = {}

        def of(name, behind):
            if (name, behind) not in found:
                module, gates = self.modules[name], gates_of(self.modules[name])
                count, flip_flops = len(gates), 0
                for instance in module.instances:
                    cell = self.library.cells.get(instance.kind)
                    if cell is not None and cell.state:
                        flip_flops += behind or instance.pins[cell.state[1].pins[0]][0] in gates
                    elif cell is None and instance.kind != CLOCK_GATE:
                        more = of(instance.kind, behind or instance.pins.get("clk", [None])[0] in gates)
                        count, flip_flops = count + more[0], flip_flops + more[1]
                found[name, behind] = count, flip_flops
            return found[name, behind]

        return of(top or self.source.top, False)

    @cached_property
    def whole(self):
        """The same of each module with its submodules."""
        result = {}

        def of(name):
            if name not in result:
                parts = [of(i.kind) for i in self.modules[name].instances if i.kind in self.modules]
                result[name] = tuple(map(sum, zip(self.own(name), *parts)))
            return result[name]

        of(self.source.top)
        return result

    @property
    def total(self):
        return Block(self.source.title, self.source.top, 0, 1, *self.whole[self.source.top])

    def blocks(self):
        """The :class:`Block`s of the design, a parent before its parts, equal ones as one line; small ones
        are left out."""
        least = LEAST * (self.total.area + self.total.memory_area)
        result = []

        def walk(path, name, depth, count):
            block = Block(path, name, depth, count, *(count * value for value in self.whole[name]))
            if depth and block.area + block.memory_area < least:
                return
            result.append(block)
            if depth == DEPTH or name == "poblano_pe":
                return
            groups = {}
            for instance in self.modules[name].instances:
                if instance.kind in self.modules and instance.kind != CLOCK_GATE:
                    groups.setdefault(instance.kind, []).append(instance.name)
            for kind, names in sorted(
                groups.items(), key=lambda group: -self.whole[group[0]][1] * len(group[1])
            ):
                label = names[0] if len(names) == 1 else f"{names[0]}..{len(names)}x"
                walk(f"{path}/{label}" if depth else label, kind, depth + 1, count * len(names))

        walk(self.source.title, self.source.top, 0, 1)
        return result

    def analyse(self, *, report=lambda text: None, blocks=True):
        """Fill :attr:`timing`, of the whole design and, with ``blocks``, of :data:`TIMED`."""
        names = {
            title: name
            for name, title in TIMED.items()
            if blocks and name in self.counts and name != self.source.top
        }
        for title, name in [*names.items(), ("all", self.source.top)]:
            report(f"timing {title} of {self.source.title}")
            found = analyse(self.modules, self.loads, name, self.library)
            if found is not None:
                self.timing[title] = found

    def as_json(self):
        total = self.total
        block = lambda b: asdict(b) | {"memory_area_estimate": b.memory_area}
        memories = [
            {"module": name, "count": self.counts[name], "bits": self.own(name)[3]}
            for name in self.counts
            if self.modules[name].macro
        ]
        return {
            "title": self.source.title,
            "top": self.source.top,
            "library": self.library.title,
            "corner": self.library.corner,
            "total": block(total),
            "blocks": [block(b) for b in self.blocks()],
            "memories": memories,
            "modules": {
                name: {"count": self.counts[name], "cells": self.own(name)[0], "area": self.own(name)[1]}
                for name in self.counts
                if not self.modules[name].macro
            },
            "timing": {title: timing.as_json() for title, timing in self.timing.items()},
            "power": [power.as_json() for power in self.power],
        }
