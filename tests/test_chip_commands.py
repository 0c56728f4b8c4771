"""Random commands, one after the other, on the RTL, with and without clock gates, and on the golden chip:
equal memories, equal errors, and with and without gates every event in the same cycle; with one home of
memory, and with two that two or four tiles share."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
import random

import numpy as np
import pytest

from poblano.isa.errors import CommandError, ErrorCode
from poblano.isa.topology import UnitKind
from poblano_host.golden.commands import DecodedCommand
from poblano_host.golden.rules import check
from poblano_host.runtime.backend import open_backend
from poblano_host.runtime.errors import ChipError
from tb.control.random_commands import mutated, valid_command
from tests.models_tiny import chip
from tests.test_first_light import dump

HOME = 1 << 17
RING = 64
"""Commands in the ring."""


def _chip(tiles):
    return chip(4, 4, lanes=2, tiles=tiles, data_width=64, vmem_lines=512, amem_blocks=128)


def _homes(tiles):
    return _chip(tiles).with_memory(homes=2, home_bytes=HOME, bandwidth=Fraction(11, 2), latency=23)


CHECKED, LARGEST = LONG = "check bits", "two homes of two tiles"
SETTINGS = {
    "one home": (_chip(2), 1 << 16, 120),
    "two homes": (_homes(2), HOME + (1 << 15), 60),
    CHECKED: (replace(_homes(2), ecc=True, clear_at_reset=True), HOME + (1 << 15), 60),
    LARGEST: (_homes(4), HOME + (1 << 15), 60),
}
"""Configurations, the bytes of memory that commands use, and programs; behind the bytes are the ring and what
local memories are compared by."""


def short(command):
    """Whether a command is soon done; a STREAM only goes with a MATMUL that takes it."""
    o = command.operands
    if command.opcode == "MATMUL":
        return o["rows"] * o["groups"] * o["k_blocks"] < 100
    if command.opcode == "STREAM":
        return False
    return o.get("rows", 0) * (o.get("lines", 0) + 16 * o.get("blocks", 0) + 1) < 2000


def weights(chip, matmul):
    """The command that streams what a MATMUL takes."""
    topology, memory = chip.topology, chip.config.memory
    tile = topology.tile_of(matmul.unit)
    start = HOME * (tile // (chip.config.tiles // memory.homes))
    unit, size = topology.unit(UnitKind.STREAM, tile), chip.stream_size(matmul.operands)
    return DecodedCommand("STREAM", unit, dict(mem_addr=start, mem_stride=0, row_bytes=size, rows=1))


def last_command(rng, config, data_bytes):
    """A changed command: bytes, and the command if it is valid."""
    while True:
        streams = ("STREAM",) * 4 if config.memory.homes > 1 else ()
        opcode = rng.choice(("VECTOR", "VECTOR", "MATMUL", None, *streams))
        data = mutated(rng, valid_command(rng, config, data_bytes, opcode).encode())
        try:
            command = check(data, config, data_bytes)
        except CommandError as error:
            if error.code is not ErrorCode.MEMORY_RANGE:  # there is more memory than commands should use
                return data, None
        else:
            if short(command):
                return data, command


def program(rng, chip, data_bytes):
    """Valid commands, each of which waits for the one before, the last of them changed if it stayed valid;
    and a changed command that did not."""
    config = chip.config
    commands = [valid_command(rng, config, data_bytes) for _ in range(60)]
    commands = [command for command in commands if short(command)][:12]
    data, last = last_command(rng, config, data_bytes)
    counts, code, waits = [0] * config.units, [], ()
    for command in [*commands, last] if last else commands:
        for part in [weights(chip, command), command] if command.opcode == "MATMUL" else [command]:
            counts[part.unit] += 1
            code.append(replace(part, waits=waits).encode())
        waits = ((command.unit, counts[command.unit]),)
    return b"".join(code), b"" if last else data


def run(backend, code):
    try:
        backend.run(code)
    except ChipError as error:
        return error.code, error.index, error.unit
    return None


def same_cycles(results):
    """With and without clock gates."""
    gated, plain, _ = results
    assert (gated.cycles, gated.counters) == (plain.cycles, plain.counters)
    np.testing.assert_array_equal(gated.events, plain.events)


@pytest.mark.parametrize(
    "setting",
    [pytest.param(n, marks=pytest.mark.nightly if n in LONG else pytest.mark.slow) for n in SETTINGS],
)
def test_random_commands(setting):
    rng = random.Random(15)
    config, data_bytes, programs = SETTINGS[setting]
    ring, dump_at = (data_bytes, RING), data_bytes + 64 * RING
    dumping, end = dump(config, dump_at)
    sim, golden = (open_backend(name, config, end, ring) for name in ("sim", "golden"))
    plain = open_backend("sim", replace(config, clock_gates=False), end, ring)
    backends = sim, plain, golden
    contents = rng.randbytes(data_bytes)
    for backend in backends:
        backend.write(0, contents)
    seen = Counter()
    for number in range(programs):
        code, refused = program(rng, golden.chip, data_bytes)
        same_cycles([backend.run(code) for backend in backends])
        errors = [run(backend, refused) for backend in backends]
        assert errors[0] == errors[1] == errors[2], number
        seen[errors[0] and errors[0][0].name] += 1
        same_cycles([backend.run(dumping) for backend in backends])
        for first, last in ((0, data_bytes), (dump_at, end)):
            ours, others, theirs = (
                np.frombuffer(backend.read(first, last - first), np.uint8) for backend in backends
            )
            np.testing.assert_array_equal(ours, theirs, err_msg=f"after program {number}")
            np.testing.assert_array_equal(others, theirs, err_msg=f"without gates, after program {number}")
    assert {None, "UNIT", "FIELD", "ALIGNMENT", "LOCAL_RANGE", "OVERLAP"} <= seen.keys()
    assert ("HOME" in seen) == (config.memory.homes > 1)
    sim.close()
    plain.close()
