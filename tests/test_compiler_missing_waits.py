"""Waits that a program lacks: none in what the compiler makes, and every one that is taken away is found."""

from dataclasses import replace
import random
import re

import numpy as np
import pytest

from poblano.config import preset
from poblano.isa.commands import Command
from poblano.isa.regions import Span
from poblano_host.assembler import assemble
from poblano_host.compiler import CompiledModel
from poblano_host.compiler.missing_waits import _meet, missing_waits
from poblano_host.golden.chip import GoldenChip
from tests.models_tiny import chip, tiny_model

CHIPS = {
    "desk": dict(tiles=2),
    "nano": dict(rows=4, cols=4, lanes=2, tiles=1, data_width=64),
    "homes": dict(tiles=4, homes=2),
}


def compiled(name, first, count):
    config = chip(**CHIPS[name])
    program = CompiledModel(tiny_model(), config).step(np.arange(count) + 1, first)
    return config, [Command.decode(row.tobytes()) for row in program.words]


def without_a_wait(commands, rng):
    """A program with one wait of one command taken away."""
    n = rng.choice([n for n, command in enumerate(commands) if command.waits])
    taken = rng.randrange(len(commands[n].waits))
    waits = tuple(wait for k, wait in enumerate(commands[n].waits) if k != taken)
    return [*commands[:n], replace(commands[n], waits=waits), *commands[n + 1 :]]


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("first, count", [(0, 7), (7, 1)])
def test_compiled(name, first, count):
    config, commands = compiled(name, first, count)
    assert not missing_waits(commands, config)
    # The compiler writes only waits that no other wait implies; a few follow from a MATMUL's weights.
    rng = random.Random(1)
    found = [missing_waits(without_a_wait(commands, rng), config) for _ in range(10)]
    assert sum(map(bool, found)) >= 8


def test_orders():
    """Where no wait is missing every order of execution gives the same memory; where one is, some do not."""
    config, commands = compiled("desk", 0, 5)
    spans = [c.opcode.definition.memory.span(c.values) for c in commands if c.opcode.definition.memory]
    before = np.random.default_rng(1).integers(0, 60, max(span.end for span in spans)).astype(np.uint8)

    def memories(commands):
        for seed in range(4):
            memory = before.copy()
            GoldenChip(config, memory).run(b"".join(c.encode() for c in commands), shuffle=seed)
            yield memory.tobytes()

    expected, rng, differ = set(memories(commands)), random.Random(2), 0
    assert len(expected) == 1
    for _ in range(8):
        changed = without_a_wait(commands, rng)
        if set(memories(changed)) != expected:
            differ += 1
            assert missing_waits(changed, config)
    assert differ >= 2


def test_meet():
    rng = random.Random(4)
    span = lambda: Span(*(rng.randrange(*part) for part in ((0, 40), (0, 12), (1, 6), (1, 8))))
    for _ in range(500):
        one, two = span(), span()
        cells = [
            {s.base + s.stride * row + n for row in range(s.rows) for n in range(s.extent)}
            for s in (one, two)
        ]
        assert _meet(one, two) == bool(cells[0] & cells[1])


LOAD = "dma LOAD mem_addr=0x1000 dst=0 rows=1 lines=4 tiles=1"
VECTOR = "tile0.vector VECTOR a={} rows=1 blocks=1 sink=VMEM dst={} tiles=1"
STORE = "dma STORE mem_addr={} src={} rows=1 lines=4 tile=0"
STREAM = "tile0.stream STREAM mem_addr=0x2000 rows=1 row_bytes=128"
MATMUL = "tile0.matmul MATMUL a=0 rows=1 k_blocks=1 groups=1 dst=64 tiles=1"


@pytest.mark.parametrize(
    "lines, wait, what",
    [
        ([LOAD, VECTOR.format(0, 8)], "dma>=1", "reads lines 0 to 3 of tile 0's vector memory, .* writes"),
        ([VECTOR.format(0, 8), LOAD], "tile0.vector>=1", "writes lines 0 to 3 of .* which {} reads"),
        ([VECTOR.format(8, 0), LOAD], "tile0.vector>=1", "writes lines 0 to 3 of .* which {} writes too"),
        ([STORE.format("0x2060", 0), STREAM], "dma>=1", "reads memory from 0x2060 on, which {} writes"),
        ([STREAM, STORE.format("0x2000", 0)], "tile0.stream>=1", "writes memory from 0x2000 on, .* reads"),
        ([LOAD, VECTOR.format(4, 8)], None, None),
        ([LOAD, VECTOR.format(0, 8) + " wait dma>=1"], None, None),
        ([LOAD, "tile0.matmul NOP wait dma>=1", VECTOR.format(0, 8) + " wait tile0.matmul>=1"], None, None),
        ([STORE.format("0x2080", 0), STREAM], None, None),
        # A MATMUL that is complete has taken its weights, so that their stream is.
        ([STREAM, MATMUL, STORE.format("0x2000", 0) + " wait tile0.matmul>=1"], None, None),
        # In the other order than they are written, but in an order.
        ([VECTOR.format(0, 8) + " wait dma>=1", LOAD], None, None),
        # Rows between each other's.
        (
            [
                "dma STORE_WORD mem_addr=0x2000 mem_stride=256 rows=4",
                "tile0.stream STREAM mem_addr=0x2080 mem_stride=256 rows=3 row_bytes=128",
            ],
            None,
            None,
        ),
    ],
)  # fmt: skip
def test_pairs(lines, wait, what):
    found = missing_waits(assemble("\n".join(lines)), preset("nano"))
    if wait is None:
        assert not found
    else:
        (lack,) = found
        assert (lack.earlier, lack.later, lack.wait) == (0, 1, wait)
        assert re.fullmatch(what.replace("{}", r"\{\}"), lack.what), lack.what
