"""Whether a netlist computes what its RTL does: module by module, cut at registers and submodules, by abc.

Registers and the pins of submodules and memories have the same names on both sides. From equal registers
and equal inputs, the next values of all registers and all outputs must be equal; then, by induction, they
are in every cycle. A register behind clock gates keeps its value unless all their enables are 1; the enables
of the RTL's own gates are compared, too, and those that synthesis put in stand for multiplexers of the RTL.
"""

from dataclasses import dataclass
import json
from pathlib import Path
import random
import subprocess
import tempfile

import numpy as np

from poblano.clock_gate import CLOCK_GATE

from .clock_gates import GATE_BOX, clock_parent
from .netlist import Instance, Module
from .synthesis import MEMORIES, MEMORY_BOX, memory_map, name_memories, run_yosys
from .tools import AsicError

__all__ = ["Verdict", "check", "mutated"]

GATES = ("techmap", "simplemap", "dffunmap", "techmap", "simplemap", "opt_clean")

_GOLDEN_GATES = {  # inputs and the function
    "$_BUF_": ("A", lambda a: a),
    "$_NOT_": ("A", lambda a: 1 - a),
    "$_AND_": ("AB", lambda a, b: a & b),
    "$_OR_": ("AB", lambda a, b: a | b),
    "$_XOR_": ("AB", lambda a, b: a ^ b),
    "$_XNOR_": ("AB", lambda a, b: 1 - (a ^ b)),
    "$_NAND_": ("AB", lambda a, b: 1 - (a & b)),
    "$_NOR_": ("AB", lambda a, b: 1 - (a | b)),
    "$_ANDNOT_": ("AB", lambda a, b: a & 1 - b),
    "$_ORNOT_": ("AB", lambda a, b: a | 1 - b),
    "$_MUX_": ("ABS", lambda a, b, s: b if s else a),
    "$_NMUX_": ("ABS", lambda a, b, s: 1 - (b if s else a)),
}

NEXT = 1 << 40
"""More than the number of any net: what is added to that of a gated register for its next value."""


@dataclass(frozen=True)
class Verdict:
    """``result``: "proved", "different" or "unknown"; ``registers`` compared, of ``free`` ones neither
    side's outputs may depend on the value; ``outputs`` compared, with those to submodules;
    ``same_multiplier``: the RTL's had been built by the same pass as the netlist's."""

    module: str
    result: str
    registers: int
    free: int
    outputs: int
    same_multiplier: bool


def check(module, modules, library, *, same_multiplier=False, timeout=120):
    """The :class:`Verdict` on ``module``, of cells, against ``module.rtl``.

    With ``same_multiplier`` the RTL's multipliers are built by the pass that built the netlist's: large
    ones are too hard otherwise.
    """
    if not module.rtl:
        raise AsicError(f"{module.name} has no RTL to compare with")
    golden = _golden(module, same_multiplier)
    with tempfile.TemporaryDirectory() as folder:
        for constant in ("none", "all", "shortened"):
            sides, registers, free, outputs = _problem(module, golden, modules, library, constant)
            if len(sides[0].split("\n")[1].split()) - 1 <= EXHAUSTIVE:
                result = "proved" if all(map(np.array_equal, *map(_values, sides))) else "different"
            else:
                for name, text in zip(("rtl.blif", "netlist.blif"), sides):
                    Path(folder, name).write_text(text)
                result = _cec(folder, timeout)
            if result == "proved" or not free:
                break
        return Verdict(module.name, result, registers, free, outputs, same_multiplier)


def _golden(module, same_multiplier):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "design.il").write_text(module.rtl)
        Path(folder, "memory_map.v").write_text(memory_map())
        Path(folder, "boxes.v").write_text(MEMORY_BOX + GATE_BOX)
        booth = ["booth"] if same_multiplier else []
        run_yosys(
            [
                [
                    "read_rtlil design.il",
                    "read_verilog -lib boxes.v",
                    f"hierarchy -top {module.name}",
                    *MEMORIES,
                    *booth,
                    *GATES,
                    "write_json design.json",
                ]
            ],
            folder,
            module.name,
        )
        content = json.loads(Path(folder, "design.json").read_text())["modules"][module.name]
    golden = Module.from_json(module.name, content)
    golden.boxes = name_memories(golden, content)
    return golden


class _Side:
    """One of the two circuits: ``state`` is Q to D, ``gates`` (output, inputs, minterms)."""

    def __init__(self):
        self.state, self.gates, self.children = {}, [], {}

    def register(self, module, clock, d, q):
        """Add a register ``q`` of ``module``, behind the gates between ``clock`` and the module's clock."""
        enables, root = clock_parent(module, clock)
        if root not in module.inputs.get("clk", []):
            raise AsicError(f"{module.name}: a register's clock is not clk")
        if enables:
            held = lambda q, d, *enables: d if all(enables) else q
            self.gates.append((q + NEXT, [q, d, *enables], _minterms(2 + len(enables), held)))
            d = q + NEXT
        self.state[q] = d


def _problem(module, golden, modules, library, constant):
    """The BLIF of both sides, and counts. ``constant``: which registers that the netlist does not have are
    claimed to stay 0: "none", "all", or bits above those that their names have there, "shortened"."""
    rtl = _rtl_side(module, golden)
    net = _netlist_side(module, library, rtl)
    inputs, outputs = _interfaces(module, golden, rtl, net, {**modules, **golden.boxes})
    partner = _partners(module, golden, rtl, net)
    free = [q for q in rtl.state if q not in partner]
    if constant == "all":
        partner |= dict.fromkeys(free, "0")
    elif constant == "shortened":
        above = {
            bit for wire, bits in golden.names.items() for bit in bits[len(module.names.get(wire, bits)) :]
        }
        partner |= dict.fromkeys(above.intersection(free), "0")
    compared = 0
    for q in rtl.state:
        inputs.append((q, partner.get(q)))
        if q in partner:
            outputs.append((rtl.state[q], net.state.get(partner[q], partner[q])))
            compared += 1
    unmatched = [q for q in net.state if q not in set(partner.values())]
    inputs += [(None, q) for q in unmatched]
    pairs = [(a, b) for a, b in outputs if a is not None and b is not None]
    return _blifs(rtl, net, inputs, pairs), compared, len(free) + len(unmatched), len(pairs)


def _rtl_side(module, golden):
    side = _Side()
    for instance in golden.instances:
        if instance.kind in _GOLDEN_GATES:
            pins, function = _GOLDEN_GATES[instance.kind]
            inputs = [instance.pins[pin][0] for pin in pins]
            side.gates.append((instance.pins["Y"][0], inputs, _minterms(len(pins), function)))
        elif instance.kind == "$_DFF_P_":
            side.register(golden, instance.pins["C"][0], instance.pins["D"][0], instance.pins["Q"][0])
        elif instance.kind.startswith("$"):
            raise AsicError(f"{module.name}: can't compare a {instance.kind}")
        else:
            side.children[instance.name] = instance
    return side


def _netlist_side(module, library, rtl):
    side = _Side()
    for instance in module.instances:
        cell = library.cells.get(instance.kind)
        if cell is None:
            if instance.kind != CLOCK_GATE or instance.name in rtl.children:
                side.children[instance.name] = instance
        elif cell.state:
            if cell.state[1].tree != cell.state[1].pins[0] or cell.state[0].tree != "D":
                raise AsicError(f"{module.name}: can't compare a {cell.name}")
            clock, output = instance.pins[cell.state[1].tree][0], instance.pins[cell.outputs[0]][0]
            side.register(module, clock, instance.pins["D"][0], output)
        elif cell.sequential:
            raise AsicError(f"{module.name}: can't compare a {cell.name}")
        else:
            for pin, function in cell.functions.items():
                if instance.pins.get(pin):
                    inputs = [instance.pins[p][0] for p in function.pins]
                    side.gates.append((instance.pins[pin][0], inputs, function.minterms()))
    return side


def _interfaces(module, golden, rtl, net, known):
    """What comes from outside and from submodules, and what goes there: pairs of signals on the RTL's and on
    the netlist's side."""
    inputs, outputs = [], []
    for port, bits in golden.inputs.items():
        inputs += zip(bits, module.ports[port][1])
    for port, bits in golden.outputs.items():
        outputs += zip(bits, module.ports[port][1])
    # A submodule that nothing reads has been left out.
    for name in set(rtl.children) ^ set(net.children):
        if name not in rtl.children:
            raise AsicError(f"{module.name}: the RTL has no {name}")
        child = rtl.children[name]
        for pin, bits in child.pins.items():
            if known[child.kind].ports[pin][0] == "output":
                inputs += [(bit, None) for bit in bits]
    for name, instance in net.children.items():
        child = rtl.children[name]
        if child.kind != instance.kind:
            raise AsicError(f"{module.name}: {name} is a {instance.kind}, in the RTL a {child.kind}")
        for pin, (direction, bits) in known[instance.kind].ports.items():
            nothing = [None] * len(bits)
            pairs = zip(child.pins.get(pin) or nothing, instance.pins.get(pin) or nothing)
            (inputs if direction == "output" else outputs).extend(pairs)
    return inputs, outputs


def _partners(module, golden, rtl, net):
    """The netlist's register, or constant, of each of the RTL's, by their names; of several RTL registers
    that became one, each."""
    named = {(wire, n): bit for wire, bits in module.names.items() for n, bit in enumerate(bits)}
    partner = {}
    for wire, bits in golden.names.items():
        for n, bit in enumerate(bits):
            if bit in rtl.state and (wire, n) in named:
                found = named[wire, n]
                if found in net.state or found in ("0", "1"):
                    partner.setdefault(bit, found)
    return partner


def _minterms(count, function):
    values = [tuple(n >> k & 1 for k in range(count)) for n in range(1 << count)]
    return [value for value in values if function(*value)]


def _blifs(rtl, net, inputs, outputs):
    """Both circuits with the same inputs; a register of one side is an input, tied to its partner's."""
    names, sources = ({}, {}), []
    for a, b in inputs:
        known = next(
            (
                names[side][bit]
                for side, bit in ((0, a), (1, b))
                if isinstance(bit, int) and bit in names[side]
            ),
            None,
        )
        constant = next((bit for bit in (a, b) if bit in ("0", "1")), None)
        if constant is None and known is None:
            known = f"i{len(sources)}"
            sources.append(known)
        for side, bit in ((0, a), (1, b)):
            if isinstance(bit, int) and bit not in names[side]:
                names[side][bit] = f"const{constant}" if constant is not None else known
    result = []
    for side, circuit in enumerate((rtl, net)):
        at = names[side]
        name = lambda bit: f"const{bit}" if isinstance(bit, str) else at.get(bit, f"n{bit}")
        lines = [
            ".model top",
            ".inputs " + " ".join(sources),
            ".outputs " + " ".join(f"o{n}" for n in range(len(outputs))),
            ".names const0",
            ".names const1",
            "1",
        ]
        driven = set(at)
        for output, pins, minterms in circuit.gates:
            if output in at:
                continue
            driven.add(output)
            lines.append(".names " + " ".join([*map(name, pins), f"n{output}"]))
            lines += ["".join(map(str, values)) + " 1" for values in minterms]
        read = {bit for gate in circuit.gates for bit in gate[1]} | {pair[side] for pair in outputs}
        lines += [f".names n{bit}" for bit in read if isinstance(bit, int) and bit not in driven]
        for n, pair in enumerate(outputs):
            lines += [f".names {name(pair[side])} o{n}", "1 1"]
        result.append("\n".join([*lines, ".end", ""]))
    return result


EXHAUSTIVE = 16
"""Inputs up to which all values are tried: fast where a multiplier is hard to prove."""


def _values(text):
    """Each output of a circuit in BLIF for all values of its inputs, as bits in arrays of bytes."""
    lines = text.splitlines()
    sources, outputs = lines[1].split()[1:], lines[2].split()[1:]
    count = max(8, 1 << len(sources))
    numbers = np.arange(count)
    values = {name: np.packbits((numbers >> n & 1).astype(bool)) for n, name in enumerate(sources)}
    gates, last = {}, None
    for line in lines[3:]:
        if line.startswith(".names"):
            *pins, last = line.split()[1:]
            gates[last] = pins, []
        elif not line.startswith("."):
            gates[last][1].append(line.split()[0] if gates[last][0] else "")
    todo = list(outputs)
    while todo:
        name = todo[-1]
        if name in values:
            todo.pop()
            continue
        pins, terms = gates[name]
        if missing := [pin for pin in pins if pin not in values]:
            todo += missing
            continue
        value = np.zeros(count // 8, np.uint8)
        for term in terms:
            product = np.full(count // 8, 0xFF, np.uint8)
            for pin, wanted in zip(pins, term):
                product &= values[pin] if wanted == "1" else ~values[pin]
            value |= product
        values[name] = value
    return [values[name] for name in outputs]


_LIKE_THE_NETLIST = "&get -n; &fraig -x; &put; scorr; balance"
"""What the synthesis begins with: a multiplier is easier to compare with its netlist after it."""


def _cec(folder, timeout):
    """In two steps, each proved: the RTL equals the RTL rearranged, which equals the netlist."""
    import pyosys

    program = Path(pyosys.__file__).parent / "yosys-abc"
    commands = [
        "read_blif rtl.blif",
        "strash",
        "write_aiger rtl.aig",
        _LIKE_THE_NETLIST,
        "write_aiger rearranged.aig",
        "read_blif netlist.blif",
        "strash",
        "write_aiger netlist.aig",
        *(
            f"cec -T {timeout} -C 1000000 {pair}"
            for pair in ("rtl.aig rearranged.aig", "rearranged.aig netlist.aig")
        ),
    ]
    try:
        result = subprocess.run(
            [program, "-c", "; ".join(commands)],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=2 * timeout + 60,
        )
    except subprocess.TimeoutExpired:
        return "unknown"
    if result.stdout.count("Networks are equivalent") == 2:
        return "proved"
    if "NOT EQUIVALENT" in result.stdout:
        return "different"
    if "UNDECIDED" in result.stdout.upper():
        return "unknown"
    raise AsicError("abc failed: " + (result.stdout + result.stderr).strip()[-300:])


def mutated(module, library, seed):
    """``module`` with one cell, chosen by ``seed``, replaced by another of the same pins; and what was
    done, in words."""
    kinds = {}
    for cell in library.cells.values():
        if cell.functions and not cell.sequential:
            kinds.setdefault((tuple(cell.inputs), tuple(cell.outputs)), []).append(cell)
    same = lambda a, b: all(
        a.functions[pin].minterms() == b.functions[pin].minterms()
        and a.functions[pin].pins == b.functions[pin].pins
        for pin in a.outputs
    )
    generator = random.Random(seed)
    places = list(range(len(module.instances)))
    generator.shuffle(places)
    for place in places:
        old = library.cells.get(module.instances[place].kind)
        if old is None or not old.functions:
            continue
        others = [
            cell for cell in kinds.get((tuple(old.inputs), tuple(old.outputs)), ()) if not same(old, cell)
        ]
        if others:
            new = generator.choice(others)
            instances = list(module.instances)
            instances[place] = Instance(instances[place].name, new.name, instances[place].pins)
            changed = Module(
                module.name, module.ports, instances, module.names, rtl=module.rtl, boxes=module.boxes
            )
            return changed, f"{instances[place].name}: {old.name} became {new.name}"
    raise AsicError(f"{module.name} has no cell to mutate")


def prove(modules, counts, library, *, report=lambda text: None, timeout=60):
    """The :class:`Verdict` on each module: first with the RTL's own multipliers, those too hard with the
    netlist's kind."""
    verdicts = []
    for name in counts:
        if modules[name].macro or name == CLOCK_GATE:
            continue
        report(f"comparing {name}")
        hard = "$mul" in modules[name].rtl
        verdict = check(modules[name], modules, library, same_multiplier=hard, timeout=timeout)
        verdicts.append(verdict)
    return verdicts
