"""A DRAM controller's RTL, compiled by Verilator between an AXI4 master and a DRAM, as a Python object."""

import ctypes
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from poblano.dram.controller import DramController
from poblano.verilog import emit

from .build import build_library
from .dram import DRAM_SOURCES, Violations
from .dram_rules import KINDS, Code, Shape, Times, dram_rules, dram_times
from .errors import SimulationError
from .native import NativeObject
from .stored import StoredBits
from .traffic import BURST

__all__ = ["FOUND", "Counts", "SimulatedController", "Stalls"]

SOURCES = (*DRAM_SOURCES, "axi_burst.h", "axi_host.h", "controller.cpp")
_U64, _U32, _P = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
DRAINED = 20_000
"""Cycles after the last response in which all that was written has reached the DRAM."""


class _Traffic(ctypes.Structure):
    """As AxiTraffic in C++."""

    _fields_ = [
        ("seed", _U64),
        *((name, _U32) for name in ("read_stall", "write_stall", "response_stall", "partial")),
        ("outstanding", _U64),
        ("drift", _U64),
        ("flips", _U32),
    ]


@dataclass(frozen=True, kw_only=True)
class Stalls:
    """How often, from 0 to 1, the master does not take a beat of R, offer one of W, take a response."""

    read: float = 0.0
    write: float = 0.0
    response: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of a run: its cycles, beats and bursts, and the cycles from a burst's address to its last beat or its
    response, the longest and all together."""

    cycles: int
    beats_read: int
    beats_written: int
    bursts_read: int
    bursts_written: int
    longest_read: int
    longest_write: int
    total_read: int
    total_write: int

    @property
    def beats(self):
        return self.beats_read + self.beats_written


class _Counts(ctypes.Structure):
    """As AxiCounts in C++."""

    _fields_ = [(field.name, _U64) for field in fields(Counts)]


FOUND = np.dtype(
    [
        *((name, np.uint64) for name in ("cycle", "address")),
        *((name, np.uint8) for name in ("corrected", "failed", "scrubbed")),
    ],
    align=True,
)
"""What a controller with ecc told of the burst at ``address``, as Found in C++."""

_FUNCTIONS = {
    "create": (
        _P,
        ctypes.POINTER(Shape),
        ctypes.POINTER(Code),
        ctypes.POINTER(Times),
        _P,
        _U64,
        _U64,
        ctypes.c_char_p,
    ),
    "destroy": (None,),
    "memory": (ctypes.POINTER(ctypes.c_uint8),),
    "sideband": (_U64, _U64),
    "set_sideband": (None, _U64, _U64),
    "flip": (None, _U64, _U64),
    "different": (_U64, _P, _U64),
    "beyond": (_U64,),
    "cycle": (_U64,),
    "load": (None, _P, _U64),
    "idle": (None, _U64),
    "spoil": (None, _U64),
    "found": (_U64, ctypes.POINTER(_P)),
    "forget": (None,),
    "run": (ctypes.c_char_p, _P, _U64, ctypes.POINTER(_Traffic), _U64, ctypes.POINTER(_Counts)),
    "matches": (ctypes.c_int,),
    "counts": (None, ctypes.POINTER(_U64)),
    "finish": (None,),
    "report": (ctypes.c_char_p,),
}


class SimulatedController(StoredBits):
    """A controller of ``config``, after its reset, with its DRAM.

    Parameters
    ----------
    config : DramConfig
    memory_bytes : int, all of the DRAM by default
    checked : dict, times that the checker takes instead of the DRAM's, in memory clocks
    trace : path of a file to which commands are written, or None
    verilog : of another module ``dram_controller`` with its ports
    report : called with a line for each slow step of building the model

    Members
    -------
    memory : uint8 array, the DRAM's contents; gone after :meth:`close`
    """

    def __init__(
        self, config, memory_bytes=None, *, checked=None, trace=None, verilog=None, report=lambda text: None
    ):
        self.config = config
        memory_bytes = config.timing.bytes if memory_bytes is None else memory_bytes
        verilog = emit(DramController(config), "dram_controller") if verilog is None else verilog
        times = dram_times(config) | (checked or {})
        timing = config.timing
        rules = dram_rules(times, burst_clocks=timing.burst_clocks, bank_refresh=timing.bank_refresh)
        sources = {name: Path(__file__).with_name(name).read_text() for name in SOURCES}
        self._model = NativeObject(
            build_library(verilog, "dram_controller", sources, report=report),
            "controller",
            _FUNCTIONS,
            Shape.of(config),
            Code.of(config),
            Times(**times),
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

    def load(self, data):
        """Write ``data``, bytes from address 0 on, to the memory. What is changed in ``memory`` itself is
        found as an error when it is read."""
        data = np.ascontiguousarray(data, np.uint8)
        self._call("load", data.ctypes.data, len(data))

    def run(
        self,
        bursts,
        *,
        seed=0,
        stalls=Stalls(),
        partial=0.0,
        outstanding=0,
        drift=0,
        flips=0.0,
        max_cycles=1 << 40,
    ):
        """The :class:`Counts` of ``bursts`` (an array of :data:`~poblano_host.sim.traffic.BURST`), all
        offered as soon as they can be.

        Of written beats the part ``partial`` has random strobes. ``outstanding`` bounds the reads, and the
        writes, that are taken and not answered; with ``drift`` a burst is not offered before all but so many
        of those before it were taken. In the part ``flips`` of the cycles a bit of one of the bursts flips,
        if none of it has. SimulationError for data that differ, a breach of AXI's rules and no end.
        """
        bursts = np.ascontiguousarray(bursts, BURST)
        share = lambda probability: round(65536 * probability)
        traffic = _Traffic(
            seed,
            share(stalls.read),
            share(stalls.write),
            share(stalls.response),
            share(partial),
            outstanding,
            drift,
            share(flips),
        )
        counts = _Counts()
        error = self._call("run", bursts.ctypes.data, len(bursts), traffic, max_cycles, counts).decode()
        if error:
            raise SimulationError(error)
        return Counts(**{field.name: getattr(counts, field.name) for field in fields(Counts)})

    def idle(self, cycles):
        """Cycles without new bursts."""
        self._call("idle", cycles)

    def drain(self):
        """Go on until the DRAM holds all that was written. SimulationError if it never does."""
        for _ in range(DRAINED // 100):
            if self._call("matches"):
                return
            self.idle(100)
        raise SimulationError("the DRAM does not hold what was written")

    def spoil(self, address, *bits):
        """Flip two ``bits`` of the burst at ``address``, of one word: its reads are to fail until all of the
        word has been written."""
        code, data_bits = self.config.code, 8 * self.config.timing.burst_bytes
        for bit in bits:
            self.flip(address, bit)
        in_data = bits[0] < data_bits
        word = bits[0] // (8 * code.bytes) if in_data else (bits[0] - data_bits) // code.sideband_bits
        self._call("spoil", address + word * code.bytes)

    def take_found(self):
        """What the controller has told of bursts since the last call, an array of :data:`FOUND`."""
        pointer = _P()
        count = self._call("found", ctypes.byref(pointer))
        text = ctypes.string_at(pointer, count * FOUND.itemsize) if count else b""
        self._call("forget")
        return np.frombuffer(text, FOUND).copy()

    @property
    def cycle(self):
        return self._call("cycle")

    @property
    def beyond(self):
        """Column commands beyond the memory."""
        return self._call("beyond")

    @property
    def commands(self):
        """How many commands of each kind the DRAM has had, by name."""
        counts = (_U64 * len(KINDS))()
        self._call("counts", counts)
        return dict(zip(KINDS, counts))

    def violations(self):
        """The :class:`~poblano_host.sim.dram.Violations` up to now, also of refreshes that are late."""
        self._call("finish")
        return Violations(self._call("report").decode())
