"""Verilog out of Amaranth, with hardware that repeats emitted once and instantiated.

Amaranth emits a module for every submodule, so an array of 4,096 processing elements becomes 4,097 modules.
A component added with :func:`place` is, while :func:`emit` runs, an instance of a module that stands once
in the output. Memories of some size become instances of ``poblano_sram``.
"""

from collections import Counter
from contextlib import contextmanager
import contextvars
from dataclasses import dataclass
import gc
from pathlib import Path
import re
import subprocess
import sys
import tempfile

from amaranth.back import rtlil  # type: ignore[attr-defined]  # not in amaranth-stubs
from amaranth.hdl import (
    ClockSignal,
    Format,
    Fragment,
    Instance,
    ResetInserter,
    ResetSignal,
    Shape,
    Signal,
    Value,
    _nir,
)
from amaranth.hdl._ir import PortDirection
from amaranth.lib import data, wiring

from .ports import Top, port_values

__all__ = [
    "SRAM_BITS",
    "SRAM_DEPTH",
    "VerilogModule",
    "arguments",
    "emit",
    "emit_modules",
    "emitting",
    "place",
    "source",
]

SRAM_BITS, SRAM_DEPTH = 1024, 8
"""A memory of at least so many bits and words with one read and one write port is a ``poblano_sram``;
others are flip-flops."""
KEYWORDS = frozenset(
    """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before
begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class
clocking cmos config const constraint context continue cover covergroup coverpoint cross deassign
default defparam design disable dist do edge else end endcase endchecker endclass endclocking endconfig
endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram endproperty
endsequence endspecify endtable endtask enum event eventually expect export extends extern final
first_match for force foreach forever fork forkjoin function generate genvar global highz0 highz1 if iff
ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input inside
instance int integer interconnect interface intersect join join_any join_none large let liblist library
local localparam logic longint macromodule matches medium modport module nand negedge nettype new
nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge
primitive priority program property protected pull0 pull1 pulldown pullup pulsestyle_ondetect
pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg reject_on release
repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until
s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on
sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri
tri0 tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped use
uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire with within
wor xnor xor
""".split()
)
"""Reserved in Verilog and SystemVerilog."""
SRAM_FILE = Path(__file__).with_name("memory") / "sram.v"

_emitter: contextvars.ContextVar = contextvars.ContextVar("emitter", default=None)


def _name_ports(component, prefix):
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


class _Emitter:
    def __init__(self, prefix):
        self.prefix = prefix
        self.names = {}
        self.pending = []
        self.sources = {}
        self.origins = {}

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
    _name_ports(component, f"{name}__")
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


class _Platform:
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


def _rtlil(component, name, origins, *, top=False):
    """RTLIL of a module and of those inside it, whose Amaranth objects are added to ``origins``."""
    design = Top(component) if top else component
    ports = {
        port: (value, PortDirection.Input if flow == wiring.In else PortDirection.Output)
        for port, value, flow in (design.ports if top else port_values(component))
    }
    fragment = Fragment.get(design, _Platform())
    _note_origins(fragment, name, origins)
    origins[_plain(name)] = component
    text = rtlil.convert(fragment, name=name, ports=ports, emit_src=False)
    # Memories start at zero in simulation anyway; spelled out, they are most of the text.
    text = re.sub(
        r"^  cell \$meminit_v2 .*\n(?:    parameter .*\n)*    connect \\ADDR .*\n    connect \\DATA "
        r"\d+'0+\n(?:    connect .*\n)*"
        r"  end\n",
        "",
        text,
        flags=re.MULTILINE,
    )
    return _plain_names(_without_empty(_without_fields(text)))


def _note_origins(fragment, name, origins):
    if fragment.origins:
        origins[_plain(name)] = fragment.origins[0]
    for index, (inner, inner_name, _) in enumerate(fragment.subfragments):
        if type(inner) is Fragment:
            _note_origins(inner, f"{name}.{inner_name or f'U${index}'}", origins)


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


def _plain(name):
    """``name`` without the dots and dollar signs that Amaranth puts into names of submodules and of signals
    of one name."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return name + "_" if name in KEYWORDS else name if name.isidentifier() else "n" + name


def _plain_names(text):
    """``text`` with names that Verilog need not escape."""
    text = re.sub(
        r"^((?:module|  cell) \\)(\S+)", lambda match: match[1] + _plain(match[2]), text, flags=re.MULTILINE
    )
    names = set(re.findall(r"\\([^\s\"\\]+)", text))
    plain: dict[str, str] = {}
    for name in sorted(name for name in names if name != _plain(name)):
        new, n = _plain(name), 1
        while new in names:
            n += 1
            new = f"{_plain(name)}_{n}"
        names.add(new)
        plain[name] = new
    return re.sub(r"\\([^\s\"\\]+)", lambda match: "\\" + plain.get(match[1], match[1]), text)


def _without_empty(text):
    """``text`` without operators and wires of no bits, which Verilog does not have."""
    text = re.sub(
        r"^  cell .*\n(?:    parameter .*\n)*    parameter \\(?:Y_)?WIDTH 0\n(?:    .*\n)*  end\n|^ "
        r"{0,2}connect \S+ \{ *\}\n",
        "",
        text,
        flags=re.MULTILINE,
    )
    modules = []
    for module in re.split(r"^(?=module )", text, flags=re.MULTILINE):
        uses = Counter(re.findall(r"\S+", module)) if "  wire width 0 " in module else {}
        modules.append(
            re.sub(
                r"^  wire width 0 .*?(\S+)\n",
                lambda match: "" if uses[match[1]] == 1 else match[0],
                module,
                flags=re.MULTILINE,
            )
        )
    return "".join(modules)


def _without_fields(text):
    """``text`` without the wires that only show fields of structs and elements of arrays: most of what a
    wide struct takes."""
    used = Counter(re.findall(r"\\\S+", text))
    driven = set(re.findall(r"^ {0,2}connect (\\\S+) ", text, re.MULTILINE))
    shown = lambda name: (
        ("." in name or "[" in name) and name in driven and used[name] == 2
    )  # declared and driven
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if (
            line.startswith("  wire ")
            and shown(words[-1])
            or line.startswith(("connect ", "  connect "))
            and shown(words[1])
        ):
            continue
        lines.append(line)
    return "".join(lines)


@dataclass(frozen=True)
class VerilogModule:
    """A module's Verilog; ``origin`` is the component that it comes from, or the path of the Verilog file."""

    name: str
    text: str
    origin: object


def emit(component, name, *, prefix="poblano_"):
    """Verilog-2005 of ``component`` as module ``name``, with every module that it places, as one string."""
    return "\n".join(module.text for module in emit_modules(component, name, prefix=prefix))


def emit_modules(component, name, *, prefix="poblano_", loops=True):
    """As :func:`emit`, a list of :class:`VerilogModule`, the top first. Without ``loops`` combinational
    loops are not found."""
    emitter = _Emitter(prefix)
    token = _emitter.set(emitter)
    try:
        with _lean(loops):
            texts = [_rtlil(component, name, emitter.origins, top=True)]
            done = []
            while emitter.pending:
                module, placed = emitter.pending.pop(0)
                _name_ports(placed, "")
                text = _rtlil(placed, module, emitter.origins)
                done.append(
                    (
                        module,
                        re.search(r"wire width 1 input \d+\s+\\clk$", text, re.MULTILINE) is not None,
                        re.search(r"wire width 1 input \d+\s+\\rst$", text, re.MULTILINE) is not None,
                    )
                )
                texts.append(text)
    finally:
        _emitter.reset(token)
    clocked = {module: (clk, rst) for module, clk, rst in done}
    text = "\n".join(_connect_only_existing(t, clocked) for t in texts)
    if both := {name, *emitter.names.values()} & set(emitter.sources):
        raise ValueError(
            f"a component and a Verilog file have the same module name: {', '.join(sorted(both))}"
        )
    order = {module: n for n, module in enumerate(re.findall(r"^module \\(\S+)$", text, re.MULTILINE))}
    modules = []
    for part in re.finditer(r"^module (\w+).*?^endmodule\n", _yosys_verilog(text), re.MULTILINE | re.DOTALL):
        modules.append(VerilogModule(part[1], _tidy(part[0]), emitter.origins.get(part[1])))
    modules.sort(key=lambda module: order[module.name])
    return modules + [
        VerilogModule(module, path.read_text(), path) for module, path in sorted(emitter.sources.items())
    ]


def _tidy(text):
    """``text`` of a module by yosys, with each port declared once, and the next value of a register called
    so."""
    text = re.sub(r"^(  (?:in|out)put ((?:\[.*?\] )?\w+;)\n)  wire \2\n", r"\1", text, flags=re.MULTILINE)
    following = {
        temporary: f"{register}_next"
        for register, temporary in re.findall(r"^    (\w+) <= (_\d+_);$", text, re.MULTILINE)
    }
    taken = set(re.findall(r"\w+_next\b", text))
    text = re.sub(
        r"\b_\d+_\b",
        lambda match: name if (name := following.get(match[0])) and name not in taken else match[0],
        text,
    )
    # It makes processes run at the start of a simulation.
    return re.sub(r"\\\$auto\$verilog_backend\S+ ?", "simulation_start", text)


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
