"""The chip's RTL, compiled by Verilator with a memory behind it, as a Python object."""

import ctypes
import hashlib
import os
from pathlib import Path
import shutil
import subprocess
import tempfile

import numpy as np

from poblano.chip import chip_verilog

from .verilator import VerilatorError, verilator_command, verilator_root

__all__ = ["Simulation", "SimulationError", "build_library"]

HARNESS = Path(__file__).with_name("harness.cpp")
FLAGS = ["--cc", "--top-module", "chip", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "--no-timing",
         "-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "20000"]
REPEATED = ("tile", "array_row", "vector_lane", "float_multiply", "float_add", "lane_alu", "unit_queue")
"""Modules that Verilator keeps as functions: inlined, their copies would take minutes to compile."""
INLINE = "`verilator_config\n" + "".join(f'no_inline -module "poblano_{name}"\n' for name in REPEATED)
CXXFLAGS = ["-fPIC", "-fno-plt", "-std=gnu++17", "-fno-strict-aliasing"]


class SimulationError(RuntimeError):
    """The simulator can't be built, or the chip broke a protocol or hangs."""


def cache_folder():
    """Where libraries are kept: ``POBLANO_CACHE``, else ``~/.cache/poblano``."""
    return Path(os.environ.get("POBLANO_CACHE") or Path.home() / ".cache" / "poblano")


def _run(command, folder, what):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise SimulationError(f"{what} failed:\n" + (result.stdout + result.stderr)[-3000:])


def build_library(verilog, *, report=lambda text: None):
    """The path of the shared library of ``verilog`` (top ``chip``); built once for each text, kept in the cache."""
    key = hashlib.sha256("\n".join([verilog, HARNESS.read_text(), INLINE, *FLAGS, *CXXFLAGS]).encode()).hexdigest()[:16]
    library = cache_folder() / f"chip-{key}.so"
    if library.exists():
        return library
    root = verilator_root()
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="poblano-") as temporary:
        folder = Path(temporary)
        (folder / "chip.v").write_text(verilog)
        (folder / "inline.vlt").write_text(INLINE)
        report("compiling the RTL with Verilator")
        _run([*verilator_command(), *FLAGS, "--Mdir", "obj", "inline.vlt", "chip.v"], folder, "Verilator")
        report("compiling the model with g++")
        objects = folder / "obj"
        shutil.copy(HARNESS, objects / "harness.cpp")
        support = root / "include"
        sources = [*sorted(objects.glob("*.cpp")), support / "verilated.cpp", support / "verilated_threads.cpp"]
        rules = ["all: chip.so"]
        names = []
        for source in sources:
            name = source.stem + ".o"
            names.append(name)
            level = "-O0" if name.endswith("Slow.o") else "-O1"  # slow: run once, at the start
            rules.append(f"{name}: {source}\n\tg++ {level} {' '.join(CXXFLAGS)} -DVERILATOR=1 -DVM_COVERAGE=0 -DVM_SC=0 -DVM_TRACE=0 "
                         f"-I. -I{support} -I{support / 'vltstd'} -c $< -o $@")
        rules.append(f"chip.so: {' '.join(names)}\n\tg++ -shared -o $@ $^ -lpthread -latomic")
        (objects / "library.mk").write_text("\n".join(rules) + "\n")
        _run(["make", "-j", str(os.cpu_count() or 1), "-f", "library.mk"], objects, "g++")
        part = library.with_suffix(f".{os.getpid()}.part")
        shutil.copy(objects / "chip.so", part)
        os.replace(part, library)
    return library


class _Event(ctypes.Structure):
    _fields_ = [("cycle", ctypes.c_uint64), ("unit", ctypes.c_uint32), ("done", ctypes.c_uint32)]


class Simulation:
    """A chip of ``config`` with ``memory_bytes`` of memory behind it.

    Members: ``memory``, a uint8 array shared with the simulation.
    """

    def __init__(self, config, memory_bytes, *, report=lambda text: None):
        self.config = config
        try:
            report("writing the RTL")
            path = build_library(chip_verilog(config), report=report)
        except VerilatorError as error:
            raise SimulationError(str(error)) from None
        self._library = library = ctypes.CDLL(str(path))
        u64 = ctypes.c_uint64
        library.poblano_create.restype = ctypes.c_void_p
        library.poblano_create.argtypes = [u64] * 5
        library.poblano_memory.restype = ctypes.POINTER(ctypes.c_uint8)
        library.poblano_protocol_error.restype = ctypes.c_char_p
        library.poblano_events.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.POINTER(_Event))]
        library.poblano_run.argtypes = [ctypes.c_void_p, u64]
        library.poblano_fault.argtypes = [ctypes.c_void_p, u64, u64]
        library.poblano_register_write.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]
        library.poblano_register_read.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)]
        for name in ("run", "cycle", "bytes_read", "bytes_written", "events"):
            getattr(library, f"poblano_{name}").restype = u64
        for name in ("destroy", "memory", "irq", "cycle", "bytes_read", "bytes_written", "protocol_error", "clear_events"):
            getattr(library, f"poblano_{name}").argtypes = [ctypes.c_void_p]
        memory = config.memory
        self._handle = library.poblano_create(memory_bytes, memory.data_bytes, memory.latency, memory.bandwidth.numerator,
                                              memory.bandwidth.denominator)
        self.memory = np.ctypeslib.as_array(library.poblano_memory(self._handle), (memory_bytes,))

    def close(self):
        if self._handle is not None:
            self._library.poblano_destroy(self._handle)
            self._handle = None

    def __del__(self):
        if getattr(self, "_handle", None) is not None:
            self.close()

    def write(self, address, value):
        """Write a register; SimulationError for an error response."""
        response = self._library.poblano_register_write(self._handle, address, value)
        if response:
            raise SimulationError(f"write of register 0x{address:x}: " + ("no answer" if response < 0 else f"response {response}"))

    def read(self, address):
        """Read a register; SimulationError for an error response."""
        value = ctypes.c_uint32()
        response = self._library.poblano_register_read(self._handle, address, ctypes.byref(value))
        if response:
            raise SimulationError(f"read of register 0x{address:x}: " + ("no answer" if response < 0 else f"response {response}"))
        return value.value

    def run(self, max_cycles):
        """Run until the interrupt, at most ``max_cycles``; the cycles run. SimulationError for an AXI protocol error."""
        cycles = self._library.poblano_run(self._handle, max_cycles)
        error = self._library.poblano_protocol_error(self._handle).decode()
        if error:
            raise SimulationError(f"AXI protocol: {error}")
        return cycles

    @property
    def irq(self):
        return bool(self._library.poblano_irq(self._handle))

    @property
    def cycle(self):
        return self._library.poblano_cycle(self._handle)

    @property
    def traffic(self):
        """Bytes read and written since the start."""
        return self._library.poblano_bytes_read(self._handle), self._library.poblano_bytes_written(self._handle)

    def fault(self, low, high):
        """Answer accesses to bytes ``low`` to ``high`` - 1 with SLVERR (0, 0: none)."""
        self._library.poblano_fault(self._handle, low, high)

    def take_events(self):
        """Commands' starts and ends since the last call: array of (cycle, unit, done)."""
        pointer = ctypes.POINTER(_Event)()
        count = self._library.poblano_events(self._handle, ctypes.byref(pointer))
        events = np.ctypeslib.as_array(pointer, (count,)).copy() if count else np.zeros(0, np.dtype(_Event))
        self._library.poblano_clear_events(self._handle)
        return events
