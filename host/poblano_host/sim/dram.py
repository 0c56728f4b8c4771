"""The model of a DRAM and the checker of its commands, without a controller."""

import ctypes
from pathlib import Path

import numpy as np

from .build import build_program
from .dram_rules import COMMANDS, Code, Shape, Times, dram_rules, dram_times
from .native import NativeObject
from .stored import StoredBits
from .traffic import BURST

__all__ = ["DRAM_SOURCES", "SimulatedDram", "Violations"]

DRAM_SOURCES = ("dram_command.h", "dram_code.h", "dram.h", "dram_checker.h", "dram_trace.h")
SOURCES = (*DRAM_SOURCES, "dram_limits.h", "dram_random.h", "dram_reference.h", "axi_burst.h", "dram.cpp")
FOLDER = Path(__file__).parent

_U64, _U32, _P = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
_TIMES = ctypes.POINTER(Times)
_FUNCTIONS = {
    "create": (_P, ctypes.POINTER(Shape), ctypes.POINTER(Code), _TIMES, _P, _U64, _U64, ctypes.c_char_p),
    "destroy": (None,),
    "memory": (ctypes.POINTER(ctypes.c_uint8),),
    "sideband": (_U64, _U64),
    "set_sideband": (None, _U64, _U64),
    "flip": (None, _U64, _U64),
    "different": (_U64, _P, _U64),
    "beyond": (_U64,),
    "misplaced": (_U64,),
    "reset": (None,),
    "run": (None, _U64, _P, _P, _P, _P, _P, _P),
    "random": (None, _U64, _TIMES, ctypes.c_int, _U64),
    "reference": (ctypes.c_int64, _P, _U64, _U64, ctypes.c_int),
    "finish": (None,),
    "commands": (_U64,),
    "violations": (_U64,),
    "report": (ctypes.c_char_p,),
}


class Violations:
    """What the checker found.

    Members
    -------
    counts : dict, violations by the name of the time, or of the rule
    texts : the first violations, a line each
    """

    def __init__(self, report):
        counts, _, texts = report.partition("\n\n") if not report.startswith("\n") else ("", "", "")
        pairs = (line.split(" ", 1) for line in counts.splitlines())
        self.counts = {name: int(count) for count, name in pairs}
        self.texts = texts.splitlines()

    def __bool__(self):
        return bool(self.counts)

    def __str__(self):
        return "\n".join([str(self.counts), *self.texts[:10]])


class SimulatedDram(StoredBits):
    """What is behind the command interface of a controller of ``config``.

    Parameters
    ----------
    config : DramConfig
    memory_bytes : int, the first so many bytes are there
    checked : dict, times that the checker takes instead of the DRAM's, in memory clocks
    trace : path of a file to which commands are written, or None

    Members
    -------
    memory : uint8 array in the order of the controller's addresses; gone after :meth:`close`
    """

    def __init__(self, config, memory_bytes=0, *, checked=None, trace=None):
        self.config, self.shape = config, Shape.of(config)
        self.times = dram_times(config)
        checked = self.times | (checked or {})
        rules = dram_rules(
            checked, burst_clocks=config.timing.burst_clocks, bank_refresh=config.timing.bank_refresh
        )
        sources = {name: (FOLDER / name).read_text() for name in SOURCES}
        self._model = NativeObject(
            build_program("dram", sources),
            "dram",
            _FUNCTIONS,
            self.shape,
            Code.of(config),
            Times(**checked),
            rules.ctypes.data,
            len(rules),
            memory_bytes,
            None if trace is None else str(trace).encode(),
        )
        self._call = self._model.call
        self.memory = np.ctypeslib.as_array(self._call("memory"), (memory_bytes,))

    def close(self):
        if not self._model.closed:
            del self.memory  # it is the model's
            self._model.close()

    def run(self, commands, data=None, strb=None, sideband=None):
        """A cycle for each of ``commands`` (an array of :data:`~poblano_host.sim.dram_rules.COMMANDS`), with
        what is on the pins for written data; the data and sidebands that the DRAM drives, cycle by cycle."""
        count, beat = len(commands), self.shape.burst_bytes // self.shape.burst_cycles
        given = [
            np.ascontiguousarray(commands, COMMANDS),
            np.zeros((count, beat), np.uint8) if data is None else np.ascontiguousarray(data, np.uint8),
            np.zeros(count, np.uint64) if strb is None else np.ascontiguousarray(strb, np.uint64),
            np.zeros(count, np.uint64) if sideband is None else np.ascontiguousarray(sideband, np.uint64),
        ]
        read, read_sideband = np.zeros((count, beat), np.uint8), np.zeros(count, np.uint64)
        self._call("run", count, *(array.ctypes.data for array in [*given, read, read_sideband]))
        return read, read_sideband

    def random(self, count, *, seed, bank_refresh=None, **times):
        """Let the checker see ``count`` random commands, each as early as ``times`` allow, which stand
        instead of the DRAM's own."""
        bank_refresh = self.config.refreshes_banks if bank_refresh is None else bank_refresh
        self._call("random", count, Times(**(self.times | times)), bank_refresh, seed)

    def reference(self, bursts, *, window, bank_refresh):
        """The cycles that ``bursts`` (an array of :data:`~poblano_host.sim.traffic.BURST`) take with a
        scheduler that takes the first ready of ``window`` bursts."""
        bursts = np.ascontiguousarray(bursts, BURST)
        return self._call("reference", bursts.ctypes.data, len(bursts), window, bank_refresh)

    def reset(self):
        """All banks are closed, nothing is on its way; contents stay."""
        self._call("reset")

    def finish(self):
        """Look for refreshes that are late by now."""
        self._call("finish")

    @property
    def beyond(self):
        """Column commands beyond the memory."""
        return self._call("beyond")

    @property
    def misplaced(self):
        """Column commands to banks without an open row."""
        return self._call("misplaced")

    @property
    def commands(self):
        """Commands that the checker has seen."""
        return self._call("commands")

    @property
    def violations(self):
        """The :class:`Violations` so far."""
        return Violations(self._call("report").decode())
