"""A module of standard cells: its cells and nets, long nets buffered, and its Verilog."""

from dataclasses import dataclass, field
import re

__all__ = ["Instance", "Module", "buffered", "identifier", "structural", "summary"]


@dataclass
class Instance:
    """A cell of the library, or another module; ``pins`` has the bits of each: numbers of nets, "0" or
    "1"."""

    name: str
    kind: str
    pins: dict


@dataclass
class Module:
    """A module of cells.

    ``ports``: name to (direction, bits). ``names``: public name to bits, in the RTL's words. ``macro``: a
        black box, whose
    ``parameters`` say its size; ``boxes``: those of the module's own memories. ``rtl`` is the module's RTLIL.
    """

    name: str
    ports: dict
    instances: list
    names: dict = field(default_factory=dict)
    macro: bool = False
    parameters: dict = field(default_factory=dict)
    rtl: str = ""
    boxes: dict = field(default_factory=dict)

    @property
    def inputs(self):
        return {name: bits for name, (direction, bits) in self.ports.items() if direction == "input"}

    @property
    def outputs(self):
        return {name: bits for name, (direction, bits) in self.ports.items() if direction == "output"}

    @staticmethod
    def from_json(name, content):
        """Of yosys' JSON; x and z become 0."""
        clean = lambda bits: [bit if isinstance(bit, int) else "1" if bit == "1" else "0" for bit in bits]
        ports = {port: (value["direction"], clean(value["bits"])) for port, value in content["ports"].items()}
        instances = [
            Instance(cell, value["type"], {pin: clean(bits) for pin, bits in value["connections"].items()})
            for cell, value in content["cells"].items()
            if value["type"] != "$scopeinfo"
        ]
        names = {
            wire: clean(value["bits"])
            for wire, value in content["netnames"].items()
            if not value["hide_name"] or wire.startswith("$memory")
        }
        called = {}
        for wire, bits in names.items():
            for n, bit in enumerate(bits):
                called.setdefault(bit, f"{wire}_{n}" if len(bits) > 1 else wire)
        taken = {instance.name for instance in instances}
        for n, instance in enumerate(instances):
            if instance.name.startswith("$"):
                # A cell of the library, by what it drives.
                output = [bits[0] for pin, bits in instance.pins.items() if pin in ("Q", "Y") and bits]
                named = re.sub(r"\W", "_", called.get(output[0], "")) if output else ""
                instance.name = named if named and named not in taken else f"g{n}"
                while instance.name in taken:
                    instance.name += "_"
                taken.add(instance.name)
        return Module(name, ports, instances, names)


def summary(modules, top):
    """How often each module stands in ``top`` (itself once)."""
    counts = dict.fromkeys(modules, 0)

    def order(name, seen, result):
        if name not in seen:
            seen.add(name)
            for instance in modules[name].instances:
                if instance.kind in modules:
                    order(instance.kind, seen, result)
            result.append(name)
        return result

    counts[top] = 1
    for name in reversed(order(top, set(), [])):
        for instance in modules[name].instances:
            if instance.kind in counts:
                counts[instance.kind] += counts[name]
    return {name: count for name, count in counts.items() if count}


LONG = 0.15
"""pF that a net may have before it is given buffers."""
BRANCH = 0.3
"""pF that a buffer of a tree may drive."""


def buffered(modules, top, library, *, clocks=("clk",)):
    """``modules`` with trees of buffers on all nets but ``clocks`` that have more to drive than a cell
    should; submodules first.

    Wires have no capacitance yet: a load is what pins have. Returns the new modules (by name) and the loads
    of their input ports.
    """
    result, loads = {}, {}

    def of(name):
        if name in result:
            return
        module = modules[name]
        if module.macro:
            result[name] = module
            loads[name] = {port: [MACRO_LOAD] * len(bits) for port, bits in module.inputs.items()}
            return
        for instance in module.instances:
            if instance.kind in modules:
                of(instance.kind)
        instances, total = _buffered_nets(module, library, _sinks(module, modules, library, loads), clocks)
        result[name] = Module(module.name, module.ports, instances, module.names, rtl=module.rtl)
        loads[name] = {port: [total.get(bit, 0.0) for bit in bits] for port, bits in module.inputs.items()}

    of(top)
    return result, loads


def _sinks(module, modules, library, loads):
    """(load, instance's number, pin, bit of the pin) of all that each net drives."""
    sinks = {}
    for index, instance in enumerate(module.instances):
        if instance.kind in modules:
            given = loads[instance.kind]
            found = [
                (bit, (given[port][n], index, port, n))
                for port, bits in instance.pins.items()
                if port in given
                for n, bit in enumerate(bits)
            ]
        elif instance.kind in library.cells:
            found = [
                (bit, (load, index, pin, n))
                for pin, load in library.cells[instance.kind].capacitance.items()
                for n, bit in enumerate(instance.pins.get(pin, ()))
            ]
        else:
            continue
        for bit, sink in found:
            if isinstance(bit, int):
                sinks.setdefault(bit, []).append(sink)
    return sinks


def _clock_bits(module, library, clocks):
    """The nets of the ports ``clocks``, of instances' too, and of flip-flops' clocks, gated or not."""
    bits = {bit for port, bits in module.ports.items() if port in clocks for bit in bits[1]}
    for instance in module.instances:
        cell = library.cells.get(instance.kind)
        if cell is None:
            bits.update(bit for pin in clocks for bit in instance.pins.get(pin, ()))
        elif cell.state:
            bits.update(instance.pins[cell.state[1].pins[0]])
    return bits


def _buffered_nets(module, library, sinks, clocks):
    """The module's instances with the buffers, and the load of each net."""
    buffer = library.buffers[-1]
    buffer_in, (buffer_out,) = buffer.inputs[0], buffer.outputs
    clock_bits = _clock_bits(module, library, clocks)
    instances = [
        Instance(i.name, i.kind, {pin: list(bits) for pin, bits in i.pins.items()}) for i in module.instances
    ]
    used = [bit for i in instances for bits in i.pins.values() for bit in bits]
    used += [bit for _, bits in module.ports.values() for bit in bits]
    fresh = 1 + max([bit for bit in used if isinstance(bit, int)] + [1])
    total = {}
    for net, pins in sorted(sinks.items()):
        level, number = pins, 0
        while net not in clock_bits and sum(pin[0] for pin in level) > LONG and len(level) > 1:
            groups = _groups(level)
            if len(groups) * buffer.capacitance[buffer_in] >= sum(pin[0] for pin in level):
                break
            level = []
            for group in groups:
                pins = {buffer_in: [net], buffer_out: [fresh]}
                for _, index, pin, n in group:
                    instances[index].pins[pin][n] = fresh
                level.append((buffer.capacitance[buffer_in], len(instances), buffer_in, 0))
                instances.append(Instance(f"fanout_{net}_{number}", buffer.name, pins))
                fresh, number = fresh + 1, number + 1
        total[net] = sum(pin[0] for pin in level)
    return instances, total


def _groups(pins):
    """The pins in groups that a buffer drives."""
    groups, size = [[]], 0.0
    for pin in pins:
        if groups[-1] and size + pin[0] > BRANCH:
            groups.append([])
            size = 0.0
        groups[-1].append(pin)
        size += pin[0]
    return groups


MACRO_LOAD = 0.02
"""pF of a black box's input."""


KEYWORDS = frozenset(
    """
always and assign automatic before begin bit buf byte case cell checker class clocking config const
cover default disable do edge else end enum event expect export extends extern final first_match for
force foreach forever fork function generate if import initial inout input inside int integer interface
join library local logic longint loop module new nor not null or output package parameter primitive
priority program property protected pure rand real ref reg release repeat return sequence shortint
signed solve static string strong struct super table tagged task this time tran tri type typedef union
unique unsigned use uwire var virtual void wait wand weak while wire with within wor xnor xor
""".split()
)
"""Of SystemVerilog, that a name may be in Verilog."""


def identifier(name):
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) and name not in KEYWORDS else f"\\{name} "


def structural(modules, library):
    """Verilog of ``modules``; black boxes have a pin for each bit."""
    return "\n".join(_structural(module, modules) for module in modules.values() if not module.macro)


def _structural(module, modules):
    lines = [f"module {identifier(module.name)}({', '.join(map(identifier, module.ports))});"]
    net = {"0": "1'b0", "1": "1'b1"}
    for port, (direction, bits) in module.ports.items():
        lines.append(f"  {direction} {f'[{len(bits) - 1}:0] ' if len(bits) > 1 else ''}{identifier(port)};")
        if direction == "input":
            for n, bit in enumerate(bits):
                net[bit] = f"{identifier(port)}[{n}]" if len(bits) > 1 else identifier(port)
    bit_name = lambda bit: net.get(bit, f"_n{bit}")
    used = {bit for i in module.instances for bits in i.pins.values() for bit in bits if bit not in net}
    used |= {bit for _, bits in module.ports.values() for bit in bits if bit not in net}
    lines += [f"  wire _n{bit};" for bit in sorted(used)]
    vector = lambda bits: (
        bit_name(bits[0])
        if len(bits) == 1
        else "{" + ", ".join(bit_name(bit) for bit in reversed(bits)) + "}"
    )
    for instance in module.instances:
        child = modules.get(instance.kind)
        if child is not None and child.macro:
            pins = [
                f".{pin}_{n}({bit_name(bit)})"
                for pin, bits in instance.pins.items()
                for n, bit in enumerate(bits)
            ]
        else:
            pins = [f".{identifier(pin)}({vector(bits)})" for pin, bits in instance.pins.items() if bits]
        lines.append(f"  {identifier(instance.kind)} {identifier(instance.name)} ({', '.join(pins)});")
    for port, bits in module.outputs.items():
        if len(bits) == 1:
            lines.append(f"  assign {identifier(port)} = {bit_name(bits[0])};")
        else:
            lines += [f"  assign {identifier(port)}[{n}] = {bit_name(bit)};" for n, bit in enumerate(bits)]
    return "\n".join([*lines, "endmodule", ""])
