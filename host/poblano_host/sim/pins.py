"""A design behind its UART's pins, compiled by Verilator, as a serial port."""

import ctypes
import os
from pathlib import Path
import tempfile

from .simulation import CXXFLAGS, FAST, SLOW, SimulationError, _digest, _keep, _makefile, _run, cache_folder
from .verilator import VerilatorError, verilator_command, verilator_root

__all__ = ["SimulatedPort", "build_pins"]

HARNESS = Path(__file__).with_name("uart.cpp")
FLAGS = [
    "--cc",
    "--top-module",
    "pins",
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
    "-Wno-SPECIFYIGN",
    "--output-split",
    "20000",
]
_P, _N = ctypes.c_void_p, ctypes.c_uint64
_FUNCTIONS = {
    "destroy": (None,),
    "divider": (None, ctypes.c_uint32),
    "send": (None, ctypes.c_char_p, _N),
    "break": (None, _N),
    "cycle": (_N,),
    "bad": (_N,),
    "waiting": (_N,),
    "run": (None, _N, _N),
    "receive": (_N, ctypes.c_char_p, _N),
}


def build_pins(verilog, *, report=lambda text: None):
    """The path of the shared library of ``verilog``, whose top is ``pins`` with ports clk, rst, rx and tx;
    kept in the cache."""
    harness = HARNESS.read_text()
    library = cache_folder() / f"pins-{_digest(verilog, harness, *FLAGS, *CXXFLAGS, FAST, SLOW)}.so"
    if library.exists():
        return library
    try:
        root, verilator = verilator_root(), verilator_command()
    except VerilatorError as error:
        raise SimulationError(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="poblano-") as temporary:
        folder = Path(temporary)
        (folder / "pins.v").write_text(verilog)
        report("compiling the design with Verilator")
        _run([*verilator, *FLAGS, "--Mdir", "obj", "pins.v"], folder, "Verilator")
        report("compiling the model with g++")
        objects = folder / "obj"
        (objects / "uart.cpp").write_text(harness)
        (objects / "library.mk").write_text(_makefile(objects, root / "include"))
        _run(["make", "-j", str(os.cpu_count() or 1), "-f", "library.mk"], objects, "g++")
        _keep(library, (objects / "chip.so").read_bytes())
    return library


def _load(path):
    library = ctypes.CDLL(str(path))
    library.pins_create.restype, library.pins_create.argtypes = _P, [ctypes.c_uint32]
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, f"pins_{name}")
        function.restype, function.argtypes = result, [_P, *arguments]
    return library


class SimulatedPort:
    """What the host's software needs of a serial port (pyserial's ``Serial``), at the pins of a simulated
    design after its reset.

    Time is the design's: ``timeout`` and :meth:`sleep` are in its seconds, and it goes on only in
    :meth:`read` and :meth:`sleep`.

    Parameters
    ----------
    verilog : as of :func:`build_pins`
    clock_hz, baudrate : int
    """

    def __init__(self, verilog, *, clock_hz, baudrate, report=lambda text: None):
        self._handle = None
        self._library = _load(build_pins(verilog, report=report))
        self.clock_hz, self.timeout = clock_hz, 0.0
        self._handle = self._library.pins_create(round(clock_hz / baudrate))
        self._baudrate = baudrate
        self.sent = self.received = 0

    def _call(self, name, *arguments):
        return getattr(self._library, f"pins_{name}")(self._handle, *arguments)

    @property
    def baudrate(self):
        return self._baudrate

    @baudrate.setter
    def baudrate(self, value):
        self._baudrate = value
        self._call("divider", round(self.clock_hz / value))

    @property
    def cycle(self):
        """Cycles since the start."""
        return self._call("cycle")

    @property
    def in_waiting(self):
        return self._call("waiting")

    def write(self, data):
        self._call("send", bytes(data), len(data))
        self.sent += len(data)
        return len(data)

    def read(self, size=1):
        """Up to ``size`` bytes: those that come within ``timeout`` after all that was written has been
        sent."""
        self._call("run", size, round(self.timeout * self.clock_hz))
        buffer = ctypes.create_string_buffer(size)
        count = self._call("receive", buffer, size)
        self.received += count
        return buffer.raw[:count]

    def flush(self):
        self._call("run", 1 << 62, 1)

    def sleep(self, seconds):
        self._call("run", 1 << 62, max(1, round(seconds * self.clock_hz)))

    def reset_input_buffer(self):
        while self.in_waiting:
            self._call("receive", ctypes.create_string_buffer(4096), 4096)

    def send_break(self, duration=0.25):
        self._call("break", round(duration * self.clock_hz))
        self.sleep(duration)

    def close(self):
        if self._handle is not None:
            self._call("destroy")
            self._handle = None

    def __del__(self):
        self.close()
