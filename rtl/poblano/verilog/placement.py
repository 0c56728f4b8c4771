"""Placing components: submodules in simulation, instances of modules that stand once in Verilog."""

import contextvars
from pathlib import Path
import re

from amaranth.hdl import (
    ClockSignal,
    Const,
    Instance,
    ResetInserter,
    ResetSignal,
    Shape,
    Signal,
    Value,
    ValueCastable,
)
from amaranth.lib import wiring
from amaranth.lib.fifo import FIFOInterface

__all__ = ["Emitter", "SRAMPlatform", "arguments", "emitting", "name_ports", "place", "port_values", "source"]

SRAM_BITS, SRAM_DEPTH = 1024, 8
"""A memory of at least so many bits and words with one read and one write port is a ``poblano_sram``;
others are flip-flops."""
FIFO_PORTS = {
    "w_data": wiring.In,
    "w_en": wiring.In,
    "w_rdy": wiring.Out,
    "w_level": wiring.Out,
    "r_data": wiring.Out,
    "r_en": wiring.In,
    "r_rdy": wiring.Out,
    "r_level": wiring.Out,
}
"""Of Amaranth's FIFOs, which have no signature."""
SRAM_FILE = Path(__file__).parents[1] / "memory" / "sram.v"

_emitter: contextvars.ContextVar = contextvars.ContextVar("emitter", default=None)


def port_values(component):
    """Name, value and direction (from inside) of each port of ``component``; a struct is one packed port."""
    if isinstance(component, FIFOInterface):
        for name, flow in FIFO_PORTS.items():
            yield name, getattr(component, name), flow
        return
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Value) and not isinstance(value, Const) and len(value):
            yield "__".join(map(str, path)), value, member.flow


def name_ports(component, prefix):
    """The names of the signals of its ports in the module that has it (or in its own, with no ``prefix``)."""
    for port, value, _ in port_values(component):
        if isinstance(value, Signal):
            value.name = prefix + port


def arguments(component):
    """What, besides its class, determines a component's hardware: its constructor's arguments, kept as
    attributes."""
    members = (
        FIFO_PORTS
        if isinstance(component, FIFOInterface)
        else getattr(component, "signature", wiring.Signature({})).members
    )
    return {
        name: value
        for name, value in sorted(vars(component).items())
        if name not in members and not name.startswith("_")
    }


def _key(component):
    return type(component), tuple((name, repr(value)) for name, value in arguments(component).items())


class Emitter:
    """The modules of one emission, in a ``with`` block: ``names`` by what determines them, ``pending`` (name,
    component) that are not yet written, ``sources``: Verilog files by their modules.
    """

    def __init__(self, prefix):
        self.prefix = prefix
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


def place(m, name, component, *, reset=None):
    """Add ``component`` to ``m`` as submodule ``name``; returns ``component``.

    The component's class and public attributes (its constructor's arguments) must determine its hardware:
    all equal ones become one Verilog module. ``reset`` is an optional synchronous reset beside the
    domain's. In Amaranth's simulator this is a plain submodule. A component with ``VERILOG``, a file, is an
    instance of that file's module, with ``verilog_parameters``.
    """
    emitter = _emitter.get()
    if emitter is None:
        setattr(m.submodules, name, component if reset is None else ResetInserter(reset)(component))
        return component
    component._MustUse__used = True  # elaborated by emit(), perhaps as another, equal component
    name_ports(component, f"{name}__")
    if isinstance(component, FIFOInterface):
        # Else not a port, and 0. The stubs leave it out.
        m.d.comb += component.level.eq(component.r_level)  # type: ignore[attr-defined]
    ports = {
        ("i_" if flow == wiring.In else "o_") + port: value for port, value, flow in port_values(component)
    }
    if hasattr(component, "VERILOG"):
        source(m, name, component.VERILOG, parameters=component.verilog_parameters, **ports)
        return component
    sync_reset = ResetSignal("sync", allow_reset_less=True)
    ports["i_clk"] = ClockSignal("sync")
    ports["i_rst"] = sync_reset if reset is None else sync_reset | reset
    setattr(m.submodules, name, Instance(emitter.name_of(component), **ports))
    return component


def emitting():
    """Whether Verilog is being written: submodules need not be simulated."""
    return _emitter.get() is not None


def source(m, name, path, *, parameters, **ports):
    """Add to ``m``, as ``name``, an instance of the module ``poblano_`` and the name of the Verilog file
    ``path``; only while emitting.

    ``ports`` are those of :class:`~amaranth.hdl.Instance`, besides ``clk``.
    """
    setattr(m.submodules, name, _instance(path, parameters, **ports))


def _instance(path, parameters, **ports):
    module = f"poblano_{path.stem}"
    _emitter.get().sources[module] = path
    return Instance(
        module, **{f"p_{key}": value for key, value in parameters.items()}, **ports, i_clk=ClockSignal("sync")
    )


class SRAMPlatform:
    """Makes memories that ``poblano_sram`` can be into instances of it."""

    def get_memory(self, memory):
        width, depth = Shape.cast(memory.shape).width, memory.depth
        reads, writes = memory.read_ports, memory.write_ports
        if not (
            width * depth >= SRAM_BITS
            and depth >= SRAM_DEPTH
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
