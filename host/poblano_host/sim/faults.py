"""Faults in a chip's simulation: flipped bits of registers and memories, and memory ports that fail."""

import ctypes
from dataclasses import dataclass
import enum
import re

from .simulation import Simulation, build_chip

__all__ = ["Channel", "FaultySimulation", "Register", "Response", "registers_of"]

_U64, _U32, _POINTER = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p


INDEX = r"(?:\[(?:[^][]|\[[^][]*\])*\])*"
ASSIGNED = re.compile(rf"(?:(\w+){INDEX}|\{{([^{{}}]*)\}}) *<=")
"""A register, perhaps bits of it, or several registers, to which a clocked process assigns."""


class Channel(enum.IntFlag):
    """Channels of an AXI4 port, as in ``memory.h``."""

    AR = 1
    R = 2
    AW = 4
    W = 8
    B = 16


class Response(enum.IntEnum):
    """Error responses of AXI4."""

    SLVERR = 2
    DECERR = 3


class _State(ctypes.Structure):
    """As State in C++."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("scope", "name")),
        ("data", _POINTER),
        *((name, _U32) for name in ("width", "depth", "stride", "reserved")),
    ]


@dataclass(frozen=True)
class Register:
    """A register, or a memory of ``depth`` words, of ``width`` bits: ``number`` in the model, its name, and
    the names of the instances that it is in, from the chip's parts on."""

    number: int
    path: tuple
    name: str
    width: int
    depth: int

    @property
    def bits(self):
        return self.width * self.depth


def registers_of(verilog):
    """(module, register) of all that clocked processes of the ``verilog`` assign."""
    found = []
    for module in re.finditer(r"^module (\w+)\b.*?^endmodule", verilog, re.MULTILINE | re.DOTALL):
        text = module[0]
        lists = re.findall(r"\breg (?:signed )?(?:\[[^\]]*\] )?(\w+(?:, *\w+)*)", text)
        declared = set(re.findall(r"\w+", " ".join(lists)))
        clocked = re.findall(r"always @\(posedge.*?(?=^ *(?:always|assign|endmodule))", text, re.M | re.S)
        assigned = {
            name
            for part in clocked
            for one, several in ASSIGNED.findall(part)
            for name in [one, *re.findall(r"\w+", several)]
        }
        found += [(module[1], name) for name in sorted(declared & assigned)]
    return found


def _build(verilog, top, sources, *, no_inline, blocks, **options):
    """One model, as the registers of blocks would not be its own."""
    named = dict(no_inline=[*no_inline, *blocks], visible=registers_of(verilog))
    return build_chip(verilog, top, sources, **named, **options)


class FaultySimulation(Simulation):
    """A :class:`~poblano_host.sim.simulation.Simulation` whose every register and memory can be flipped, and
    which goes on whatever the chip does at its memory's ports.

    A model of its own: the other is not slower for it.

    Members
    -------
    registers : list of :class:`Register`
    """

    SOURCES = (*Simulation.SOURCES, "faults.h")
    FUNCTIONS = Simulation.FUNCTIONS | {
        "state": (_U64, ctypes.POINTER(_POINTER)),
        "flip_register": (None, _U64, _U64, _U64),
    }

    def __init__(self, *arguments, build=_build, **options):
        super().__init__(*arguments, build=build, **options)
        self._call("tolerate")
        self.tolerant = True
        pointer = _POINTER()
        count = self._call("state", ctypes.byref(pointer))
        self.registers = [
            Register(n, _path(state.scope), state.name.decode(), state.width, state.depth)
            for n, state in enumerate(ctypes.cast(pointer, ctypes.POINTER(_State))[:count])
        ]

    @property
    def beats_read(self):
        """Since the simulation's start."""
        return self._call("beats_read")

    @property
    def bursts_written(self):
        """Writes that AXI4 ports have answered."""
        return self._call("responded")

    def flip(self, register, word, bit):
        """Flip a bit of a :class:`Register`, before the clock edge that comes."""
        if not (0 <= word < register.depth and 0 <= bit < register.width):
            raise ValueError(
                f"{register.name} has {register.depth} words of {register.width} bits: no bit {bit} of {word}"
            )
        self._call("flip_register", register.number, word, bit)

    def fail_beat(self, *, write, number, response, home=0):
        """Answer beat ``number`` of the data read from now on, or burst ``number`` of those written, with an
        error; only of AXI4 ports."""
        self._call("fail_beat", home, write, number, response)

    def silence(self, channels, cycles, *, home=0):
        """Let the ``channels`` of an AXI4 port be silent for so many cycles from now on."""
        self._call("silence", home, channels, cycles)


def _path(scope):
    """The instances in a scope's name, as tile0 and stream in TOP.chip.inside_chip.tile0.stream."""
    return tuple(name for name in scope.decode().split(".") if name not in ("TOP", "chip", "inside_chip"))
