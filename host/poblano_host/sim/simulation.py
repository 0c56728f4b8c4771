"""The chip's RTL, compiled by Verilator with a memory behind it, as a Python object."""

import ctypes
from dataclasses import replace
from fractions import Fraction
from importlib import metadata
from pathlib import Path
import re

import numpy as np

import poblano
from poblano.config import MemoryConfig

from ..cache import cache_folder, digest, keep
from .build import build_library
from .dram_rules import Code, Shape, Times, dram_rules, dram_times
from .errors import SimulationError
from .native import NativeObject
from .stored import check_bit, different

__all__ = ["EVENT", "Simulation", "build_chip", "chip_rtl"]

SOURCES = (
    "harness.cpp",
    "sizes.h",
    "axi_ports.h",
    "memory.h",
    "dram_ports.h",
    "dram_code.h",
    "dram.h",
    "dram_command.h",
    "dram_checker.h",
    "dram_trace.h",
)
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
BLOCKS, LARGE = ("tile",), 1 << 13
"""Modules that are compiled once for all instances, in chips with so many multipliers."""
EVENT = np.dtype([("cycle", np.uint64), ("unit", np.uint32), ("done", np.uint32)])
"""A command of ``unit`` started (``done`` 0) or completed (1) in ``cycle``."""


def chip_rtl(config, *, report=lambda text: None):
    """The Verilog of a chip; kept in the cache for each version of the hardware's sources and each
    configuration."""
    hardware = replace(config, name="").with_memory(bandwidth=Fraction(1), latency=MemoryConfig.latency)
    folder = Path(poblano.__file__).parent
    sources = [path.read_text() for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.v")])]
    versions = [metadata.version(package) for package in ("amaranth", "pyosys")]
    path = cache_folder() / f"chip-{digest(repr(hardware), *versions, *sources)}.v"
    if not path.exists():
        from poblano.chip import chip_verilog

        report("writing the RTL")
        keep(path, chip_verilog(config).encode())
    return path.read_text()


def build_chip(verilog, top, sources, *, visible=(), **options):
    """:func:`build_library` of ``verilog`` with a register before the reset of ``top``, which reaches so much
    that to look at it whenever an input changes would take a fifth of the model's time."""
    module = re.search(rf"^module {top}\(.*?^endmodule$", verilog, re.MULTILINE | re.DOTALL)
    if module is None:
        raise SimulationError(f"the Verilog has no module {top}")
    ports = re.findall(r"^  (input|output) (\[.*?\] )?(\w+);$", module[0], re.MULTILINE)
    names = [name for _, _, name in ports]
    wires = ", ".join(f".{name}({'reset' if name == 'rst' else name})" for name in names)
    declarations = "".join(f"  {direction} {width}{name};\n" for direction, width, name in ports)
    registered = (
        f"module {top}({', '.join(names)});\n{declarations}  reg reset = 1;\n"
        f"  always @(posedge clk) reset <= rst;\n  inside_{top} inside_{top}({wires});\nendmodule\n"
    )
    inside = re.sub(rf"^module {top}\(", f"module inside_{top}(", verilog, flags=re.MULTILINE)
    visible = [(f"inside_{top}" if name == top else name, register) for name, register in visible]
    return build_library(f"{inside}\n{registered}", top, sources, visible=visible, **options)


_U64, _U32, _POINTER = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p


class _Sizes(ctypes.Structure):
    """As Sizes in C++."""

    _fields_ = [
        *((name, _U64) for name in ("memory", "home", "beat", "latency", "bandwidth", "denominator")),
        ("shape", Shape),
        ("code", Code),
        ("times", Times),
        ("rules", _POINTER),
        ("rule_count", _U64),
        ("trace", ctypes.c_char_p),
    ]


_FUNCTIONS = {
    "create": (_POINTER, ctypes.POINTER(_Sizes)),
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
    "responded": (_U64,),
    "error": (ctypes.c_char_p,),
    "fault": (None, _U64, _U64),
    "tolerate": (None,),
    "fail_beat": (None, _U64, ctypes.c_int, _U64, ctypes.c_int),
    "silence": (None, _U64, _U32, _U64),
    "flip": (None, _U64, _U64, _U64),
    "different": (_U64, _U64, _POINTER, _U64),
    "events": (_U64, ctypes.POINTER(_POINTER)),
    "clear_events": (None,),
    "write_register": (ctypes.c_int, _U32, _U32),
    "read_register": (ctypes.c_int, _U32, ctypes.POINTER(_U32)),
}


def _ports(memory):
    """The text of ports.h, which says what the ports are and what is at them."""
    name = "m_axi" if memory.dram is None else "dram"
    ports = " ".join(f"X({n}, {name}{n if memory.homes > 1 else ''})" for n in range(memory.homes))
    header = "axi_ports.h" if memory.dram is None else "dram_ports.h"
    return f'#define PORTS(X) {ports}\n#include "{header}"\n'


def _sizes(memory, memory_bytes, check, trace, ecc):
    """The :class:`_Sizes` of simulated memories, and the rules that they refer to."""
    sizes = _Sizes(
        memory=memory_bytes,
        home=memory.home_bytes if memory.homes > 1 else memory_bytes,
        beat=memory.data_bytes,
        latency=memory.latency,
        bandwidth=memory.bandwidth.numerator,
        denominator=memory.bandwidth.denominator,
        trace=None if trace is None else str(trace).encode(),
    )
    if memory.dram is None:
        return sizes, None
    timing, times = memory.dram.timing, dram_times(memory.dram)
    rules = dram_rules(times, burst_clocks=timing.burst_clocks, bank_refresh=timing.bank_refresh)
    sizes.shape, sizes.times = Shape.of(memory.dram), Times(**times)
    sizes.code = Code.of(replace(memory.dram, ecc=memory.dram.ecc or ecc))
    if check:
        sizes.rules, sizes.rule_count = rules.ctypes.data, len(rules)
    return sizes, rules


class Simulation:
    """A chip with ``memory_bytes`` of memory behind it, reset.

    Parameters
    ----------
    config : ChipConfig; ``config.memory`` has the memory's latency and bandwidth
    memory_bytes : int
    check : whether the commands to DRAMs are checked against all their times, which takes time itself
    trace : path of files to which the commands to the DRAM of each home are written, its number appended,
        or None
    report : called with a line for each slow step of building the model
    verilog : the RTL (top ``chip``), instead of the chip's
    build : makes the library of the RTL and of the sources in C++, instead of Verilator

    Members
    -------
    memory : uint8 array, shared with the simulation; gone after :meth:`close`
    library : the compiled model, a ctypes.CDLL
    tolerant : whether a breach of the memory port's rules does not matter
    """

    SOURCES: tuple = SOURCES
    FUNCTIONS: dict = _FUNCTIONS
    tolerant = False

    def __init__(
        self,
        config,
        memory_bytes,
        *,
        check=False,
        trace=None,
        report=lambda text: None,
        verilog=None,
        build=build_chip,
    ):
        self.config = config
        sources = {name: Path(__file__).with_name(name).read_text() for name in self.SOURCES}
        verilog = chip_rtl(config, report=report) if verilog is None else verilog
        blocks = BLOCKS if config.macs_per_cycle >= LARGE else ()
        named = lambda names: [f"poblano_{name}" for name in names]
        modules = dict(no_inline=named(n for n in REPEATED if n not in blocks), blocks=named(blocks))
        sources["ports.h"] = _ports(config.memory)
        sizes, self._rules = _sizes(config.memory, memory_bytes, check, trace, config.ecc)
        library = build(verilog, "chip", sources, **modules, report=report)
        self._model = NativeObject(library, "poblano", self.FUNCTIONS, sizes)
        self._call = self._model.call
        self.library = self._model.library
        self.memory = np.ctypeslib.as_array(self._call("memory"), (memory_bytes,))

    def close(self):
        if not self._model.closed:
            del self.memory  # it is the model's
            self._model.close()

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
        if error and not self.tolerant:
            raise SimulationError(f"{'AXI protocol' if self.config.memory.dram is None else 'DRAM'}: {error}")
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

    def flip_dram(self, home, address, bit):
        """Flip a stored bit of the burst (or, of a memory with AXI, the beat) at ``address`` of a home's
        memory: of its data or, after them, of its sideband.

        With ecc, ``memory`` stays as it is, and the flip ends when the chip or ``memory`` 's owner writes
        the burst.
        """
        memory = self.config.memory
        size = min(memory.home_bytes, len(self.memory)) if memory.homes > 1 else len(self.memory)
        if not 0 <= home < memory.homes:
            raise ValueError(f"home must be below {memory.homes}, not {home}")
        if memory.dram is not None:
            check_bit(memory.dram, size, address, bit)
        self._call("flip", home, address, bit)

    def different_dram(self, home):
        """Addresses, in a home's memory, of the bursts that are stored with flipped bits or poison."""
        return different(lambda *arguments: self._call("different", home, *arguments))

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
