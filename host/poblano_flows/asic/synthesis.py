"""Verilog to modules of standard cells by yosys: each distinct module once, hierarchy kept, results in the
cache."""

from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
import json
import os
from pathlib import Path
import pickle
import random
import re
import subprocess
import sys
import tempfile

from poblano.clock_gate import CLOCK_GATE
from poblano_host.cache import cache_folder, digest, keep

from .clock_gates import GATE_BOX, INSERT_GATES, gate_module
from .netlist import Module
from .part import PART, Part, children
from .tools import AsicError

__all__ = [
    "MACRO",
    "MEMORIES",
    "MEMORY_BOX",
    "elaborate",
    "memory_map",
    "name_memories",
    "run_yosys",
    "synthesise",
]

MACRO = "poblano_sram"
"""The module that a memory macro replaces: a black box."""

_PROGRAM = """
import os, sys
from pyosys import libyosys
for script in sys.argv[1:]:
    process = os.fork()
    if not process:
        design = libyosys.Design()
        for command in open(script).read().splitlines():
            libyosys.run_pass(command, design)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        sys.exit(1)
"""
"""Each script in a fresh yosys: the numbers in its names, on which abc's result depends, start again."""

MEMORY_BITS, MEMORY_WORDS = 2048, 16
"""A memory of so many bits and words, with one write port and synchronous read ports, is a black box: a
macro, not flip-flops."""

_MEMORY_MAP = """
(* techmap_celltype = "$mem_v2" *)
module poblano_memory_map(RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, RD_DATA, WR_CLK, WR_EN, WR_ADDR, WR_DATA);
  parameter MEMID = "", SIZE = 4, OFFSET = 0, ABITS = 2, WIDTH = 8, INIT = 1'bx;
  parameter RD_PORTS = 1, RD_CLK_ENABLE = 0, RD_CLK_POLARITY = 0, RD_TRANSPARENCY_MASK = 0;
  parameter RD_COLLISION_X_MASK = 0;
  parameter RD_WIDE_CONTINUATION = 0, RD_CE_OVER_SRST = 0, RD_ARST_VALUE = 0, RD_SRST_VALUE = 0;
  parameter RD_INIT_VALUE = 0;
  parameter WR_PORTS = 1, WR_CLK_ENABLE = 1, WR_CLK_POLARITY = 1, WR_PRIORITY_MASK = 0;
  parameter WR_WIDE_CONTINUATION = 0;
  parameter _TECHMAP_CONSTMSK_RD_ARST_ = 0, _TECHMAP_CONSTMSK_RD_SRST_ = 0;
  parameter _TECHMAP_CONSTVAL_RD_ARST_ = 0, _TECHMAP_CONSTVAL_RD_SRST_ = 0;
  localparam ALL = {RD_PORTS{1'b1}};
  input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST;
  input [RD_PORTS*ABITS-1:0] RD_ADDR;
  output [RD_PORTS*WIDTH-1:0] RD_DATA;
  input WR_CLK;
  input [WIDTH-1:0] WR_EN, WR_DATA;
  input [ABITS-1:0] WR_ADDR;
  wire _TECHMAP_FAIL_ = SIZE * WIDTH < @BITS@ || SIZE < @WORDS@ || WR_PORTS != 1
    || RD_CLK_ENABLE != ALL || RD_CLK_POLARITY != ALL
    || WR_CLK_ENABLE != 1 || WR_CLK_POLARITY != 1 || RD_WIDE_CONTINUATION != 0 || OFFSET != 0
    || INIT !== {SIZE*WIDTH{1'bx}}
    || _TECHMAP_CONSTMSK_RD_ARST_ != ALL || _TECHMAP_CONSTVAL_RD_ARST_ != 0
    || _TECHMAP_CONSTMSK_RD_SRST_ != ALL
    || _TECHMAP_CONSTVAL_RD_SRST_ != 0;
  poblano_memory #(
    .SIZE(SIZE), .ABITS(ABITS), .WIDTH(WIDTH), .PORTS(RD_PORTS), .TRANSPARENT(RD_TRANSPARENCY_MASK)
  ) memory (
    .RD_CLK(RD_CLK), .RD_EN(RD_EN), .RD_ADDR(RD_ADDR), .RD_DATA(RD_DATA), .WR_CLK(WR_CLK), .WR_EN(WR_EN),
    .WR_ADDR(WR_ADDR), .WR_DATA(WR_DATA));
endmodule
"""

MEMORY_BOX = """
(* blackbox *)
module poblano_memory #(parameter SIZE = 1, ABITS = 1, WIDTH = 1, PORTS = 1, TRANSPARENT = 0) (
  input [PORTS-1:0] RD_CLK, RD_EN, input [PORTS*ABITS-1:0] RD_ADDR, output [PORTS*WIDTH-1:0] RD_DATA,
  input WR_CLK, input [WIDTH-1:0] WR_EN, WR_DATA, input [ABITS-1:0] WR_ADDR);
endmodule
"""

MAP_MEMORIES = "techmap -map memory_map.v"

MEMORIES = (
    "proc",
    "setattr -unset init w:*",
    "opt_expr -mux_undef",
    "opt_clean",
    "memory -nomap",
    "opt_clean",
    "simplemap t:$mem_v2 %ci1:+[WR_EN] %ci1:+[Y] t:$mux %i",
    "opt_expr -mux_bool",
    MAP_MEMORIES,
    "memory_map",
    "opt_clean",
    "setundef -zero",
    "rename -enumerate -pattern register% t:$*dff* %co1:+[Q] w:* %i",
)
"""Before any optimisation, so that what is compared with a netlist has the same memories and names of
registers, and nothing undefined. A memory's bits that are written together have one enable."""
PREPARE = (
    *MEMORIES,
    "setundef -undriven -zero",
    "opt_expr",
    "opt_clean",
    "check",
    "opt -nodffe -nosdff",
    "wreduce",
    "peepopt",
    "opt_clean",
    *INSERT_GATES,
    "booth",
    "alumacc",
    "opt",
    "opt -fast -full",
    "opt -fine",
    "techmap",
    "opt -fast",
    "opt",
    "simplemap",
)
DELAY = 1000
"""ps that abc aims at: less than any module takes, so that it makes all as fast as it can."""
MAPPING = """\
strash
&get -n
&fraig -x
&put
scorr
balance
&get -n
&st
&dch -f
&nf
&put
topo
buffer -c
topo
stime -p
upsize {D}
dnsize {D}
stime -p
"""
"""For abc. Without dc2, which makes chains of gates to save area: a tenth more area of control logic, a
fifth to a third less delay."""
CONSTRAINTS = "set_driving_cell INVX4\nset_load 0.05\n"
FORMAT = 9
"""Counts changes of what is kept in the cache."""
BATCH = 200_000
"""Characters of RTLIL that one process has for its children, unless a module has more."""


def run_yosys(scripts, folder, what):
    """Run each of ``scripts``, lists of yosys commands, in ``folder``, in a process apart; AsicError with
    yosys' error."""
    files = []
    for n, commands in enumerate(scripts):
        files.append(f"commands{n}")
        Path(folder, files[-1]).write_text("\n".join(commands))
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *files], capture_output=True, text=True, cwd=folder
    )
    if result.returncode:
        log = (result.stdout + result.stderr).strip().splitlines() or ["it ended without a word"]
        errors = [line for line in log if "ERROR:" in line]
        error = (errors[0] if errors else log[-1]).replace("ERROR: ", "").strip()
        raise AsicError(error if error.startswith(what) else f"{what}: {error}")


def elaborate(verilog, top, *, name="design.v"):
    """The RTLIL of each module under ``top``, by name; :data:`MACRO` and undefined black boxes as they are.
    AsicError if it does not parse."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(verilog)
        if not re.search(rf"^\s*module\s+\\?{re.escape(top)}\b", verilog, re.MULTILINE):
            # yosys has an error for it too, but only of what was read without one
            run_yosys([[f"read_verilog -sv {name}"]], folder, name)
            raise AsicError(f"{name}: there is no module {top!r}")
        run_yosys(
            [
                [
                    f"read_verilog -sv {name}",
                    f"hierarchy -check -top {top}",
                    "setattr -unset src",
                    "setattr -mod -unset src *",
                    "write_rtlil design.il",
                ]
            ],
            folder,
            name,
        )
        text = Path(folder, "design.il").read_text()
    return _split(text)


def _split(text):
    """Modules of RTLIL by name, parametrised ones by their parameters, private names and priorities numbered:
    text that only the module determines."""
    modules, names = {}, {}
    for match in re.finditer(
        r"^((?:attribute [^\n]*\n)*)module (\S+)\n(.*?)^end\n", text, re.MULTILINE | re.DOTALL
    ):
        attributes, name, body = match.groups()
        named = re.search(r'^attribute \\hdlname "\\?(.*)"$', attributes, re.MULTILINE)
        friendly = name[1:]
        if name.startswith("$paramod"):
            base = named[1] if named else name.rsplit("\\", 1)[1]
            values = re.findall(r"^  parameter \\(\w+) (.*)$", body, re.MULTILINE)
            friendly = "_".join([base, *(f"{key.lower()}{_number(value)}" for key, value in values)])
        names[name] = friendly
        modules[name] = attributes, body
    result = {}
    for name, (attributes, body) in modules.items():
        kept = "".join(line + "\n" for line in attributes.splitlines() if "\\blackbox" in line)
        body = re.sub(
            r"^(  cell )(\S+)",
            lambda cell: cell[1] + ("\\" + names[cell[2]] if cell[2] in names else cell[2]),
            body,
            flags=re.MULTILINE,
        )
        body = re.sub(
            r"^ *attribute \\src .*\n", "", body, flags=re.MULTILINE
        )  # of processes, which setattr leaves
        numbers = {}
        body = re.sub(
            r"(?<= )\$\S*\$\d+", lambda private: numbers.setdefault(private[0], f"$n{len(numbers)}"), body
        )
        priority = re.compile(r"(?<=  parameter \\PRIORITY )\d+$", re.MULTILINE)
        ranks = {value: n for n, value in enumerate(sorted(set(map(int, priority.findall(body)))))}
        body = priority.sub(lambda value: str(ranks[int(value[0])]), body)
        result[names[name]] = f"{kept}module \\{names[name]}\n{body}end\n"
    return result


def _number(value):
    """A parameter of RTLIL: bits after an apostrophe, or a decimal number; other things as names."""
    if match := re.fullmatch(r"\d+'s?([01]+)", value):
        return int(match[1], 2)
    return int(value) if re.fullmatch(r"\d+", value) else re.sub(r"\W", "_", value)


def _is_macro(name, text):
    return name == MACRO or name.startswith(MACRO + "_") or "attribute \\blackbox" in text.split("module ")[0]


def _macro(name, text):
    ports = {}
    for wire in re.findall(r"^  wire (.*)$", text, re.MULTILINE):
        if match := re.search(r"\b(input|output) \d+ .*?\\(\S+)$", wire):
            width = re.search(r"width (\d+)", wire)
            ports[match[2]] = match[1], list(range(2, 2 + int(width[1] if width else 1)))
    parameters = {
        key: _number(value) for key, value in re.findall(r"^  parameter \\(\w+) (.*)$", text, re.MULTILINE)
    }
    return Module(name, ports, [], macro=True, parameters=parameters, rtl=text)


def synthesise(rtl, library, *, what="the design", report=lambda text: None, recipe=PREPARE):
    """The :class:`Module` of cells of ``library`` for each module of ``rtl`` (:func:`elaborate`)."""
    modules, parts, paths = {}, {}, {}
    version = metadata.version("pyosys")
    liberty = Path(library.path).read_text()
    settings = repr((recipe, DELAY, MAPPING, CONSTRAINTS, memory_map(), FORMAT, Module.__module__))
    for name, text in rtl.items():
        if name == CLOCK_GATE:
            continue
        if _is_macro(name, text):
            modules[name] = _macro(name, text)
            continue
        unknown = [child for child in children(text) if child not in rtl]
        if unknown:
            raise AsicError(f"{what}: {name} has cells of the unknown module {unknown[0]}")
        parts[name] = part = Part.of(name, rtl)
        paths[name] = cache_folder() / "asic" / f"{digest(part.neutral, version, liberty, settings)}.pickle"
    missing = {path: parts[name] for name, path in paths.items() if not path.exists()}
    if missing:
        report(f"synthesising {len(missing)} of {len(rtl)} modules of {what}")
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 8))) as pool:
        for _ in pool.map(lambda batch: _make(batch, library, what, recipe), _batches(missing)):
            pass
    for name, path in paths.items():
        modules[name] = parts[name].named(pickle.loads(path.read_bytes()))
    return {
        CLOCK_GATE: gate_module(library),
        **{box.name: box for module in modules.values() for box in module.boxes.values()},
        **{name: modules[name] for name in rtl if name != CLOCK_GATE},
    }


def _batches(missing):
    """The parts {path: part} that have to be made, in groups of :data:`BATCH` characters. Their order is
    any: of two processes that begin at once, neither makes all that the other does."""
    batches, size = [], 0
    for path in sorted(missing, key=lambda path: -len(missing[path].neutral)):
        length = len(missing[path].neutral)
        if not batches or size + length > BATCH:
            batches.append({})
            size = 0
        batches[-1][path] = missing[path]
        size += length
    random.shuffle(batches)
    return batches


def _make(batch, library, what, recipe):
    """Synthesise and keep what nobody else has kept meanwhile."""
    left = {path: part for path, part in batch.items() if not path.exists()}
    if left:
        for path, module in zip(left, _synthesised(list(left.values()), library, what, recipe)):
            keep(path, pickle.dumps(module))


def memory_map():
    return _MEMORY_MAP.replace("@BITS@", str(MEMORY_BITS)).replace("@WORDS@", str(MEMORY_WORDS))


def name_memories(module, content):
    """Give the memories in a ``module`` names of their sizes; the black boxes, by name."""
    boxes = {}
    for instance in module.instances:
        if instance.kind == "poblano_memory" or instance.kind.endswith("\\poblano_memory"):
            values = {
                key: int(value, 2) if isinstance(value, str) else value
                for key, value in content["cells"][instance.name]["parameters"].items()
            }
            size = f"{values['SIZE']}x{values['WIDTH']}"
            instance.kind = f"poblano_memory_{size}_{values['PORTS']}r_{values['TRANSPARENT']:x}"
            ports, place = {}, 2
            for pin, bits in instance.pins.items():
                ports[pin] = "output" if pin == "RD_DATA" else "input", list(range(place, place + len(bits)))
                place += len(bits)
            boxes[instance.kind] = Module(instance.kind, ports, [], macro=True, parameters=values)
    return boxes


def _synthesised(parts, library, what, recipe):
    """The :class:`Module` of each part, by their neutral names."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "constraints").write_text(CONSTRAINTS)
        Path(folder, "mapping").write_text(MAPPING)
        Path(folder, "memory_map.v").write_text(memory_map())
        Path(folder, "boxes.v").write_text(MEMORY_BOX + GATE_BOX)
        # Cells for clocks are large, and abc takes them for strong buffers.
        unused = " ".join(f"-dont_use {cell}" for cell in library.cells if cell.startswith("CLK"))
        scripts = []
        for n, part in enumerate(parts):
            Path(folder, f"{n}.il").write_text(part.neutral)
            scripts.append(
                [
                    f"read_rtlil {n}.il",
                    "read_verilog -lib boxes.v",
                    f"hierarchy -top {PART}",
                    *recipe,
                    f"dfflibmap -liberty {library.path}",
                    "opt",
                    f"abc -liberty {library.path} {unused} -constr constraints -D {DELAY} -script mapping",
                    "setundef -zero",
                    "opt_clean",
                    f"write_json {n}.json",
                ]
            )
        run_yosys(scripts, folder, what)
        result = []
        for n, part in enumerate(parts):
            content = json.loads(Path(folder, f"{n}.json").read_text())["modules"][PART]
            module = Module.from_json(PART, content)
            module.boxes = name_memories(module, content)
            known = {CLOCK_GATE, *library.cells, *part.children, *module.boxes}
            if strange := {i.kind for i in module.instances} - known:
                raise AsicError(
                    f"{what}: the library has no cell for {', '.join(sorted(strange))} in {part.name}"
                )
            result.append(module)
        return result
