"""Verilog of a component and of all that it places."""

from contextlib import contextmanager
from dataclasses import dataclass
import gc
from pathlib import Path
import re
import subprocess
import sys
import tempfile
from typing import NamedTuple

from amaranth.back import rtlil  # type: ignore[attr-defined]  # not in amaranth-stubs
from amaranth.hdl import Format, Fragment, Instance, Value, _nir
from amaranth.hdl._ir import PortDirection
from amaranth.lib import data, wiring

from .placement import Emitter, SRAMPlatform, name_ports
from .ports import Top, port_values
from .processes import without_start
from .text import (
    connect_only_existing,
    plain,
    plain_names,
    tidy,
    without_empty,
    without_fields,
    without_zeros,
)

__all__ = ["Placed", "VerilogModule", "emit", "emit_modules"]

DIRECTIONS = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output, None: PortDirection.Inout}
"""Of a port by its flow; one of both directions has none."""


class Placed(NamedTuple):
    """An instance called ``name`` of ``module`` in another module, with its parameters."""

    name: str
    module: str
    parameters: dict


@dataclass(frozen=True)
class VerilogModule:
    """A module's Verilog; ``origin`` is the component that it comes from, or the path of the Verilog file;
    ``instances``: a :class:`Placed` for each module in it."""

    name: str
    text: str
    origin: object
    instances: tuple[Placed, ...] = ()


def emit(component, name, *, clock_gates=True, simulation=True):
    """Verilog-2005 of ``component`` as module ``name``, with every module that it places, as one string;
    without ``clock_gates`` there is one clock.

    The compiled models take the form for ``simulation``, in which a register's next value is a signal; for
    other tools, the form without is shorter and reads better. Both have the same registers and outputs.
    """
    modules = emit_modules(component, name, clock_gates=clock_gates, simulation=simulation)
    return "\n".join(module.text for module in modules)


def emit_modules(component, name, *, prefix="poblano_", loops=True, clock_gates=True, simulation=True):
    """As :func:`emit`, a list of :class:`VerilogModule`, the top first. Without ``loops`` combinational
    loops are not found."""
    origins, clocked, instances = {}, {}, {}
    with Emitter(prefix, clock_gates=clock_gates) as emitter, _lean(loops):
        texts = [_rtlil(component, name, origins, instances, top=True)]
        while emitter.pending:
            module, placed = emitter.pending.pop(0)
            name_ports(placed, "")
            text = _rtlil(placed, module, origins, instances)
            has = lambda port: (
                re.search(rf"wire width 1 input \d+\s+\\{port}$", text, re.MULTILINE) is not None
            )
            clocked[module] = (has("clk"), has("rst"))
            texts.append(text)
    if both := {name, *emitter.names.values()} & set(emitter.sources):
        raise ValueError(
            f"a component and a Verilog file have the same module name: {', '.join(sorted(both))}"
        )
    text = "\n".join(connect_only_existing(text, clocked) for text in texts)
    order = {module: n for n, module in enumerate(re.findall(r"^module \\(\S+)$", text, re.MULTILINE))}
    modules = []
    for part in re.finditer(r"^module (\w+).*?^endmodule\n", _yosys_verilog(text), re.MULTILINE | re.DOTALL):
        tidied = tidy(part[0]) if simulation else without_start(tidy(part[0]))
        placed = tuple(instances.get(part[1], ()))
        modules.append(VerilogModule(part[1], tidied, origins.get(part[1]), placed))
    modules.sort(key=lambda module: order[module.name])
    return modules + [
        VerilogModule(module, path.read_text(), path) for module, path in sorted(emitter.sources.items())
    ]


def _rtlil(component, name, origins, instances, *, top=False):
    """RTLIL of a module and of those inside it, whose Amaranth objects are added to ``origins``, and what
    they place to ``instances``."""
    design = Top(component) if top else component
    ports = {
        port: (value, DIRECTIONS[flow])
        for port, value, flow in (design.ports if top else port_values(component))
    }
    fragment = Fragment.get(design, SRAMPlatform())
    _note(fragment, name, origins, instances)
    origins[plain(name)] = component
    text = rtlil.convert(fragment, name=name, ports=ports, emit_src=False)
    return plain_names(without_empty(without_fields(without_zeros(text))))


def _note(fragment, name, origins, instances):
    if fragment.origins:
        origins[plain(name)] = fragment.origins[0]
    placed = instances.setdefault(plain(name), [])
    for index, (inner, inner_name, _) in enumerate(fragment.subfragments):
        inner_name = inner_name or f"U${index}"
        if type(inner) is Fragment:
            _note(inner, f"{name}.{inner_name}", origins, instances)
            placed.append(Placed(inner_name, plain(f"{name}.{inner_name}"), {}))
        elif isinstance(inner, Instance):
            kind, parameters = inner.type, inner.parameters  # type: ignore[attr-defined]  # not in the stubs
            placed.append(Placed(inner_name, kind, dict(parameters)))


@contextmanager
def _lean(loops):
    """Makes Amaranth three times as fast: it spends no time on wires for the fields of structs, on checking
    the type of every bit and on looking for garbage; nor, without ``loops``, on looking for combinational
    loops."""
    plain = lambda self, value, format_spec: Format("{}", Value.cast(value))
    values = lambda cls, nets=(): tuple.__new__(cls, (nets,) if isinstance(nets, _nir.Net) else nets)
    patches: list[tuple] = [
        (data.Layout, "format", plain),
        (data.ArrayLayout, "format", plain),
        (_nir.Value, "__new__", values),
    ]
    if not loops:
        patches.append((_nir.Netlist, "check_comb_cycles", lambda self: None))
    before = [vars(target)[name] for target, name, _ in patches]
    collecting = gc.isenabled()
    gc.disable()
    for target, name, function in patches:
        setattr(target, name, function)
    try:
        yield
    finally:
        for (target, name, _), function in zip(patches, before):
            setattr(target, name, function)
        if collecting:
            gc.enable()


def _yosys_verilog(text):
    """RTLIL to Verilog by yosys, in a process of its own because it writes its log to standard output."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "design.il"), Path(folder, "design.v")
        source.write_text(text)
        commands = (
            f"read_rtlil {source}",
            "proc -nomux -norom",
            "memory_collect",
            f"write_verilog -noattr {target}",
        )
        program = "from pyosys import libyosys\ndesign = libyosys.Design()\n" + "".join(
            f"libyosys.run_pass({command!r}, design)\n" for command in commands
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        if result.returncode or not target.exists():
            raise RuntimeError("yosys failed to write Verilog:\n" + (result.stdout + result.stderr)[-2000:])
        return target.read_text()
