"""Reads a Liberty file: cells with their areas, functions, capacitances, and tables of delay and energy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
import itertools
import operator
import re

import numpy as np

from .tools import LIBRARIES, AsicError, library_file

__all__ = ["Cell", "Expression", "Library", "load_library"]

_TOKEN = re.compile(r'"([^"]*)"|([A-Za-z0-9_.+\-\[\]]+)|([(){}:;,])')


_OPERATORS: dict[str, Callable[..., int]] = {
    "~": lambda a: 1 - a,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


AREAS = {"LATCH": 56.0}
"""um2 of cells to which the Liberty file gives no area: what its LEF file says."""


class _Group:
    """``kind (names) { attributes; groups }``."""

    def __init__(self, kind, names):
        self.kind, self.names = kind, names
        self.attributes, self.groups = {}, []

    def all(self, kind):
        return [group for group in self.groups if group.kind == kind]


def _parse(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("\\\n", " ")
    tokens = [match[1] if match[1] is not None else match[0] for match in _TOKEN.finditer(text)]
    top, position = _Group("", []), 0
    stack = [top]
    while position < len(tokens):
        token = tokens[position]
        if token == "}":
            stack.pop()
            position += 1
        elif token == ";":
            position += 1
        elif tokens[position + 1] == ":":
            stack[-1].attributes[token] = tokens[position + 2]
            position += 3
        elif tokens[position + 1] == "(":
            end = tokens.index(")", position)
            values = [value for value in tokens[position + 2 : end] if value != ","]
            position = end + 1
            if position < len(tokens) and tokens[position] == "{":
                group = _Group(token, values)
                stack[-1].groups.append(group)
                stack.append(group)
                position += 1
            else:
                stack[-1].attributes[token] = values
        else:
            raise ValueError(f"unexpected {token!r}")
    return top.groups[0]


class Expression:
    """A Boolean function of pins, as Liberty writes it: ``!``, ``'``, ``^``, ``*`` or ``&`` or nothing,
    ``+`` or ``|``."""

    def __init__(self, text):
        self.tokens = re.findall(r"\w+|[()!'^*&+|]", text)
        self.tree = self._any()
        if self.tokens:
            raise ValueError(f"can't read the function {text!r}")

    def _any(self):
        tree = self._all()
        while self.tokens and self.tokens[0] in "+|":
            self.tokens.pop(0)
            tree = "|", tree, self._all()
        return tree

    def _all(self):
        tree = self._different()
        while self.tokens and self.tokens[0] not in "+|)":
            if self.tokens[0] in "*&":
                self.tokens.pop(0)
            tree = "&", tree, self._different()
        return tree

    def _different(self):
        tree = self._one()
        while self.tokens and self.tokens[0] == "^":
            self.tokens.pop(0)
            tree = "^", tree, self._one()
        return tree

    def _one(self):
        token = self.tokens.pop(0)
        if token == "!":
            return "~", self._one()
        if token == "(":
            tree = self._any()
            self.tokens.pop(0)
        else:
            tree = token
        while self.tokens and self.tokens[0] == "'":
            self.tokens.pop(0)
            tree = "~", tree
        return tree

    @property
    def pins(self):
        def walk(tree):
            return [tree] if isinstance(tree, str) else [pin for part in tree[1:] for pin in walk(part)]

        return list(dict.fromkeys(walk(self.tree)))

    def verilog(self, nets):
        """The function as a Verilog expression of one-bit ``nets`` (by pin)."""

        def walk(tree):
            if isinstance(tree, str):
                return nets[tree]
            name, *parts = tree
            return f"~{walk(parts[0])}" if name == "~" else f"({walk(parts[0])} {name} {walk(parts[1])})"

        return walk(self.tree)

    def value(self, pins):
        """The function of integers 0 and 1 (by pin)."""

        def walk(tree):
            if isinstance(tree, str):
                return pins[tree]
            name, *parts = tree
            return _OPERATORS[name](*map(walk, parts))

        return walk(self.tree)

    @cached_property
    def table(self):
        """The truth table, a number: its bit n is the value for inputs that are the bits of n."""
        return sum(1 << sum(bit << n for n, bit in enumerate(values)) for values in self.minterms())

    def minterms(self):
        """The values of :attr:`pins` for which the function is 1, as tuples."""
        pins = self.pins
        return [
            values
            for values in itertools.product((0, 1), repeat=len(pins))
            if self.value(dict(zip(pins, values)))
        ]


class _Table:
    """A look-up table of load (pF) and input transition (ns), or of the transition alone."""

    def __init__(self, group):
        numbers = lambda name: [
            float(x) for text in group.attributes[name] for x in re.split(r"[,\s]+", text.strip()) if x
        ]
        self.axes = [np.array(numbers(f"index_{n}")) for n in (1, 2) if f"index_{n}" in group.attributes]
        self.values = np.array(numbers("values")).reshape([len(axis) for axis in self.axes])

    def __call__(self, load, slew):
        """Interpolated; at the edge of the table beyond it."""
        if len(self.axes) == 1:
            return float(np.interp(slew, self.axes[0], self.values))
        rows = [np.interp(slew, self.axes[1], row) for row in self.values]
        return float(np.interp(load, self.axes[0], rows))


@dataclass
class Cell:
    """A cell. ``inputs`` and ``outputs`` are pins; ``functions`` of outputs, without those of state.

    ``state`` (next state, clock) of a plain flip-flop; ``sequential`` is true of latches and flip-flops
    with set or clear too. ``capacitance`` (pF) of inputs, ``limit`` (pF) of outputs; ``leakage`` in nW.
    ``timing``: (pin, related pin, kind of table, table).
    """

    name: str
    area: float
    leakage: float
    inputs: list
    outputs: list
    functions: dict
    capacitance: dict
    limit: dict
    state: tuple | None = None
    sequential: bool = False
    latch: bool = False
    energy: dict = field(default_factory=dict, repr=False)
    transition: dict = field(default_factory=dict, repr=False)
    timing: list = field(default_factory=list, repr=False)

    def switch_energy(self, pin, load, slew):
        """pJ inside the cell for a transition of ``pin``, the mean of rising and falling and of the pins
        that cause it."""
        tables = self.energy.get(pin, [])
        return sum(table(load, slew) for table in tables) / len(tables) if tables else 0.0

    def slew(self, pin, load, slew):
        """The mean transition (ns) of an output."""
        tables = self.transition.get(pin, [])
        return sum(table(load, slew) for table in tables) / len(tables) if tables else slew

    def delay(self, pin, cause, load, slew):
        """The longest delay (ns) of the output ``pin`` after the input ``cause``."""
        return max(
            table(load, slew)
            for output, related, kind, table in self.timing
            if (output, related) == (pin, cause) and kind in ("cell_rise", "cell_fall")
        )

    def setup(self, pin, slew):
        """The longest setup (ns) of ``pin``, with transitions ``slew``."""
        return max(
            table(slew, slew)
            for constrained, _, kind, table in self.timing
            if constrained == pin and kind.startswith("setup ")
        )


@dataclass
class Library:
    """A library: ``title`` and ``corner`` in words, ``cells`` by name, ``voltage``."""

    path: str
    title: str
    corner: str
    voltage: float
    cells: dict

    @property
    def buffers(self):
        """Non-inverting cells of one input, weakest first."""
        found = [
            cell
            for cell in self.cells.values()
            if len(cell.inputs) == 1
            and not cell.sequential
            and not cell.name.startswith("CLK")
            and [f.tree for f in cell.functions.values()] == cell.inputs
        ]
        return sorted(found, key=lambda cell: cell.area)


def _cell(group):
    pins = group.all("pin")
    direction = lambda wanted: [pin.names[0] for pin in pins if pin.attributes.get("direction") == wanted]
    flip_flops, latches = group.all("ff"), group.all("latch")
    variables = {name for state in flip_flops + latches for name in state.names}
    functions = {}
    for pin in pins:
        if "function" in pin.attributes and pin.attributes["function"] not in variables:
            functions[pin.names[0]] = Expression(pin.attributes["function"])
    state = None
    if flip_flops and not {"clear", "preset"} & set(flip_flops[0].attributes):
        state = (
            Expression(flip_flops[0].attributes["next_state"]),
            Expression(flip_flops[0].attributes["clocked_on"]),
        )
    tables = lambda pin, kind, names: [
        _Table(table) for part in pin.all(kind) for table in part.groups if table.kind in names
    ]
    name = group.names[0]
    return Cell(
        name=name,
        area=float(group.attributes["area"]) or AREAS.get(name, 0.0),
        leakage=float(group.attributes.get("cell_leakage_power", 0)),
        inputs=direction("input"),
        outputs=direction("output"),
        functions=functions,
        state=state,
        sequential=bool(flip_flops or latches),
        latch=bool(latches),
        capacitance={
            pin.names[0]: float(pin.attributes["capacitance"])
            for pin in pins
            if pin.attributes.get("direction") == "input"
        },
        limit={
            pin.names[0]: float(pin.attributes.get("max_capacitance", 0))
            for pin in pins
            if pin.attributes.get("direction") == "output"
        },
        energy={pin.names[0]: tables(pin, "internal_power", ("rise_power", "fall_power")) for pin in pins},
        transition={
            pin.names[0]: tables(pin, "timing", ("rise_transition", "fall_transition")) for pin in pins
        },
        timing=_timing(pins) if latches else [],
    )


def _timing(pins):
    """The delays and setups at ``pins``."""
    return [
        (
            pin.names[0],
            part.attributes.get("related_pin"),
            "setup " * part.attributes.get("timing_type", "").startswith("setup") + table.kind,
            _Table(table),
        )
        for pin in pins
        for part in pin.all("timing")
        for table in part.groups
        if table.kind in ("cell_rise", "cell_fall", "rise_constraint", "fall_constraint")
    ]


@lru_cache(maxsize=4)
def load_library(name="osu018"):
    """The :class:`Library` called ``name``."""
    path = library_file(name)
    try:
        top = _parse(path.read_text())
        cells = {cell.name: cell for cell in map(_cell, top.all("cell"))}
    except (ValueError, KeyError, IndexError) as error:
        raise AsicError(f"{path}: can't read this Liberty file: {error}") from None
    conditions = top.all("operating_conditions")
    corner = conditions[0] if conditions else None
    voltage = float(corner.attributes["voltage"] if corner else top.attributes["nom_voltage"])
    words = (
        f"{corner.names[0]}, {voltage:g} V, {float(corner.attributes['temperature']):g} C"
        if corner
        else f"{voltage:g} V"
    )
    return Library(str(path), LIBRARIES[name].title, words, voltage, cells)
