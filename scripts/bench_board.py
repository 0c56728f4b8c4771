#!/usr/bin/env python3
"""Tokens a second of the whole chip on a board, from simulation of the board's RTL at the pins of its UART.

Every cycle counts: of the line at the board's speed, of the bridge, of the chip. The host's own time does
not, nor does that of a USB adapter: a second figure adds a millisecond for each request. Cycles do not
depend on the numbers in weights and caches, so that these are not written, unless ``--check`` asks for the
golden model's tokens.
"""

import argparse
from dataclasses import replace
import json
from pathlib import Path
import sys

from poblano.config import ConfigError
from poblano_fpga.chip import CHIP_BOARDS, chip_board
from poblano_fpga.simulation import FASTEST, rtl_port
from poblano_host.models import load_model
from poblano_host.runtime.backend import DeviceBackend
from poblano_host.runtime.device import BridgeDevice
from poblano_host.runtime.session import Session
from poblano_host.serial.bridge import BridgeClient

BARS = {"tokens_per_second": 30.0, "tokens_per_second_1ms": 15.0}
TURN = 1e-3
"""Seconds for a request, of the second figure."""


class Empty(DeviceBackend):
    """A board without a model: until ``loaded`` nothing is written, and its memory is taken as it is."""

    loaded = False

    def write(self, address, data):
        if self.loaded:
            super().write(address, data)


class Bench:
    """The default model on the simulated board; ``check``: with weights, beside the golden model."""

    def __init__(self, board, context, *, check):
        self.board, self.context, self.check = board, context, check
        self.model = load_model("default")
        self.golden = Session(self.model, board.chip, backend="golden", context=context) if check else None
        self.session = Session(self.model, board.chip, backend=self._backend, context=context)
        self.client.set_baud(board.baud)

    def _backend(self, config, memory_bytes, ring, *, report):
        if memory_bytes > self.board.memory_bytes:
            raise ConfigError(f"the model needs {memory_bytes} of {self.board.memory_bytes} bytes of memory")
        self.port = rtl_port(self.board, report=lambda line: print(line, file=sys.stderr))
        self.client = BridgeClient(self.port)
        self.client.set_baud(self.board.clock_hz // FASTEST)
        device = BridgeDevice(self.client)
        device.zeroed = not self.check
        return (DeviceBackend if self.check else Empty)(config, memory_bytes, ring, device)

    def step(self, phase, tokens):
        """Run a step; (cycles, those of the chip, requests, bytes to the board, bytes back)."""
        before = self._counts()
        step = self.session.step(phase, tokens, "last", read=False)
        cycles, *others = (after - at for after, at in zip(self._counts(), before))
        if self.golden is not None:
            expected = self.golden.step(phase, tokens, "last", read=False).best
            if step.best != expected:
                sys.exit(f"bench_board: token {step.best} at {step.position}, golden {expected}")
        self.best = step.best
        return cycles, step.result.cycles, *others

    def _counts(self):
        return self.port.cycle, self.client.requests, self.port.sent, self.port.received

    def figures(self, position, tokens):
        """The figures of a token after ``position``, the mean of ``tokens``, by name."""
        if self.check:
            for first in range(0, position, self.session.compiled.max_tokens):
                last = min(position, first + self.session.compiled.max_tokens)
                self.step("prefill", [n % self.model.config.vocab for n in range(first, last)])
        else:
            self.session.position, self.session.backend.loaded, self.best = position, True, 1
        first = self.step("decode", [self.best])
        runs = [self.step("decode", [self.best]) for _ in range(tokens)]
        cycles, chip, requests, up, down = (sum(column) / tokens for column in zip(*runs))
        seconds = cycles / self.board.clock_hz
        return {
            "tokens_per_second": round(1 / seconds, 2),
            "tokens_per_second_1ms": round(1 / (seconds + TURN * requests), 2),
            "cycles": round(cycles),
            "chip_cycles": round(chip),
            "requests": requests,
            "bytes_to_board": round(up),
            "bytes_from_board": round(down),
            "first_token_s": round(first[0] / self.board.clock_hz, 4),
            "clock_hz": self.board.clock_hz,
            "baud": self.board.baud,
            "memory_bytes": self.board.memory_bytes,
        }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("board", nargs="?", default="ulx3s", help=", ".join(CHIP_BOARDS))
    parser.add_argument("--position", type=int, default=64, help="of the first decoded token")
    parser.add_argument("--tokens", type=int, default=3, help="decoded; one more before is not counted")
    parser.add_argument("--context", type=int, default=256, help="positions in the caches")
    parser.add_argument("--clock", type=int, help="Hz; the board's by default")
    parser.add_argument("--baud", type=int, help="the board's by default")
    parser.add_argument("--check", action="store_true", help="with weights, and the golden model's tokens")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, by their names")
    arguments = parser.parse_args()
    board = chip_board(arguments.board)
    board = replace(board, clock_hz=arguments.clock or board.clock_hz, baud=arguments.baud or board.baud)
    bench = Bench(board, arguments.context, check=arguments.check)
    figures, missed = bench.figures(arguments.position, arguments.tokens), []
    for key, value in figures.items():
        bar = BARS.get(key)
        print(f"{arguments.board}/{key}: {value}" + (f" (bar {bar})" if bar else ""))
        if bar and value < bar:
            missed.append(key)
    if arguments.json:
        named = {f"{arguments.board}/{key}": value for key, value in figures.items()}
        arguments.json.write_text(json.dumps(named, indent=2) + "\n")
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, ValueError) as error:
        sys.exit(f"bench_board: {error}")
