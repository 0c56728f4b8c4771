"""Verilog out of Amaranth, with hardware that repeats emitted once and instantiated.

Amaranth emits a module for every submodule, so an array of 4,096 processing elements becomes 4,097 modules.
A component added with :func:`place` is, while :func:`emit` runs, an instance of a module that stands once
in the output. Memories of some size become instances of ``poblano_sram``.
"""

from .emission import Placed, VerilogModule, emit, emit_modules
from .placement import arguments, emitting, gated_clock, is_sram, place, source
from .ports import pins

__all__ = [
    "Placed",
    "VerilogModule",
    "arguments",
    "emit",
    "emit_modules",
    "emitting",
    "gated_clock",
    "is_sram",
    "pins",
    "place",
    "source",
]
