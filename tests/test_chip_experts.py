"""Random programs with routings, rows by lists, and commands of experts, on the RTL and on the golden chip:
equal memories, equal errors."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
import random

import numpy as np
import pytest

from poblano.config import ExpertsConfig
from poblano.isa.errors import CommandError, ErrorCode
from poblano.isa.registers import NO_ERROR_UNIT
from poblano.isa.topology import UnitKind
from poblano_host.golden.commands import DecodedCommand
from poblano_host.golden.rules import check
from poblano_host.runtime.backend import open_backend
from poblano_host.runtime.errors import ChipError
from tb.control.random_commands import valid_command
from tests.models_tiny import chip
from tests.test_chip_commands import run, short, weights
from tests.test_first_light import dump

DATA = 1 << 16
RING = 64
EXPERTS = ExpertsConfig(experts=40, used=3, rows=6)


def _chip(**changes):
    config = chip(4, 4, lanes=2, tiles=2, data_width=64, vmem_lines=512, amem_blocks=128)
    return replace(config, experts=EXPERTS, **changes)


SETTINGS = {
    "plain": (_chip(), 150),
    "slow memory": (
        _chip().with_memory(bandwidth=Fraction(3, 2), latency=61, outstanding=16, fetch_bursts=8),
        100,
    ),
    "check bits": (_chip(ecc=True, clear_at_reset=True).with_memory(fetch_bursts=1), 100),
}


class Program:
    """Commands of which each waits for the one before; experts' in blocks that may be passed over."""

    def __init__(self, rng, golden):
        self.rng, self.golden, self.config = rng, golden, golden.config
        self.counts, self.code, self.waits = [0] * self.config.units, [], ()

    def add(self, command):
        """A command, with the weights that it takes."""
        for part in [weights(self.golden, command), command] if command.opcode == "MATMUL" else [command]:
            self.counts[part.unit] += 1
            self.code.append(replace(part, waits=self.waits).encode())
        self.waits = ((command.unit, self.counts[command.unit]),)

    def random(self, opcode, **changes):
        while True:
            command = valid_command(self.rng, self.config, DATA, opcode)
            command = replace(command, operands=command.operands | changes)
            if short(command):
                return command

    def route(self):
        """A routing; its operands."""
        command = self.random("ROUTE", quiet=int(self.rng.random() < 0.2))
        if self.rng.random() < 0.3:  # one expert for all
            command.operands["a_stride"] = 0
        if self.rng.random() < 0.5:  # windows that the values of expert 0 say
            o = command.operands
            o |= dict(capacity=self.rng.randrange(1, 3), c=o["a"], c_stride=o["a_stride"])
        self.add(command)
        return command.operands

    def list(self, route):
        """A command of rows by a list: that of an expert, or words that are no list."""
        opcode = self.rng.choice(("GATHER", "SCATTER"))
        numbers = {} if self.rng.random() < 0.1 else dict(numbers=route["rows"])
        while True:
            command = self.random(opcode, rows=self.rng.randrange(1, EXPERTS.rows + 1))
            command = replace(command, operands=command.operands | numbers)
            try:
                check(command.encode(), self.config, DATA)
            except CommandError:
                continue
            return command

    def load(self, stride):
        """A LOAD that reads none of the ring, whoever's the memory is."""
        while True:
            command = self.random("LOAD")
            o = command.operands
            end = o["mem_addr"] + (o["rows"] - 1) * o["mem_stride"] + 32 * o["lines"]
            if end + stride * (EXPERTS.experts - 1) <= DATA:
                return command

    def expert(self, slot, route, skips, kinds):
        """An EXPERT command of a unit of ``kinds`` and its block of commands; ``skips`` are those whose ends
        are not known yet."""
        unit = self.config.topology.unit(self.rng.choice(kinds), self.rng.randrange(2))
        at, before = len(self.code), None
        stride = self.rng.choice((0, 64, 64, 8 * self.rng.randrange(100)))
        self.add(DecodedCommand("EXPERT", unit, {}))
        before = list(self.counts)
        for _ in range(self.rng.randrange(4)):
            kind = self.rng.randrange(6)
            if kind == 0:
                self.add(self.load(stride))
            elif kind == 1:
                self.add(self.random("MATMUL", scale=0) if self.rng.random() < 0.3 else self.random("NOP"))
            elif kind == 2:
                self.add(self.random("VECTOR"))
            else:
                self.add(self.list(route))
        block = len(self.code) - at - 1
        commands = block if self.rng.random() < 0.9 else self.rng.randrange(block + 1)
        self._even(before)
        skips.append((at, dict(slot=slot, stride=stride, commands=commands), before))

    def _even(self, before):
        """Tiles have as many commands to pass over each."""
        topology = self.config.topology
        for kind in (UnitKind.STREAM, UnitKind.MATMUL, UnitKind.VECTOR):
            units = [topology.unit(kind, tile) for tile in range(self.config.tiles)]
            most = max(self.counts[unit] - before[unit] for unit in units)
            for unit in units:
                while self.counts[unit] - before[unit] < most:
                    self.add(DecodedCommand("NOP", unit, {}))

    def close(self, at, operands, before):
        """Writes the EXPERT command at ``at``, which passes over all commands up to here."""
        topology = self.config.topology
        passed = {
            f"passed_{kind.value}": self.counts[topology.unit(kind, 0)] - before[topology.unit(kind, 0)]
            for kind in UnitKind
        }
        words = int.from_bytes(self.code[at], "little")
        o = operands | passed | dict(skip=len(self.code) - at - 1)
        fields = int.from_bytes(DecodedCommand("EXPERT", 0, o).encode(), "little")
        self.code[at] = (fields >> 128 << 128 | words & (1 << 128) - 1).to_bytes(64, "little")


def program(rng, golden):
    made = Program(rng, golden)
    for _ in range(rng.randrange(3)):
        made.add(made.random("LOAD"))
    for _ in range(rng.randrange(1, 3)):
        route, skips = made.route(), []
        nested = rng.random() < 0.5
        kinds = [UnitKind.DMA] if nested else list(UnitKind)
        for slot in range(rng.randrange(1, 6)):
            made.expert(rng.choice((slot, slot, rng.randrange(256))), route, skips, kinds)
            if not nested:
                made.close(*skips.pop())
        for skip in skips:
            made.close(*skip)
        made.add(made.random(rng.choice(("VECTOR", "STORE", "NOP", "STORE_WORD"))))
    return b"".join(made.code)


def counted(backend, code):
    """The error of a run, and the choices that were re-routed; 0 of one that has ended early."""
    try:
        return None, backend.run(code).rerouted
    except ChipError as error:
        return (error.code, error.index, error.unit), 0


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(name, marks=pytest.mark.nightly if name == "check bits" else pytest.mark.slow)
        for name in SETTINGS
    ],
)
def test_random_experts(setting):
    rng = random.Random(setting)
    config, programs = SETTINGS[setting]
    dump_at = DATA + 64 * RING
    dumping, end = dump(config, dump_at)
    backends = sim, golden = [open_backend(name, config, end, (DATA, RING)) for name in ("sim", "golden")]
    contents = rng.randbytes(DATA)
    for backend in backends:
        backend.write(0, contents)
    seen = Counter()
    for number in range(programs):
        code = program(rng, golden.chip)
        errors, rerouted = zip(*(counted(backend, code) for backend in backends))
        assert rerouted[0] == rerouted[1]
        seen["rerouted"] += rerouted[0]
        if errors[0] != errors[1]:  # one command names no row, and one behind it is refused: who is first?
            (code, index, _), (other, before, _) = errors
            assert (code, other) == (ErrorCode.FIELD, ErrorCode.LOCAL_RANGE) and index > before, number
        seen[errors[1] and errors[1][0].name] += 1
        for backend in backends:
            backend.run(dumping)
        for first, last in ((0, DATA), (dump_at, end)):
            ours, theirs = (
                np.frombuffer(backend.read(first, last - first), np.uint8) for backend in backends
            )
            np.testing.assert_array_equal(ours, theirs, err_msg=f"after program {number}")
    assert {None, "FIELD", "LOCAL_RANGE"} <= seen.keys() and seen["rerouted"]
    sim.close()


@pytest.mark.slow
def test_no_row_behind_an_error():
    """A list that names no row, of a command before one that is refused: the host does not wait for the unit
    that failed later."""
    config = SETTINGS["plain"][0]
    vector = config.topology.unit(UnitKind.VECTOR, 1)
    sim, golden = (open_backend(name, config, DATA + 64 * RING, (DATA, RING)) for name in ("sim", "golden"))
    row = dict(a=64, dst=128, c=0, rows=1, blocks=1, limit=32, numbers=1, tiles=2)
    first = DecodedCommand("LOAD", 0, dict(tiles=2, mem_addr=0, rows=1, lines=4)).encode()
    gather = DecodedCommand("GATHER", vector, row, ((0, 1),)).encode()
    program = first + gather + bytes([255]) * 64
    for backend in (sim, golden):
        backend.write(0, bytes([1]) * 128)
    assert run(golden, first + gather) == run(sim, first + gather) == (ErrorCode.LOCAL_RANGE, 1, vector)
    device = sim.ring.device
    before = device.clock()
    assert run(sim, program) == (ErrorCode.OPCODE, 2, 255)
    assert device.clock() - before < 10_000
    sim.close()


@pytest.mark.slow
def test_waits_for_ever():
    """An EXPERT command whose waits never hold: the watchdog ends it, and the next program is right."""
    config = SETTINGS["plain"][0]
    sim = open_backend("sim", config, DATA + 64 * RING, (DATA, RING))
    stuck = DecodedCommand("EXPERT", 0, {}, ((3, 1),)).encode()
    nop = DecodedCommand("NOP", 0, {}).encode()
    assert run(sim, nop + stuck + nop) == (ErrorCode.TIMEOUT, 1, NO_ERROR_UNIT)
    assert run(sim, nop * 3) is None
    passes = DecodedCommand("EXPERT", 3, dict(slot=1, skip=40, passed_matmul=40)).encode()
    assert (
        run(sim, passes + bytes([255]) * 64 * 40 + DecodedCommand("NOP", 0, {}, ((2, 40),)).encode()) is None
    )
    sim.close()
