"""The clock gate in standard cells: where synthesis puts it, its netlist, and its timing."""

from poblano.clock_gate import CLOCK_GATE, clock_gate_pass

from .netlist import Instance, Module
from .tools import AsicError

__all__ = ["GATE_BOX", "INSERT_GATES", "clock_parent", "gate_module", "gate_setup", "gates_of"]

INVERTER, LATCH, AND = "INVX1", "LATCH", "AND2X2"
"""The library's cells of a gate: the latch is open while the clock is low."""
SLEW = 0.1
"""ns of transition at the gate's pins."""

GATE_BOX = f"(* blackbox *)\nmodule {CLOCK_GATE}(input clk, input en, output gclk);\nendmodule\n"

INSERT_GATES = (
    "opt_expr",
    "opt_merge",
    "opt_dff -nosdff",
    "opt_clean",
    "simplemap t:$dffe",
    clock_gate_pass(),
    "dffunmap -ce-only",
    "opt_clean",
)
"""Enables become gates where they have enough flip-flops, and go back to multiplexers where not. A
synchronous reset stays logic: then the enable includes it."""


def gate_module(library):
    """The :class:`Module` of a gate."""
    missing = {INVERTER, LATCH, AND} - set(library.cells)
    if missing:
        raise AsicError(f"{library.title} has no {', '.join(sorted(missing))} for a clock gate")
    clk, en, gclk, inverted, opened = range(2, 7)
    return Module(
        CLOCK_GATE,
        {"clk": ("input", [clk]), "en": ("input", [en]), "gclk": ("output", [gclk])},
        [
            Instance("inverter", INVERTER, {"A": [clk], "Y": [inverted]}),
            Instance("latch", LATCH, {"D": [en], "CLK": [inverted], "Q": [opened]}),
            Instance("and", AND, {"A": [clk], "B": [opened], "Y": [gclk]}),
        ],
    )


def gate_setup(library):
    """ns before the clock's rising edge at which a gate's enable must be there: it has passed the latch, and
    the latch may close."""
    latch, pin = library.cells[LATCH], library.cells[AND].capacitance["B"]
    return max(latch.delay("Q", "D", pin, SLEW), latch.setup("D", SLEW))


def gates_of(module):
    """The gates in ``module``, by the net of their gated clock."""
    return {i.pins["gclk"][0]: i for i in module.instances if i.kind == CLOCK_GATE and i.pins.get("gclk")}


def clock_parent(module, bit):
    """The nets of the enables between a clock's net ``bit`` and the module's clock that it comes from, and
    that clock's net."""
    gates, enables = gates_of(module), []
    while bit in gates:
        enables.append(gates[bit].pins["en"][0])
        bit = gates[bit].pins["clk"][0]
    return enables, bit
