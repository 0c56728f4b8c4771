#!/usr/bin/env python3
"""CPU time that the host takes for a step: from the request to the moment when the chip's TAIL is written.

The chip is one that completes all commands at once: its registers are kept in Python, its memory is the
host's, so that what is measured is the host alone. Decoding is measured over as many tokens as ``--tokens``
says, programs compiled before; ``mean`` includes the steps in which the bucket of context changes and a
program is compiled. A prefill is measured with nothing compiled before.
"""

import argparse
import json
from pathlib import Path
import statistics
import sys
import time

import numpy as np

from poblano.config import preset
from poblano.isa.registers import Control, address, constants
from poblano_host.compiler import CompiledModel
from poblano_host.models import load_model
from poblano_host.runtime.patches import apply_patches
from poblano_host.runtime.ring import Ring

CASES = {"default/desk": 1.0, "smollm2/desk": 4.0, "smollm2/flagship": 12.0}
"""Bars of decoding in ms a token; the mean may be twice as much."""
PREFILL, PREFILL_BAR = 112, 3.0
"""Tokens of the prefill on ``smollm2/flagship``, and its bar in seconds."""


class InstantChip:
    """A :class:`~poblano_host.runtime.device.Device` whose commands complete when they are issued; ``issued``
    is the CPU time at which TAIL was last written."""

    patience = 1 << 30
    sees_cycles = False
    zeroed = True

    def __init__(self, config, memory_bytes):
        self.memory_bytes = memory_bytes
        self.memory = np.zeros(memory_bytes, np.uint8)
        self._registers = {address(name): value for name, value in constants(config).items()}
        self._registers[address("CYCLES_LO")] = 1
        self.issued = 0.0

    def read_registers(self, where, count):
        return [self._registers.get(where + 4 * n, 0) for n in range(count)]

    def write_register(self, where, value):
        if where == address("TAIL"):
            self.issued = time.process_time()
            self._registers[address("HEAD")] = value
        if where == address("CONTROL"):
            value &= ~Control.QUEUE_RESET
        self._registers[where] = value

    def write_memory(self, where, data):
        data = np.frombuffer(data, np.uint8)
        self.memory[where : where + len(data)] = data

    def read_memory(self, where, size):
        return self.memory[where : where + size].tobytes()

    def patch(self, table, count, values):
        apply_patches(self.memory, table, count, values)

    def wait(self, brief=False):
        return True

    def clock(self):
        return 0

    def completed(self):
        return None


class Host:
    """A model on an :class:`InstantChip`; ``options`` are those of CompiledModel."""

    def __init__(self, model, config, **options):
        self.compiled = CompiledModel(model, config, **options)
        self.chip = InstantChip(config, self.compiled.memory_bytes)
        self.ring = Ring(config, self.chip, *self.compiled.ring)

    def step(self, tokens, position):
        """:meth:`time` of a step of one sequence."""
        return self.time(lambda: self.compiled.step(tokens, position, logits="last"))

    def time(self, compile_step):
        """CPU seconds from the request, whose program ``compile_step()`` gives, to the last write of TAIL."""
        begun = time.process_time()
        program = compile_step()
        for where, data in program.inputs:
            self.chip.write_memory(where, data)
        self.ring.run(program.code)
        return self.chip.issued - begun


def measure(name, tokens):
    """Figures of a case of :data:`CASES`, by name."""
    model_name, preset_name = name.split("/")
    host = Host(load_model(model_name), preset(preset_name))
    figures = {}
    if name == "smollm2/flagship":
        figures[f"{name}/prefill{PREFILL}_s"] = round(host.step(list(range(1, PREFILL + 1)), 0), 3)
    first = min(PREFILL, host.compiled.context - tokens - 1)
    host.step([1], first)
    seconds = [host.step([1], first + 1 + n) for n in range(tokens)]
    figures[f"{name}/ms_per_token"] = round(1000 * statistics.median(seconds), 3)
    figures[f"{name}/mean_ms_per_token"] = round(1000 * statistics.mean(seconds), 3)
    figures[f"{name}/most_ms_per_token"] = round(1000 * max(seconds), 3)
    return figures


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--tokens", type=int, default=250, help="decoded in each case")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in CASES:
            parser.error(f"no case {name!r}; there are {', '.join(CASES)}")
    figures, missed = {}, []
    for name in arguments.cases or CASES:
        found = measure(name, arguments.tokens)
        bars = {
            f"{name}/ms_per_token": CASES[name],
            f"{name}/mean_ms_per_token": 2 * CASES[name],
            f"{name}/prefill{PREFILL}_s": PREFILL_BAR,
        }
        for key, value in found.items():
            bar = bars.get(key)
            print(f"{key}: {value}" + (f" (bar {bar})" if bar else ""))
            if bar and value > bar:
                missed.append(key)
        figures |= found
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if missed:
        sys.exit(f"above the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
