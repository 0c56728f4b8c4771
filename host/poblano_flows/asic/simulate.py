"""Gate-level simulation: a netlist, flattened, with settled values and no delays, and how often each of its
nets changes."""

import ctypes
import hashlib
from pathlib import Path
import subprocess
import tempfile

import numpy as np

from poblano_host.cache import cache_folder, digest, keep
from poblano_host.sim.build import is_whole

from .flat import Flat
from .flow import Design, Source
from .tools import AsicError

__all__ = ["Activity", "compile_netlist", "netlist_library"]

MODEL = Path(__file__).with_name("netlist_model.h")
CXXFLAGS = ["-O2", "-shared", "-fPIC", "-std=gnu++17", "-I."]
VERILATED = """\
#pragma once
#include <cstdint>
struct VerilatedContext {};
using CData = uint8_t;
"""
"""What is used of Verilator's header."""
COUNTS = """\
#include "netlist_model.h"
extern "C" void netlist_clear() { poblano::Netlist::current->clear_counts(); }
extern "C" void netlist_counts(uint64_t *changes, uint64_t *ticks) {
    poblano::Netlist::current->copy_counts(changes, ticks);
}
"""


def compile_netlist(flat, top, sources):
    """The path of a shared library of ``sources``, texts of C++ by their files' names, that use the netlist
    ``flat`` as they use Verilator's class of the module ``top``."""
    arrays = flat.arrays()
    folder = cache_folder() / "asic"
    data = folder / f"{hashlib.sha256(arrays).hexdigest()[:32]}.netlist"
    if not data.exists():
        keep(data, arrays)
    files = {
        **sources,
        f"V{top}.h": _header(flat, top, data),
        "verilated.h": VERILATED,
        MODEL.name: MODEL.read_text(),
        "counts.cpp": COUNTS,
    }
    library = folder / f"{digest(*files.values(), *CXXFLAGS)}.so"
    if not is_whole(library):
        with tempfile.TemporaryDirectory() as temporary:
            for name, text in files.items():
                Path(temporary, name).write_text(text)
            units = [name for name in files if name.endswith(".cpp")]
            result = subprocess.run(
                ["g++", *CXXFLAGS, *units, "-o", "library.so"], cwd=temporary, capture_output=True, text=True
            )
            if result.returncode:
                raise AsicError("g++ failed: " + result.stderr.strip()[-1000:])
            keep(library, Path(temporary, "library.so").read_bytes())
    return library


def netlist_library(verilog, top, sources, **_):
    """The same of the netlist of the module ``top`` of ``verilog``."""
    design = Design.build(Source(top, verilog, top, f"{top}.v"))
    return compile_netlist(Flat(design.modules, top, design.library), top, sources)


def _header(flat, top, data):
    """The class of the netlist's ports."""
    members, places, clock = [], [], "0"
    for name, (direction, width, first) in flat.ports.items():
        member = name.replace("__", "___05F")
        size = next((size for size in (8, 16, 32, 64) if width <= size), None)
        words = f"uint32_t {member}[{-(-width // 32)}] = {{}}"
        members.append(f"  uint{size}_t {member} = 0;" if size else f"  {words};")
        if name == "clk":
            clock = member
        else:
            places.append(f"    {direction}(&{member}, {width}, {first});")
    name = f"V{top}"
    return "\n".join(
        [
            "#pragma once",
            '#include "netlist_model.h"',
            '#include "verilated.h"',
            f"struct {name} : poblano::NetlistPorts {{",
            *members,
            f'  explicit {name}(VerilatedContext *) : NetlistPorts("{data}") {{',
            *places,
            "  }",
            f"  void eval() {{ evaluate({clock}); }}",
            "};",
            "",
        ]
    )


class Activity:
    """Counts of a netlist that runs: ``library`` is the ctypes.CDLL that :func:`compile_netlist` made."""

    def __init__(self, flat, library):
        self.flat, self._library = flat, library

    def clear(self):
        self._library.netlist_clear()

    def take(self):
        """(changes of each net, ticks of each clock) since :meth:`clear`."""
        changes, ticks = np.zeros(self.flat.size, np.uint64), np.zeros(len(self.flat.clocks), np.uint64)
        pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
        self._library.netlist_counts(pointer(changes), pointer(ticks))
        return changes.astype(np.int64), ticks.astype(np.int64)
