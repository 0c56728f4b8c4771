"""Pushes large numpy arrays through a pipelined component, compiled by Verilator into a shared library."""

import ctypes
import fcntl
from pathlib import Path
import subprocess

from amaranth.lib import wiring
import numpy as np

from poblano.verilog import emit, pins
from poblano_host.cache import digest
from poblano_host.sim.verilator import verilator_command, verilator_root

__all__ = ["Bulk", "build"]

BUILD = Path(__file__).resolve().parents[2] / "build" / "bulk"

_HARNESS = """\
#include "V{name}.h"
#include "verilated.h"
#include <cstdint>
#include <cstdlib>
double sc_time_stamp() {{ return 0; }}
extern "C" void bulk_run(uint64_t count, uint64_t latency, uint64_t stall,
                         const void *const *in, void *const *out) {{
    VerilatedContext context;
    V{name} top{{&context}};
    uint64_t random = stall * 0x9E3779B97F4A7C15ull, sent = 0, got = 0;
    {reset}
    for (uint64_t cycle = 0; got < count;) {{
        bool enabled = true;
        if (stall) {{
            random ^= random << 13; random ^= random >> 7; random ^= random << 17;
            enabled = random % stall != 0;
        }}
        top.clk = 0;
        {enable}
        const uint64_t index = sent < count ? sent : count - 1, noise = enabled ? 0 : random;
        {drive}
        top.eval();
        if (enabled && cycle >= latency) {{
            {sample}
            ++got;
        }}
        top.clk = 1;
        top.eval();
        if (enabled) {{ ++cycle; ++sent; }}
    }}
    top.final();
}}
"""


def _dtype(width):
    if width > 64:
        return np.dtype((np.uint32, -(-width // 32)))
    return np.dtype(next(f"u{size}" for size in (1, 2, 4, 8) if width <= 8 * size))


class Bulk:
    """A compiled component: call it with an array for each input port (but ``en``), get a dict of output
    arrays.

    Arrays hold raw bits, as unsigned integers of the port's size; float32, float16 and signed arrays are
    reinterpreted. A port of more than 64 bits has Python integers in an array of objects. ``stall=n`` holds
    ``en`` low, with other inputs on the ports, in one of n cycles at random.
    """

    def __init__(self, library, inputs, outputs, latency):
        self._run = ctypes.CDLL(str(library)).bulk_run
        self._run.restype = None
        self._run.argtypes = [ctypes.c_uint64] * 3 + [ctypes.POINTER(ctypes.c_void_p)] * 2
        self._inputs, self._outputs, self._latency = inputs, outputs, latency

    def __call__(self, *, stall=0, **arrays):
        if set(arrays) != set(self._inputs):
            raise ValueError(f"the inputs are {', '.join(self._inputs)}, not {', '.join(arrays)}")
        data = []
        for name, width in self._inputs.items():
            if width > 64:
                size = 4 * -(-width // 32)
                data.append(
                    np.frombuffer(
                        b"".join(int(x).to_bytes(size, "little") for x in arrays[name]), np.uint32
                    ).reshape(-1, size // 4)
                )
                continue
            dtype, array = _dtype(width), np.ascontiguousarray(arrays[name])
            if array.dtype.itemsize != dtype.itemsize:
                raise ValueError(f"{name} has {width} bits; got an array of {array.dtype}")
            array = array.view(dtype)
            data.append(array if width == 8 * dtype.itemsize else array & dtype.type((1 << width) - 1))
        count = len(data[0])
        if any(array.shape[:1] != (count,) or array.ndim > 1 + (array.dtype == np.uint32) for array in data):
            raise ValueError("inputs must be one-dimensional and of one length")
        results = {name: np.zeros(count, _dtype(width)) for name, width in self._outputs.items()}
        if count:
            self._run(
                count,
                self._latency,
                stall,
                (ctypes.c_void_p * len(data))(*(a.ctypes.data for a in data)),
                (ctypes.c_void_p * len(results))(*(a.ctypes.data for a in results.values())),
            )
        return {
            name: array
            if array.ndim == 1
            else np.array([int.from_bytes(row.tobytes(), "little") for row in array], object)
            for name, array in results.items()
        }


FLAGS = [
    "--cc",
    "--exe",
    "--build",
    "-O3",
    "-Wno-fatal",
    "-Wno-lint",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "-CFLAGS",
    "-fPIC -O2",
    "-LDFLAGS",
    "-shared",
    "-MAKEFLAGS",
    "OPT_FAST=-O2 OPT_GLOBAL=-O1",
    "--top-module",
    "dut",
    "-o",
    "libdut.so",
]


def build(component, *, latency=None, compiled=None):
    """Compile ``component`` (once for each distinct Verilog) and return a :class:`Bulk`.

    Its ports are not structs of streams: operands in, results out ``latency`` (default: its ``LATENCY``)
    cycles later, and optionally a clock enable ``en``. A combinational component has latency 0.
    ``compiled(verilog, name, sources)`` gives the library that has something else in the RTL's place.
    """
    inputs, outputs = {}, {}
    for name, value, flow in pins(component):
        (inputs if flow == wiring.In else outputs)[name] = len(value)
    latency = component.LATENCY if latency is None else latency
    verilog = emit(component, "dut")
    top = verilog.split("module dut(")[1].split("endmodule")[0]
    harness = _harness(inputs, outputs, clocked="input clk" in top, resets="input rst;" in top)
    inputs.pop("en", None)
    if compiled is not None:
        library = compiled(verilog, "dut", {"harness.cpp": harness})
    else:
        library = _library(type(component).__name__, verilog, harness)
    return Bulk(library, inputs, outputs, latency)


def _member(name):
    """Verilator's C++ name of a port."""
    return "top." + name.replace("__", "___05F")


def _words(width):
    return range(-(-width // 32))


_CAST = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}


def _drive(k, name, width):
    """C++ that puts element ``index`` of input ``k`` on its port."""
    count = len(_words(width))
    if width > 64:
        return "".join(
            f"{_member(name)}[{w}] = (((const uint32_t *)in[{k}])[index * {count} + {w}] ^ (uint32_t)noise)"
            f" & {hex(min((1 << width - 32 * w) - 1, 0xFFFFFFFF))}u; "
            for w in _words(width)
        )
    element = f"((const {_CAST[_dtype(width).itemsize]} *)in[{k}])[index]"
    return f"{_member(name)} = ({element} ^ noise) & {hex((1 << width) - 1)}ull;"


def _sample(k, name, width):
    """C++ that takes element ``got`` of output ``k`` from its port."""
    count = len(_words(width))
    if width > 64:
        return "".join(
            f"((uint32_t *)out[{k}])[got * {count} + {w}] = {_member(name)}[{w}]; " for w in _words(width)
        )
    return f"(({_CAST[_dtype(width).itemsize]} *)out[{k}])[got] = {_member(name)};"


def _harness(inputs, outputs, *, clocked, resets):
    """C++ that pushes arrays through the ports."""
    reset = ""
    if clocked and resets:
        reset = "top.rst = 1; for (int i = 0; i < 4; ++i) { top.clk = i & 1; top.eval(); } top.rst = 0;"
    data = [(name, width) for name, width in inputs.items() if name != "en"]
    harness = _HARNESS.format(
        name="dut",
        reset=reset,
        enable="top.en = enabled;" if "en" in inputs else "",
        drive="\n        ".join(_drive(k, *port) for k, port in enumerate(data)),
        sample="\n            ".join(_sample(k, *port) for k, port in enumerate(outputs.items())),
    )
    return harness if clocked else harness.replace("top.clk = 0;", "").replace("top.clk = 1;", "")


def _library(name, verilog, harness):
    """The path of the compiled library."""
    folder = BUILD / f"{name}-{digest(verilog, harness, str(verilator_root()), *FLAGS)}"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libdut.so"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "built").exists():
            sources = {"dut.v": verilog, "harness.cpp": harness}
            for source, text in sources.items():
                (folder / source).write_text(text)
            paths = [str(folder / source) for source in sources]
            command = [*verilator_command(), *FLAGS, "-Mdir", str(folder), *paths]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                raise RuntimeError(
                    f"Verilator failed in {folder}:\n{(result.stdout + result.stderr)[-3000:]}"
                )
            (folder / "built").touch()
    return library
