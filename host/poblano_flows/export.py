"""Everything that a chip-design flow needs of a chip, a bare array, or a DRAM controller,
in one folder."""

from collections import Counter
from contextlib import contextmanager
import csv
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from graphlib import TopologicalSorter
from importlib.metadata import version
import inspect
from io import StringIO
import json
from pathlib import Path
import re
import shutil
import textwrap
from typing import Any
import uuid

from amaranth.lib import wiring

from poblano.chip import Chip
from poblano.clock_gate import CLOCK_GATE, CLOCK_GATE_FILE
from poblano.compute.array import SystolicArray
from poblano.config import ArrayConfig, ConfigError
from poblano.dram.config import DramConfig
from poblano.dram.controller import DramController
from poblano.dram.timing import TIMING_SETS
from poblano.verilog import VerilogModule, arguments, emit_modules, pins

from .asic.synthesis import MACRO
from .register_files import write_register_files

__all__ = ["Design", "array_design", "chip_design", "dram_design", "export"]

PERIOD = 10.0
"""Of the clock, in ns."""
LARGEST_ARRAY = 512
"""Rows and columns of a bare array."""
WIDTH = 118
"""Columns of a comment."""

WAIVERS = (
    (
        "PROCASSINIT",
        "registers have initial values for FPGAs and simulation; synthesis for an ASIC ignores them, the "
        "reset sets what matters",
    ),
    (
        "WIDTHEXPAND",
        "operands are as wide as they are in the source, and are extended to the result, which loses no bit",
    ),
    (
        "WIDTHTRUNC",
        "a slice of a result in the source is a narrower target here; ! of a vector is its test for zero",
    ),
    ("CASEINCOMPLETE", "what a case assigns has a value before it"),
    ("LATCH", "the clock gate's latch is meant"),
    (
        "UNUSEDSIGNAL",
        "fields of a struct that a block does not need, and names that the source gives to intermediate "
        "values",
    ),
)
"""Rules of Verilator, and why generated modules break them."""


@dataclass(frozen=True)
class Design:
    """What is exported: ``component`` becomes the module ``top``; ``config`` is the chip's, None of a part of
    one."""

    name: str
    top: str
    component: Any
    config: object = None

    def __post_init__(self):
        self.component._MustUse__used = True  # not a mistake if something else is wrong


def chip_design(config):
    """The :class:`Design` of a chip."""
    return Design(config.name, "poblano_chip", Chip(config), config)


def array_design(rows, cols, **options):
    """The :class:`Design` of a bare array; ``options`` are :class:`~poblano.config.ArrayConfig`'s."""
    if max(rows, cols) > LARGEST_ARRAY:
        raise ConfigError(f"an array has at most {LARGEST_ARRAY} rows and columns, not {rows}x{cols}")
    return Design(
        f"array {rows}x{cols}", "poblano_array", SystolicArray(ArrayConfig(rows=rows, cols=cols, **options))
    )


def dram_design(kind, clock_mhz=None):
    """The :class:`Design` of a :class:`~poblano.dram.config.DramConfig`, at the DRAM's full clock by
    default."""
    try:
        if clock_mhz is None and kind in TIMING_SETS:
            clock_mhz = 1000 / TIMING_SETS[kind].clock_ns / TIMING_SETS[kind].ratio
        config = DramConfig(kind=kind, clock_mhz=Fraction(1) if clock_mhz is None else clock_mhz)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    name = f"DRAM controller for {config.timing.name} at {float(config.clock_mhz):g} MHz"
    return Design(name, "poblano_dram_controller", DramController(config))


def export(design, folder, *, period=PERIOD):
    """Write ``design`` into ``folder``, which is made if it does not exist; what was there under the same
    names is replaced.

    On an error nothing in ``folder`` changes. Returns the :class:`~poblano.verilog.VerilogModule` that were
    written. OSError and ConfigError say what is wrong.
    """
    if not 0.01 <= period <= 1e6:
        raise ConfigError(f"the clock's period must be 0.01 to 1000000 ns, not {period:g}")
    with _staged(Path(folder)) as stage:
        gates = design.config is None or design.config.clock_gates
        # Simulation and lint find combinational loops.
        modules = emit_modules(design.component, design.top, loops=False, clock_gates=gates, simulation=False)
        if all(module.name != CLOCK_GATE for module in modules):  # synthesis needs it too
            modules.append(VerilogModule(CLOCK_GATE, CLOCK_GATE_FILE.read_text(), CLOCK_GATE_FILE))
        (stage / "rtl").mkdir()
        for module in modules:
            (stage / "rtl" / f"{module.name}.v").write_text(_comment(module, design) + module.text)
        names = [f"rtl/{module.name}.v" for module in modules]
        top = design.top
        for name, text in {
            f"{top}.f": "".join(f"{name}\n" for name in names),
            "memories.csv": _memories(modules),
            f"{top}.vlt": _waivers(),
            f"{top}.sdc": _constraints(design, period),
            f"{top}.core": _fusesoc(design, names),
            "librelane.json": _librelane(design, names, period),
            "siliconcompiler_flow.py": _siliconcompiler(design, names),
        }.items():
            (stage / name).write_text(text)
        if design.config is not None:
            (stage / "registers").mkdir()
            write_register_files(design.config, stage / "registers")
    return modules


@contextmanager
def _staged(folder):
    """A new folder, the content of which is moved into ``folder`` at the end; on an exception all is as it
    was before."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(20, "is not a folder", str(folder))
    present = folder.is_dir()
    parent = folder if present else folder.absolute().parent
    made = [path for path in (parent, *parent.parents) if not path.exists()]
    stage = parent / f".poblano-{uuid.uuid4().hex[:8]}"
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(folder)) from None
    try:
        yield stage
        if present:
            _replace(stage, folder)
        else:
            stage.rename(folder)
            made = []
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for path in made:
            if not any(path.iterdir()):
                path.rmdir()


def _replace(stage, folder):
    """Move what is in ``stage`` into ``folder``; on an error all is as it was."""
    new = sorted(stage.iterdir())
    old = stage / ".old"
    old.mkdir()
    done = []
    try:
        for path in new:
            target = folder / path.name
            if target.exists() or target.is_symlink():
                target.rename(old / path.name)
                done.append((old / path.name, target))
            path.rename(target)
            done.append((target, path))
    except OSError:
        for source, target in reversed(done):
            source.rename(target)
        raise


def _comment(module, design):
    """What stands above a module: what it is, its class and the parameters."""
    origin = module.origin
    if isinstance(origin, Path):
        licence = "SPDX-License-Identifier: Apache-2.0"
        return f"// Poblano {design.name}: {origin.name} of the library, written by hand. {licence}\n"
    lines = [f"Poblano {design.name}. SPDX-License-Identifier: Apache-2.0"]
    if origin is not None:
        kind = type(origin)
        lines += [f"{kind.__module__}.{kind.__qualname__}: {_summary(kind)}"]
        for name, value in arguments(origin).items():
            known = [
                text for part, text in _parts(design.config) if type(value) is type(part) and value == part
            ]
            if known and origin is not design.component:
                lines.append(f"{name} = {known[0]}, see {design.top}.v")
            else:
                lines += _parameter(name, value)
    return "".join(
        f"// {line}\n" for text in lines for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    )


def _parts(config):
    """What blocks get of a chip's configuration, each with a name."""
    if config is None:
        return []
    tile, memory = config.tile, config.memory
    return [
        (config, "the chip's"),
        (memory, "the chip's memory"),
        (memory.axi, "the masters' inside the chip"),
        (tile, "the chip's tile"),
        (tile.array, "the tile's array"),
        (tile.local, "the tile's local memories"),
    ]


def _summary(kind):
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")


def _parameter(name, value):
    """Lines of a parameter; a line for each field of a configuration object."""
    if not is_dataclass(value):
        return [f"{name} = {value!r}"]
    lines = [f"{name} = {type(value).__name__}"]
    for field in fields(value):
        if field.repr:
            lines += _parameter(f"{name}.{field.name}", getattr(value, field.name))
    return lines


def _memories(modules):
    """A table of the memories that can be macros: an instance in its module, its size, and how many of it
    the whole design has."""
    placed = {module.name: module.instances for module in modules}
    copies = Counter({modules[0].name: 1})
    inside = {name: {instance.module for instance in instances} for name, instances in placed.items()}
    for name in reversed([*TopologicalSorter(inside).static_order()]):
        for instance in placed.get(name, ()):
            copies[instance.module] += copies[name]
    file = StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["instance", "width", "depth", "granularity", "ports", "count"])
    for module in modules:
        for instance in module.instances:
            if instance.module == MACRO:
                sizes = [instance.parameters[name] for name in ("WIDTH", "DEPTH", "GRANULARITY")]
                where = f"{module.name}.{instance.name}"
                table.writerow([where, *sizes, "1 read 1 write", copies[module.name]])
    return file.getvalue()


def _waivers():
    rules = "".join(
        f'// {rule}: {reason}.\nlint_off -rule {rule} -file "*/poblano_*.v"\n' for rule, reason in WAIVERS
    )
    return f"// Waivers for verilator --lint-only -Wall.\n`verilator_config\n{rules}"


def _constraints(design, period):
    ports = {wiring.In: ["rst"], wiring.Out: []}
    for name, value, flow in pins(design.component):
        ports[flow].append(f"{name}[*]" if len(value) > 1 else name)
    listed = lambda flow: "\n".join(
        textwrap.wrap(
            " ".join(ports[flow]),
            WIDTH - 2,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
    )
    return f"""# Poblano {design.name}: one clock, all inputs and outputs synchronous to it.
set period {period:g}
create_clock -name clk -period $period [get_ports clk]
set_clock_uncertainty [expr {{0.02 * $period}}] [get_clocks clk]
# Of a cycle, what is outside has 40 % before inputs and 40 % after outputs.
set_input_delay [expr {{0.4 * $period}}] -clock clk [get_ports {{
{listed(wiring.In)}
}}]
set_output_delay [expr {{0.4 * $period}}] -clock clk [get_ports {{
{listed(wiring.Out)}
}}]
# There are no false paths.
# rst is synchronous: a flip-flop of this clock drives it, and it has to arrive in time.
"""


def _fusesoc(design, names):
    entries = "".join(f"      - {name}\n" for name in names)
    slug = re.sub(r"\W+", "_", design.name)
    return f"""CAPI=2:
name: poblano:chip:{slug}:{version("poblano")}
description: Poblano {design.name}, an open processor for language-model inference

filesets:
  rtl:
    files:
{entries}    file_type: verilogSource-2005
  lint:
    files:
      - {design.top}.vlt
    file_type: vlt
  constraints:
    files:
      - {design.top}.sdc
    file_type: SDC

targets:
  default:
    filesets: [rtl]
    toplevel: {design.top}
  lint:
    description: Verilator's lint
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
    filesets: [rtl, lint]
    toplevel: {design.top}
  synthesis:
    description: for a flow that takes constraints too
    filesets: [rtl, constraints]
    toplevel: {design.top}
"""


def _librelane(design, names, period):
    return (
        json.dumps(
            {
                "meta": {"version": 2},
                "DESIGN_NAME": design.top,
                "VERILOG_FILES": [f"dir::{name}" for name in names],
                "CLOCK_PORT": "clk",
                "CLOCK_PERIOD": period,
                "PNR_SDC_FILE": f"dir::{design.top}.sdc",
                "SIGNOFF_SDC_FILE": f"dir::{design.top}.sdc",
                "LINTER_VLT": f"dir::{design.top}.vlt",
                "SYNTH_HIERARCHY_MODE": "deferred_flatten",
                "SYNTH_CLOCKGATE_MIN_WIDTH": 8,
                "FP_CORE_UTIL": 40,
                "pdk::sky130*": {
                    "scl::sky130_fd_sc_hd": {
                        "SYNTH_CLOCKGATE_POSEDGE_ICG": "sky130_fd_sc_hd__dlclkp_1/GATE/CLK/GCLK"
                    }
                },
            },
            indent=4,
        )
        + "\n"
    )


def _siliconcompiler(design, names):
    files = "".join(f"    {name!r},\n" for name in names)
    return f'''"""Poblano {design.name} with SiliconCompiler: python siliconcompiler_flow.py.

Choose another target for another process.
"""

from pathlib import Path

from siliconcompiler import ASIC, Design
from siliconcompiler.targets import skywater130_demo

FILES = (
{files})


def project():
    """The project, before a target is loaded."""
    design = Design({design.top!r})
    design.set_dataroot("poblano", str(Path(__file__).resolve().parent))
    with design.active_dataroot("poblano"), design.active_fileset("rtl"):
        design.set_topmodule({design.top!r})
        for file in FILES:
            design.add_file(file)
    with design.active_dataroot("poblano"), design.active_fileset("sdc"):
        design.add_file({design.top + ".sdc"!r})
    asic = ASIC(design)
    asic.add_fileset(["rtl", "sdc"])
    return asic


if __name__ == "__main__":
    asic = project()
    skywater130_demo(asic)
    asic.run()
    asic.summary()
'''
