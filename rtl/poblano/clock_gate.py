"""The clock gate: around units in the RTL, and before registers with an enable by synthesis."""

from pathlib import Path

__all__ = ["CLOCK_GATE", "CLOCK_GATE_FILE", "clock_gate_pass"]

CLOCK_GATE = "poblano_clock_gate"
"""A module with the inputs ``clk`` and ``en`` and the output ``gclk``."""
CLOCK_GATE_FILE = Path(__file__).with_name("clock_gate.v")


def clock_gate_pass(least=8):
    """The yosys pass that puts one of :data:`CLOCK_GATE` before every ``least`` or more flip-flops of a
    module with one enable.

    The pass is to be run after ``opt_dff``, on flip-flops whose enables are active high.
    """
    return f"clockgate -pos {CLOCK_GATE} en:clk:gclk -min_net_size {least}"
