"""Gate-level simulation: a netlist as Verilog of the library's functions, and how often each of its nets
changes."""

import re

from .netlist import identifier
from .tools import AsicError

__all__ = ["NetMap", "behavioural", "COUNTER_SOURCE"]

COUNTER_SOURCE = """\
#include <cstdint>
#include <cstring>
static uint64_t *counts;
static uint64_t cycles, limit;
extern "C" void poblano_changes(int base, unsigned int changed) {
    if (cycles >= limit) return;
    while (changed) {
        ++counts[base + __builtin_ctz(changed)];
        changed &= changed - 1;
    }
}
extern "C" void poblano_tick() { ++cycles; }
extern "C" void poblano_count(uint64_t *array, uint64_t most) { counts = array; limit = most; cycles = 0; }
extern "C" uint64_t poblano_counted() { return cycles < limit ? cycles : limit; }
"""
"""Counts of changes, by number of a net, of the first ``most`` cycles after ``poblano_count``."""


class NetMap:
    """Numbers of nets: ``base[module]`` and the order of its nets; one number for a net of all instances of
    a module."""

    def __init__(self):
        self.base, self.nets, self.size = {}, {}, 0

    def add(self, module, nets):
        self.base[module], self.nets[module] = self.size, nets
        self.size += -(-len(nets) // 32) * 32


def behavioural(modules, names, library, *, counting=None, top=None):
    """Verilog of the modules ``names``, cells as expressions of what the library says that they compute;
    instances of others as they are.

    With ``counting``, a :class:`NetMap`, each reports through DPI which of its nets differ from the cycle
    before, at the clock's rising edge, that is settled values without glitches; ``top`` also counts cycles.
    """
    write = lambda name: _Behaviour(modules[name], modules, library, counting, name == top).write()
    return "\n".join(map(write, names))


def _parts(module, library):
    """Gates (output, function, inputs), flip-flops (instance, cell) and instances of other modules."""
    gates, flops, children = [], [], []
    for instance in module.instances:
        cell = library.cells.get(instance.kind)
        if cell is None:
            children.append(instance)
        elif cell.state:
            flops.append((instance, cell))
        elif cell.sequential or set(cell.outputs) - set(cell.functions):
            raise AsicError(f"{module.name}: can't simulate a {cell.name}")
        else:
            gates += [
                (instance.pins[pin][0], function, {p: instance.pins[p][0] for p in function.pins})
                for pin, function in cell.functions.items()
                if instance.pins.get(pin)
            ]
    return _ordered(gates, module.name), flops, children


class _Behaviour:
    """Verilog of one module: ``head`` has its declarations, ``text`` what follows them, ``net`` the names of
    bits that are not ``_n`` and their number."""

    def __init__(self, module, modules, library, counting, is_top):
        self.module, self.modules, self.counting, self.is_top = module, modules, counting, is_top
        self.gates, self.flops, self.children = _parts(module, library)
        self.net = {"0": "1'b0", "1": "1'b1"}
        self.head, self.text = [], []

    def write(self):
        self._ports()
        self._instances()
        clock = self._clock()
        inside = self._outside_gates(clock)
        self._process(clock, inside)
        self.text += [
            f"  assign {identifier(port)} = {self._vector(bits)};"
            for port, bits in self.module.outputs.items()
        ]
        return "\n".join([*self.head, *self.text, "endmodule", ""])

    def _name(self, bit):
        return self.net.get(bit, f"_n{bit}")

    def _vector(self, bits):
        if len(bits) == 1:
            return self._name(bits[0])
        return "{" + ", ".join(self._name(bit) for bit in reversed(bits)) + "}"

    def _function(self, function, pins):
        return function.verilog({pin: self._name(bit) for pin, bit in pins.items()})

    def _child_bits(self, direction):
        """Bits that instances drive ("output") or read ("input")."""
        return [
            bit
            for instance in self.children
            for pin, bits in instance.pins.items()
            if self.modules[instance.kind].ports[pin][0] == direction
            for bit in bits
        ]

    def _ports(self):
        module = self.module
        self.head.append(f"module {identifier(module.name)}({', '.join(map(identifier, module.ports))});")
        for port, (direction, bits) in module.ports.items():
            name = identifier(port)
            self.head.append(f"  {direction} {f'[{len(bits) - 1}:0] ' if len(bits) > 1 else ''}{name};")
            if direction == "input":
                for n, bit in enumerate(bits):
                    self.net[bit] = f"{name}[{n}]" if len(bits) > 1 else name

    def _instances(self):
        """Instances of other modules; what they drive are vectors, all named before the first instance."""
        wires = {}
        for index, instance in enumerate(self.children):
            child = self.modules[instance.kind]
            for pin, bits in instance.pins.items():
                if bits and child.ports[pin][0] == "output":
                    wire = re.sub(r"[\\$ .]", "_", f"c{index}_{pin}")
                    self.head.append(f"  wire [{len(bits) - 1}:0] {wire};")
                    self.net |= {bit: f"{wire}[{n}]" for n, bit in enumerate(bits)}
                    wires[index, pin] = wire
        for index, instance in enumerate(self.children):
            connections = ", ".join(
                f".{identifier(pin)}({wires.get((index, pin)) or self._vector(bits)})"
                for pin, bits in instance.pins.items()
                if bits
            )
            kind, parameters = _kind(self.modules[instance.kind])
            self.text.append(f"  {kind} {parameters}{identifier(instance.name)} ({connections});")

    def _clock(self):
        """(edge, bit) of the flip-flops; None if there are none."""
        clocks = set()
        for instance, cell in self.flops:
            edge = "posedge" if isinstance(cell.state[1].tree, str) else "negedge"
            clocks.add((edge, instance.pins[cell.state[1].pins[0]][0]))
        if len(clocks) > 1:
            raise AsicError(f"{self.module.name}: can't simulate several clocks")
        return next(iter(clocks), None)

    def _outside_gates(self, clock):
        """Assign what outputs and instances need; the gates that only flip-flops read, which are computed
        once, at the clock's edge."""
        needed = {bit for bits in self.module.outputs.values() for bit in bits}
        shown = _cone(self.gates, needed.union(self._child_bits("input")))
        outside = [gate for gate in self.gates if gate[0] in shown or clock is None]
        inside = [gate for gate in self.gates if gate[0] not in shown and clock is not None]
        wires = {gate[0] for gate in outside}
        self.head += [f"  {'wire' if bit in wires else 'reg'} _n{bit};" for bit in self._driven()]
        self.text += [
            f"  assign _n{bit} = {self._function(function, pins)};" for bit, function, pins in outside
        ]
        return inside

    def _driven(self):
        """The bits that gates and flip-flops drive."""
        flops = [instance.pins[cell.outputs[0]][0] for instance, cell in self.flops]
        return [gate[0] for gate in self.gates] + flops

    def _process(self, clock, inside):
        """What happens at the clock's edge: gates ``inside``, counts of changes, flip-flops."""
        if clock is None and self.counting is not None:
            bit = next((bits[0] for port, bits in self.module.inputs.items() if port == "clk"), None)
            clock = bit and ("posedge", bit)
        if clock is None:
            return
        edge, clock_bit = clock
        self.text.append(f"  always @({edge} {self._name(clock_bit)}) begin")
        self.text += [f"    _n{bit} = {self._function(function, pins)};" for bit, function, pins in inside]
        if self.counting is not None:
            self._count(clock_bit)
        for instance, cell in self.flops:
            value = cell.state[0]
            pins = {pin: instance.pins[pin][0] for pin in value.pins}
            self.text.append(f"    _n{instance.pins[cell.outputs[0]][0]} <= {self._function(value, pins)};")
        self.text.append("  end")

    def _count(self, clock_bit):
        """Report which nets, but the clock, differ from the cycle before."""
        inputs = [bit for bits in self.module.inputs.values() for bit in bits]
        outside = {bit for bit in [*inputs, *self._child_bits("output")] if isinstance(bit, int)}
        nets = sorted(outside.union(self._driven()) - {clock_bit})
        self.counting.add(self.module.name, nets)
        base = self.counting.base[self.module.name]
        words = [nets[n : n + 32] for n in range(0, len(nets), 32)]
        for n, word in enumerate(words):
            self.head.append(f"  reg [{len(word) - 1}:0] before{n}, now{n};")
            self.text += [
                f"    now{n} = {self._vector(word)};",
                f"    poblano_changes({base + 32 * n}, now{n} ^ before{n});",
                f"    before{n} = now{n};",
            ]
        dpi = '  import "DPI-C" function void '
        self.head.append(f"{dpi}poblano_changes(input int base, input int unsigned changed);")
        if self.is_top:
            self.text.append("    poblano_tick();")
            self.head.append(f"{dpi}poblano_tick();")


def _kind(child):
    """The Verilog module and parameters of an instance; memories are parametrised."""
    if child.macro and child.parameters:
        base = "poblano_memory" if child.name.startswith("poblano_memory_") else "poblano_sram"
        values = ", ".join(f".{key}({value})" for key, value in child.parameters.items())
        return base, f"#({values}) "
    return identifier(child.name), ""


def _ordered(gates, name):
    """Gates so that each comes after what it reads."""
    at = {gate[0]: gate for gate in gates}
    result, state = [], {}
    for start in at:
        stack = [(start, False)]
        while stack:
            bit, done = stack.pop()
            if done:
                state[bit] = 2
                result.append(at[bit])
                continue
            if state.get(bit) == 2:
                continue
            if state.get(bit) == 1:
                raise AsicError(f"{name}: a combinational loop")
            state[bit] = 1
            stack.append((bit, True))
            for read in at[bit][2].values():
                if read in at and state.get(read) != 2:
                    if state.get(read) == 1:
                        raise AsicError(f"{name}: a combinational loop")
                    stack.append((read, False))
    return result


def _cone(gates, bits):
    """The gates' outputs that ``bits`` depend on."""
    at = {gate[0]: gate for gate in gates}
    seen, todo = set(), [bit for bit in bits if bit in at]
    while todo:
        bit = todo.pop()
        if bit not in seen:
            seen.add(bit)
            todo += [read for read in at[bit][2].values() if read in at]
    return seen


MEMORY_MODEL = """\
module poblano_memory #(parameter SIZE = 1, ABITS = 1, WIDTH = 1, PORTS = 1, TRANSPARENT = 0) (
  input [PORTS-1:0] RD_CLK, RD_EN, input [PORTS*ABITS-1:0] RD_ADDR, output [PORTS*WIDTH-1:0] RD_DATA,
  input WR_CLK, input [WIDTH-1:0] WR_EN, WR_DATA, input [ABITS-1:0] WR_ADDR);
  reg [WIDTH-1:0] memory [0:(1<<ABITS)-1];
  reg [WIDTH-1:0] read [0:PORTS-1];
  localparam [PORTS-1:0] NEW = TRANSPARENT;
  genvar p;
  generate for (p = 0; p < PORTS; p = p + 1) begin : port
    assign RD_DATA[p*WIDTH +: WIDTH] = read[p];
    wire [ABITS-1:0] address = RD_ADDR[p*ABITS +: ABITS];
    wire [WIDTH-1:0] forward = NEW[p] && address == WR_ADDR ? WR_EN : {WIDTH{1'b0}};
    always @(posedge WR_CLK) if (RD_EN[p]) read[p] <= memory[address] & ~forward | WR_DATA & forward;
  end endgenerate
  always @(posedge WR_CLK) if (|WR_EN) memory[WR_ADDR] <= memory[WR_ADDR] & ~WR_EN | WR_DATA & WR_EN;
endmodule
"""
"""The black box of a large memory, for simulation; all its ports have one clock."""
