"""A design behind its UART's pins, compiled by Verilator, as a serial port."""

import ctypes
from pathlib import Path

from .build import build_library
from .errors import SimulationError
from .native import NativeObject

__all__ = ["SimulatedPort"]

HARNESS = Path(__file__).with_name("uart.cpp")
_P, _N = ctypes.c_void_p, ctypes.c_uint64
_FUNCTIONS = {
    "create": (_P, ctypes.c_uint32),
    "destroy": (None,),
    "divider": (None, ctypes.c_uint32),
    "send": (None, ctypes.c_char_p, _N),
    "break": (None, _N),
    "cycle": (_N,),
    "bad": (_N,),
    "errors": (_N,),
    "waiting": (_N,),
    "run": (None, _N, _N),
    "receive": (_N, ctypes.c_char_p, _N),
}


class SimulatedPort:
    """What the host's software needs of a serial port (pyserial's ``Serial``), at the pins of a simulated
    design after its reset.

    Time is the design's: ``timeout`` and :meth:`sleep` are in its seconds, and it goes on only in
    :meth:`read` and :meth:`sleep`.

    Parameters
    ----------
    verilog : of the design, whose top is ``pins`` with ports clk, rst, rx and tx, and perhaps errors, a
        count: the first makes :meth:`read` a SimulationError
    clock_hz, baudrate : int
    """

    def __init__(self, verilog, *, clock_hz, baudrate, report=lambda text: None):
        library = build_library(verilog, "pins", {HARNESS.name: HARNESS.read_text()}, report=report)
        self._model = NativeObject(library, "pins", _FUNCTIONS, round(clock_hz / baudrate))
        self._call = self._model.call
        self.clock_hz, self.timeout = clock_hz, 0.0
        self._baudrate = baudrate
        self.sent = self.received = 0

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
    def bad(self):
        """Bytes that came without a stop bit."""
        return self._call("bad")

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
        if errors := self._call("errors"):
            raise SimulationError(f"{errors} errors at the pins, told on standard output, by {self.cycle}")
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
        self._model.close()
