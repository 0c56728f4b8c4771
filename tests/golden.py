"""A golden chip with random memories, and commands for it."""

import numpy as np

from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import LARGEST, UnitKind
from poblano_host.golden.chip import GoldenChip
from tests.models_tiny import chip

__all__ = ["DMA", "MATMUL", "STREAM", "VECTOR", "VECTOR_1", "command", "new", "run"]

DMA, STREAM, MATMUL, VECTOR = map(LARGEST.unit, UnitKind)
VECTOR_1 = LARGEST.unit(UnitKind.VECTOR, 1)


def new(**changes):
    golden = GoldenChip(chip(**changes), np.zeros(1 << 16, np.uint8))
    generator = np.random.default_rng(3)
    golden.memory[:] = generator.integers(0, 256, golden.memory.size)
    for tile in golden.tiles:
        tile.vmem[:] = generator.normal(size=tile.vmem.size)
        tile.amem_q[:] = generator.integers(-127, 128, tile.amem_q.shape)
        tile.amem_scale[:] = generator.uniform(0.1, 1, tile.amem_scale.shape)
        tile.amem_sum[:] = tile.amem_q.sum(1)
    return golden


def command(opcode, unit, waits=(), **operands):
    if opcode is Opcode.VECTOR:
        operands = dict(rows=1, blocks=1, share=1, limit=65535, tiles=1) | operands
    return Command(opcode, unit, operands, tuple(waits)).encode()


def run(golden, *commands, **options):
    golden.run(b"".join(commands), **options)
