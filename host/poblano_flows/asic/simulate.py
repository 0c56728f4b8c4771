"""Gate-level simulation: a netlist as Verilog of the library's functions, and how often each of its nets
changes."""

from collections import Counter

from .netlist import _identifier
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
    return "\n".join(_behavioural(modules[name], modules, library, counting, name == top) for name in names)


def _behavioural(module, modules, library, counting, is_top):
    bits = lambda direction: {
        bit for _, (d, bits) in module.ports.items() if d == direction for bit in bits if isinstance(bit, int)
    }
    inputs = bits("input")
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
    gates = _ordered(gates, module.name)

    net = {"0": "1'b0", "1": "1'b1"}
    head, body = [f"module {_identifier(module.name)}({', '.join(map(_identifier, module.ports))});"], []
    for port, (direction, port_bits) in module.ports.items():
        head.append(
            f"  {direction} {f'[{len(port_bits) - 1}:0] ' if len(port_bits) > 1 else ''}{_identifier(port)};"
        )
        if direction == "input":
            for n, bit in enumerate(port_bits):
                net[bit] = f"{_identifier(port)}[{n}]" if len(port_bits) > 1 else _identifier(port)
    name = lambda bit: net.get(bit, f"_n{bit}")
    vector = lambda these: (
        name(these[0]) if len(these) == 1 else "{" + ", ".join(name(bit) for bit in reversed(these)) + "}"
    )

    # What instances drive, as vectors.
    for index, instance in enumerate(children):
        child = modules[instance.kind]
        pins: list[tuple[str, str | None]] = []
        for pin, these in instance.pins.items():
            if not these:
                continue
            if child.ports[pin][0] == "output":
                wire = (
                    f"c{index}_{pin}".replace("\\", "_").replace("$", "_").replace(" ", "_").replace(".", "_")
                )
                head.append(f"  wire [{len(these) - 1}:0] {wire};")
                for n, bit in enumerate(these):
                    net[bit] = f"{wire}[{n}]"
                pins.append((pin, wire))
            else:
                pins.append((pin, None))
        body.append((instance, child, pins))
    text = []
    for instance, child, pins in body:
        connections = ", ".join(
            f".{_identifier(pin)}({wire or vector(instance.pins[pin])})" for pin, wire in pins
        )
        kind, parameters = _kind(child)
        text.append(f"  {kind} {parameters}{_identifier(instance.name)} ({connections});")

    driven = [bit for bit, _, _ in gates] + [instance.pins[cell.outputs[0]][0] for instance, cell in flops]
    clocks = Counter(
        (
            "posedge" if isinstance(cell.state[1].tree, str) else "negedge",
            instance.pins[cell.state[1].pins[0]][0],
        )
        for instance, cell in flops
    )
    if len(clocks) > 1:
        raise AsicError(f"{module.name}: can't simulate several clocks")
    # Gates that only flip-flops read are computed once, at the clock's edge.
    shown = _cone(
        gates,
        {bit for port_bits in module.outputs.values() for bit in port_bits}
        | {
            bit
            for instance in children
            for pin, these in instance.pins.items()
            if modules[instance.kind].ports[pin][0] == "input"
            for bit in these
        },
    )
    clock = next(iter(clocks), None)
    outside = [gate for gate in gates if gate[0] in shown or clock is None]
    inside = [gate for gate in gates if gate[0] not in shown and clock is not None]
    outside_bits = {gate[0] for gate in outside}
    head += [f"  {'wire' if bit in outside_bits else 'reg'} _n{bit};" for bit in driven]
    text += [
        f"  assign _n{bit} = {function.verilog({pin: name(b) for pin, b in pins.items()})};"
        for bit, function, pins in outside
    ]
    counted = sorted(
        {
            *driven,
            *inputs,
            *(
                bit
                for instance in children
                for pin, these in instance.pins.items()
                if modules[instance.kind].ports[pin][0] == "output"
                for bit in these
                if isinstance(bit, int)
            ),
        }
    )
    clock_bit = clock[1] if clock else next((b[0] for p, b in module.inputs.items() if p == "clk"), None)
    if counting is not None and clock_bit is not None:
        counted = [bit for bit in counted if bit != clock_bit]
        counting.add(module.name, counted)
    if clock is not None or counting is not None and clock_bit is not None:
        edge, bit = clock or ("posedge", clock_bit)
        text.append(f"  always @({edge} {name(bit)}) begin")
        text += [
            f"    _n{bit} = {function.verilog({pin: name(b) for pin, b in pins.items()})};"
            for bit, function, pins in inside
        ]
        if counting is not None:
            base = counting.base[module.name]
            words = [counted[n : n + 32] for n in range(0, len(counted), 32)]
            for n, word in enumerate(words):
                head.append(f"  reg [{len(word) - 1}:0] before{n}, now{n};")
                text += [
                    f"    now{n} = {vector(word)};",
                    f"    poblano_changes({base + 32 * n}, now{n} ^ before{n});",
                    f"    before{n} = now{n};",
                ]
            if is_top:
                text.append("    poblano_tick();")
            head.append(
                '  import "DPI-C" function void poblano_changes(input int base, input int unsigned changed);'
            )
            if is_top:
                head.append('  import "DPI-C" function void poblano_tick();')
        for instance, cell in flops:
            text.append(
                f"    _n{instance.pins[cell.outputs[0]][0]} <= "
                f"{cell.state[0].verilog({pin: name(instance.pins[pin][0]) for pin in cell.state[0].pins})};"
            )
        text.append("  end")
    text += [
        f"  assign {_identifier(port)} = {vector(port_bits)};" for port, port_bits in module.outputs.items()
    ]
    return "\n".join([*head, *text, "endmodule", ""])


def _kind(child):
    """The Verilog module and parameters of an instance; memories are parametrised."""
    if child.macro and child.parameters:
        base = "poblano_memory" if child.name.startswith("poblano_memory_") else "poblano_sram"
        values = ", ".join(f".{key}({value})" for key, value in child.parameters.items())
        return base, f"#({values}) "
    return _identifier(child.name), ""


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
