"""The chip's RTL, compiled by Verilator with a memory behind it, as a Python object."""

import ctypes
from dataclasses import replace
import fcntl
from fractions import Fraction
import hashlib
from importlib import metadata
import os
from pathlib import Path
import subprocess
import tempfile

import numpy as np

import poblano
from poblano.config import MemoryConfig

from .verilator import VerilatorError, verilator_command, verilator_root

__all__ = ["EVENT", "Simulation", "SimulationError", "build_library", "chip_rtl"]

SOURCES = ("harness.cpp", "memory.h")
FLAGS = [
    "--cc",
    "--top-module",
    "chip",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "--no-timing",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--output-split",
    "20000",
]
REPEATED = (
    "tile",
    "array_row",
    "vector_lane",
    "float_multiply",
    "float_add",
    "fixed_to_float",
    "lane_alu",
    "unit_queue",
)
"""Modules that Verilator keeps as functions: inlined, their copies would take minutes to compile."""
INLINE = "`verilator_config\n" + "".join(f'no_inline -module "poblano_{name}"\n' for name in REPEATED)
CXXFLAGS = ["-fPIC", "-fno-plt", "-std=gnu++17", "-fno-strict-aliasing"]
FAST, SLOW = "-O1", "-O0"
"""Optimisation of what runs every cycle, and of what runs once, at the start."""

EVENT = np.dtype([("cycle", np.uint64), ("unit", np.uint32), ("done", np.uint32)])
"""A command of ``unit`` started (``done`` 0) or completed (1) in ``cycle``."""


class SimulationError(RuntimeError):
    """The simulator can't be built, or the chip broke a protocol or hangs."""


def cache_folder():
    """Where RTL and libraries are kept: ``POBLANO_CACHE``, else ``~/.cache/poblano``."""
    return Path(os.environ.get("POBLANO_CACHE") or Path.home() / ".cache" / "poblano")


def _digest(*texts):
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _keep(path, content):
    """Write ``path`` at once, whatever other processes do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _run(command, folder, what):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise SimulationError(f"{what} failed:\n" + (result.stdout + result.stderr)[-3000:])


def chip_rtl(config, *, report=lambda text: None):
    """The Verilog of a chip; kept in the cache for each version of the hardware's sources and each
    configuration."""
    hardware = replace(config, name="").with_memory(bandwidth=Fraction(1), latency=MemoryConfig.latency)
    folder = Path(poblano.__file__).parent
    sources = [path.read_text() for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.v")])]
    versions = [metadata.version(package) for package in ("amaranth", "pyosys")]
    path = cache_folder() / f"chip-{_digest(repr(hardware), *versions, *sources)}.v"
    if not path.exists():
        from poblano.chip import chip_verilog

        report("writing the RTL")
        _keep(path, chip_verilog(config).encode())
    return path.read_text()


def build_library(verilog, *, report=lambda text: None, sources=None):
    """The path of the shared library of ``verilog`` (top ``chip``); built once for each text, kept in the
    cache.

    ``sources``: more of C++, by file name.
    """
    sources = {name: Path(__file__).with_name(name).read_text() for name in SOURCES} | (sources or {})
    library = (
        cache_folder()
        / f"chip-{_digest(verilog, *sources.values(), INLINE, *FLAGS, *CXXFLAGS, FAST, SLOW)}.so"
    )
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with open(library.with_suffix(".lock"), "w") as lock:  # another process may build the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _build(library, verilog, sources, report)
    return library


def _build(library, verilog, sources, report):
    try:
        root, verilator = verilator_root(), verilator_command()
    except VerilatorError as error:
        raise SimulationError(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="poblano-") as temporary:
        folder = Path(temporary)
        (folder / "chip.v").write_text(verilog)
        (folder / "inline.vlt").write_text(INLINE)
        report("compiling the RTL with Verilator")
        _run([*verilator, *FLAGS, "--Mdir", "obj", "inline.vlt", "chip.v"], folder, "Verilator")
        report("compiling the model with g++")
        objects = folder / "obj"
        for name, text in sources.items():
            (objects / name).write_text(text)
        (objects / "library.mk").write_text(_makefile(objects, root / "include"))
        _run(["make", "-j", str(os.cpu_count() or 1), "-f", "library.mk"], objects, "g++")
        _keep(library, (objects / "chip.so").read_bytes())


def _makefile(objects, support):
    """Rules for ``chip.so``, the largest sources first."""
    sources = [*objects.glob("*.cpp"), support / "verilated.cpp", support / "verilated_threads.cpp"]
    sources.sort(key=lambda path: -path.stat().st_size)
    flags = " ".join(
        [
            *CXXFLAGS,
            "-DVERILATOR=1",
            "-DVM_COVERAGE=0",
            "-DVM_SC=0",
            "-DVM_TRACE=0",
            "-I.",
            f"-I{support}",
            f"-I{support / 'vltstd'}",
        ]
    )
    names = " ".join(f"{source.stem}.o" for source in sources)
    rules = [f"chip.so: {names}\n\tg++ -shared -o $@ $^ -lpthread -latomic"]
    for source in sources:
        level = SLOW if source.stem.endswith("Slow") else FAST
        rules.append(f"{source.stem}.o: {source}\n\tg++ {level} {flags} -c $< -o $@")
    return "\n".join(rules) + "\n"


_U64, _U32, _POINTER = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
_FUNCTIONS = {  # name: result, arguments after the simulation
    "destroy": (None,),
    "reset": (None,),
    "memory": (ctypes.POINTER(ctypes.c_uint8),),
    "run": (_U64, _U64),
    "irq": (ctypes.c_int,),
    "cycle": (_U64,),
    "started": (_U64,),
    "completed": (_U64,),
    "beats_read": (_U64,),
    "beats_written": (_U64,),
    "error": (ctypes.c_char_p,),
    "fault": (None, _U64, _U64),
    "events": (_U64, ctypes.POINTER(_POINTER)),
    "clear_events": (None,),
    "write_register": (ctypes.c_int, _U32, _U32),
    "read_register": (ctypes.c_int, _U32, ctypes.POINTER(_U32)),
}


def _load(path):
    library = ctypes.CDLL(str(path))
    library.poblano_create.restype = _POINTER
    library.poblano_create.argtypes = [_U64] * 5
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, f"poblano_{name}")
        function.restype, function.argtypes = result, [_POINTER, *arguments]
    return library


class Simulation:
    """A chip with ``memory_bytes`` of memory behind it, reset.

    Parameters
    ----------
    config : ChipConfig; ``config.memory`` has the memory's latency and bandwidth
    memory_bytes : int
    report : called with a line for each slow step of building the model
    verilog : the RTL (top ``chip``), instead of the chip's
    sources : more of C++, by file name, that it calls

    Members
    -------
    memory : uint8 array, shared with the simulation; gone after :meth:`close`
    """

    def __init__(self, config, memory_bytes, *, report=lambda text: None, verilog=None, sources=None):
        self.config = config
        self._handle = None
        self._library = _load(
            build_library(
                chip_rtl(config, report=report) if verilog is None else verilog,
                report=report,
                sources=sources,
            )
        )
        memory = config.memory
        self._handle = self._library.poblano_create(
            memory_bytes,
            memory.data_bytes,
            memory.latency,
            memory.bandwidth.numerator,
            memory.bandwidth.denominator,
        )
        self.memory = np.ctypeslib.as_array(self._call("memory"), (memory_bytes,))

    def _call(self, name, *arguments):
        return getattr(self._library, f"poblano_{name}")(self._handle, *arguments)

    def close(self):
        if self._handle is not None:
            self._call("destroy")
            self._handle = None
            del self.memory  # it was the simulation's

    def __del__(self):
        self.close()

    def reset(self):
        """Reset the chip, and the counts and events; the memory keeps its contents."""
        self._call("reset")

    def write(self, address, value):
        """Write a register; SimulationError for an error response."""
        self._answer(f"write of register 0x{address:x}", self._call("write_register", address, value))

    def read(self, address):
        """Read a register; SimulationError for an error response."""
        value = _U32()
        self._answer(
            f"read of register 0x{address:x}", self._call("read_register", address, ctypes.byref(value))
        )
        return value.value

    @staticmethod
    def _answer(what, response):
        if response:
            raise SimulationError(f"{what}: " + ("no answer" if response < 0 else f"response {response}"))

    def run(self, max_cycles):
        """Run until the interrupt is up, at most ``max_cycles``; the cycles run. SimulationError for a
        breach of AXI's rules."""
        cycles = self._call("run", max_cycles)
        error = self._call("error").decode()
        if error:
            raise SimulationError(f"AXI protocol: {error}")
        return cycles

    @property
    def irq(self):
        return bool(self._call("irq"))

    @property
    def cycle(self):
        return self._call("cycle")

    @property
    def started(self):
        """Commands that have started since the reset."""
        return self._call("started")

    @property
    def completed(self):
        """Commands that have completed since the reset."""
        return self._call("completed")

    @property
    def traffic(self):
        """Bytes read and written since the simulation's start, whole beats."""
        beat = self.config.memory.data_bytes
        return beat * self._call("beats_read"), beat * self._call("beats_written")

    def fault(self, low, high):
        """Answer accesses to bytes ``low`` to ``high`` - 1 with SLVERR (0, 0: none)."""
        self._call("fault", low, high)

    def take_events(self):
        """Commands' starts and ends since the last call: an array of :data:`EVENT`."""
        pointer = _POINTER()
        count = self._call("events", ctypes.byref(pointer))
        events = (
            np.frombuffer(ctypes.string_at(pointer, count * EVENT.itemsize), EVENT).copy()
            if count
            else np.zeros(0, EVENT)
        )
        self._call("clear_events")
        return events
