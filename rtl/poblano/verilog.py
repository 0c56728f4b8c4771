"""Verilog out of Amaranth, with hardware that repeats emitted once and instantiated.

Amaranth emits a module for every submodule, so an array of 4,096 processing elements becomes 4,097 modules. A
component added with :func:`place` is, while :func:`emit` runs, an instance of a module that stands once in the output.
"""

from collections import Counter
import contextvars
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Const, Instance, ResetInserter, ResetSignal, Value, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["emit", "emitting", "place", "source"]

_emitter = contextvars.ContextVar("emitter", default=None)


def _ports(component):
    """Name, value and direction (from inside) of each port of ``component``; a struct is one packed port."""
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Value) and not isinstance(value, Const) and len(value):
            yield "__".join(map(str, path)), value, member.flow


def _key(component):
    """What determines the hardware: the class and the constructor's arguments, kept as attributes."""
    members = component.signature.members
    arguments = sorted((name, repr(value)) for name, value in vars(component).items()
                       if name not in members and not name.startswith("_"))
    return type(component), tuple(arguments)


class _Emitter:
    def __init__(self, prefix):
        self.prefix = prefix
        self.names = {}
        self.pending = []
        self.sources = {}

    def name_of(self, component):
        key = _key(component)
        if key not in self.names:
            base = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(component).__name__).lower()
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

    The component's class and public attributes (its constructor's arguments) must determine its hardware: all equal ones
    become one Verilog module. ``reset`` is an optional synchronous reset beside the domain's. In Amaranth's simulator this
    is a plain submodule. A component with ``VERILOG``, a file, is an instance of that file's module, with ``verilog_parameters``.
    """
    emitter = _emitter.get()
    if emitter is None:
        setattr(m.submodules, name, component if reset is None else ResetInserter(reset)(component))
        return component
    component._MustUse__used = True  # elaborated by emit(), perhaps as another, equal component
    ports = {("i_" if flow == wiring.In else "o_") + port: value for port, value, flow in _ports(component)}
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
    """Add to ``m``, as ``name``, an instance of the module ``poblano_`` and the name of the Verilog file ``path``; only while emitting.

    ``ports`` are those of :class:`~amaranth.hdl.Instance`, besides ``clk``.
    """
    module = f"poblano_{path.stem}"
    _emitter.get().sources[module] = path.read_text()
    setattr(m.submodules, name, Instance(module, **{f"p_{key}": value for key, value in parameters.items()}, **ports,
                                         i_clk=ClockSignal("sync")))


def _rtlil(component, name):
    """RTLIL of one module; instances of it may connect clk and rst even if it is combinational."""
    ports = {port: (value, PortDirection.Input if flow == wiring.In else PortDirection.Output)
             for port, value, flow in _ports(component)}
    text = rtlil.convert(component, name=name, ports=ports, emit_src=False)
    # Memories start at zero in simulation anyway; spelled out, they are most of the text.
    text = re.sub(r"^  cell \$meminit_v2 .*\n(?:    parameter .*\n)*    connect \\ADDR .*\n    connect \\DATA \d+'0+\n(?:    connect .*\n)*"
                  r"  end\n", "", text, flags=re.MULTILINE)
    text = _without_fields(text)
    # Amaranth names submodules with dots and, anonymous ones, with dollar signs.
    return re.sub(r"^( *(?:module|cell) \\)(\S+)", lambda match: match[1] + re.sub(r"[.$]", "_", match[2]), text,
                  flags=re.MULTILINE)


def _without_fields(text):
    """``text`` without the wires that only show fields of structs and elements of arrays: most of what a wide struct takes."""
    used = Counter(re.findall(r"\\\S+", text))
    driven = set(re.findall(r"^ {0,2}connect (\\\S+) ", text, re.MULTILINE))
    shown = lambda name: ("." in name or "[" in name) and name in driven and used[name] == 2  # declared and driven
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if line.startswith("  wire ") and shown(words[-1]) or line.startswith(("connect ", "  connect ")) and shown(words[1]):
            continue
        lines.append(line)
    return "".join(lines)


def emit(component, name, *, prefix="poblano_"):
    """Verilog-2005 of ``component`` as module ``name``, with every module that it places, as one string."""
    emitter = _Emitter(prefix)
    token = _emitter.set(emitter)
    try:
        texts = [_rtlil(component, name)]
        done = []
        while emitter.pending:
            module, placed = emitter.pending.pop(0)
            text = _rtlil(placed, module)
            done.append((module, re.search(r"wire width 1 input \d+\s+\\clk$", text, re.MULTILINE) is not None,
                         re.search(r"wire width 1 input \d+\s+\\rst$", text, re.MULTILINE) is not None))
            texts.append(text)
    finally:
        _emitter.reset(token)
    clocked = {module: (clk, rst) for module, clk, rst in done}
    text = "\n".join(_connect_only_existing(t, clocked) for t in texts)
    if both := {name, *emitter.names.values()} & set(emitter.sources):
        raise ValueError(f"a component and a Verilog file have the same module name: {', '.join(sorted(both))}")

    return "\n".join([_yosys_verilog(text), *emitter.sources.values()])


def _yosys_verilog(text):
    """RTLIL to Verilog by yosys, in a process of its own because it writes its log to standard output."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "design.il"), Path(folder, "design.v")
        source.write_text(text)
        commands = (f"read_rtlil {source}", "proc -nomux -norom", "memory_collect",
                    f"write_verilog -noattr -norename {target}")
        program = ("from pyosys import libyosys\ndesign = libyosys.Design()\n"
                   + "".join(f"libyosys.run_pass({command!r}, design)\n" for command in commands))
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        if result.returncode or not target.exists():
            raise RuntimeError("yosys failed to write Verilog:\n" + (result.stdout + result.stderr)[-2000:])
        return target.read_text()


def _connect_only_existing(text, clocked):
    """``text`` with clk and rst connections removed from cells whose module does not have these ports."""
    lines, module = [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("cell "):
            module = clocked.get(stripped.split()[1].lstrip("\\"))
        elif stripped == "end":
            module = None
        if module is not None:
            if stripped.startswith("connect \\clk ") and not module[0]:
                continue
            if stripped.startswith("connect \\rst ") and not module[1]:
                continue
        lines.append(line)
    return "\n".join(lines) + "\n"
