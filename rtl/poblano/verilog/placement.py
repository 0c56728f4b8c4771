"""Placing components: submodules in simulation, instances of modules that stand once in Verilog."""

import contextvars
from pathlib import Path
import re

from amaranth.hdl import (
    ClockSignal,
    EnableInserter,
    Instance,
    ResetInserter,
    ResetSignal,
    Shape,
    Signal,
    Value,
)
from amaranth.lib import wiring

from ..clock_gate import CLOCK_GATE_FILE
from .ports import port_values

__all__ = [
    "Emitter",
    "GatedClock",
    "SRAMPlatform",
    "arguments",
    "emitting",
    "gated_clock",
    "is_sram",
    "name_ports",
    "place",
    "source",
]

SRAM_BITS, SRAM_DEPTH = 1024, 8
"""A memory of at least so many bits and words with one read and one write port is a ``poblano_sram``;
others are flip-flops."""
SRAM_FILE = Path(__file__).parents[1] / "memory" / "sram.v"

_emitter: contextvars.ContextVar = contextvars.ContextVar("emitter", default=None)


def is_sram(width, depth):
    """Whether a memory of ``depth`` words of ``width`` bits with the ports of a ``poblano_sram`` is one."""
    return width * depth >= SRAM_BITS and depth >= SRAM_DEPTH


def name_ports(component, prefix):
    """The names of the signals of its ports in the module that has it (or in its own, with no ``prefix``)."""
    for port, value, _ in port_values(component):
        if isinstance(value, Signal):
            value.name = prefix + port


def arguments(component):
    """What, besides its class, determines a component's hardware: its constructor's arguments, kept as
    attributes."""
    members = getattr(component, "signature", wiring.Signature({})).members
    return {
        name: value
        for name, value in sorted(vars(component).items())
        if name not in members and not name.startswith("_")
    }


def _key(component):
    return type(component), tuple((name, repr(value)) for name, value in arguments(component).items())


class Emitter:
    """The modules of one emission, in a ``with`` block: ``names`` by what determines them, ``pending`` (name,
    component) that are not yet written, ``sources``: Verilog files by their modules; ``clock_gates``: whether
    clocks are gated.
    """

    def __init__(self, prefix, *, clock_gates=True):
        self.prefix, self.clock_gates = prefix, clock_gates
        self.names = {}
        self.pending = []
        self.sources = {}

    def __enter__(self):
        self._token = _emitter.set(self)
        return self

    def __exit__(self, *exception):
        _emitter.reset(self._token)

    def name_of(self, component):
        key = _key(component)
        if key not in self.names:
            base = re.sub(
                r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(component).__name__
            ).lower()
            base = self.prefix + base
            taken = set(self.names.values())
            name, n = base, 1
            while name in taken:
                n += 1
                name = f"{base}_{n}"
            self.names[key] = name
            self.pending.append((name, component))
        return self.names[key]


class GatedClock:
    """A clock that stands still: ``enable`` is 1 in the cycles at whose end it ticks, ``clock`` the gate's
    output, or None without a gate."""

    def __init__(self, enable, clock):
        self.enable, self.clock = enable, clock


def gated_clock(m, name, active):
    """The :class:`GatedClock` of components of ``m`` that :func:`place` is to give it to: it ticks in cycles
    with ``active`` and during the domain's reset.

    A component that it is given to must do nothing that can be seen from outside, in a cycle without
    ``active`` or because of one, if its clock ticked then: so that with and without gates all is equal,
    cycle by cycle. In the Verilog it is an instance of ``poblano_clock_gate`` called ``name_gate``; emitted
    without clock gates, for FPGAs, all clocks tick always.
    """
    enable = Signal(name=f"{name}_active")
    m.d.comb += enable.eq(active | ResetSignal("sync", allow_reset_less=True))
    emitter = _emitter.get()
    if emitter is None or not emitter.clock_gates:
        return GatedClock(enable, None)
    clock = Signal(name=f"{name}_clk")
    source(m, f"{name}_gate", CLOCK_GATE_FILE, parameters={}, i_en=enable, o_gclk=clock)
    return GatedClock(enable, clock)


def place(m, name, component, *, reset=None, clock=None):
    """Add ``component`` to ``m`` as submodule ``name``; returns ``component``.

    The component's class and public attributes (its constructor's arguments) must determine its hardware:
    all equal ones become one Verilog module. ``reset`` is an optional synchronous reset beside the
    domain's; ``clock`` a :class:`GatedClock` that is not to stand still while ``reset``. In Amaranth's
    simulator this is a plain submodule. A component with ``VERILOG``, a file, is an instance of that file's
    module, with ``verilog_parameters``.
    """
    emitter = _emitter.get()
    if emitter is None:
        part = component if reset is None else ResetInserter(reset)(component)
        setattr(m.submodules, name, part if clock is None else EnableInserter(clock.enable)(part))
        return component
    component._MustUse__used = True  # elaborated by emit(), perhaps as another, equal component
    name_ports(component, f"{name}__")
    ports = {
        ("i_" if flow == wiring.In else "o_") + port: value for port, value, flow in port_values(component)
    }
    if hasattr(component, "VERILOG"):
        source(m, name, component.VERILOG, parameters=component.verilog_parameters, clock=clock, **ports)
        return component
    sync_reset = ResetSignal("sync", allow_reset_less=True)
    ports["i_clk"] = _clock_of(clock)
    ports["i_rst"] = sync_reset if reset is None else sync_reset | reset
    setattr(m.submodules, name, Instance(emitter.name_of(component), **ports))
    return component


def emitting():
    """Whether Verilog is being written: submodules need not be simulated."""
    return _emitter.get() is not None


def source(m, name, path, *, parameters, clock=None, **ports):
    """Add to ``m``, as ``name``, an instance of the module ``poblano_`` and the name of the Verilog file
    ``path``; only while emitting.

    ``ports`` are those of :class:`~amaranth.hdl.Instance`, besides ``clk``, which is the domain's or
    ``clock``, a :class:`GatedClock`.
    """
    setattr(m.submodules, name, _instance(path, parameters, clock, **ports))


def _clock_of(gated):
    return ClockSignal("sync") if gated is None or gated.clock is None else gated.clock


def _instance(path, parameters, clock=None, **ports):
    module = f"poblano_{path.stem}"
    _emitter.get().sources[module] = path
    return Instance(
        module, **{f"p_{key}": value for key, value in parameters.items()}, **ports, i_clk=_clock_of(clock)
    )


class SRAMPlatform:
    """Makes memories that ``poblano_sram`` can be into instances of it."""

    def get_memory(self, memory):
        width, depth = Shape.cast(memory.shape).width, memory.depth
        reads, writes = memory.read_ports, memory.write_ports
        if not (
            is_sram(width, depth)
            and len(reads) == len(writes) == 1
            and not any(memory.init)
            and reads[0].domain == writes[0].domain == "sync"
            and not reads[0].transparent_for
        ):
            return memory.elaborate(None)
        (read,), (write,) = reads, writes
        return _instance(
            SRAM_FILE,
            {"WIDTH": width, "DEPTH": depth, "ADDR": len(read.addr), "GRANULARITY": width // len(write.en)},
            i_read__en=read.en,
            i_read__addr=read.addr,
            o_read__data=Value.cast(read.data),
            i_write__en=write.en,
            i_write__addr=write.addr,
            i_write__data=Value.cast(write.data),
        )
