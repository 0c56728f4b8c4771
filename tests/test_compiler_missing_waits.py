"""Waits that a program lacks: none in what the compiler makes, and every one that is taken away is found."""

from dataclasses import replace
import random
import re

import numpy as np
import pytest

from poblano.config import preset
from poblano.isa.commands import Command
from poblano_host.assembler import assemble
from poblano_host.compiler import CompiledModel
from poblano_host.compiler.missing_waits import missing_waits
from tests.models_tiny import chip, tiny_model

CHIPS = {
    "desk": dict(tiles=2),
    "nano": dict(rows=4, cols=4, lanes=2, tiles=1, data_width=64),
    "homes": dict(tiles=4, homes=2),
}


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("first, count", [(0, 7), (7, 1)])
def test_compiled(name, first, count):
    config = chip(**CHIPS[name])
    program = CompiledModel(tiny_model(), config).step(np.arange(count) + 1, first)
    commands = [Command.decode(row.tobytes()) for row in program.words]
    assert not missing_waits(commands, config)
    # The compiler writes only waits that no other wait implies.
    rng = random.Random(1)
    waiting = [n for n, command in enumerate(commands) if command.waits]
    missed = 0
    for n in rng.sample(waiting, 10):
        taken = rng.randrange(len(commands[n].waits))
        waits = tuple(wait for k, wait in enumerate(commands[n].waits) if k != taken)
        changed = [*commands[:n], replace(commands[n], waits=waits), *commands[n + 1 :]]
        missed += not missing_waits(changed, config)
    assert missed <= 2  # those that a MATMUL's weights imply


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
