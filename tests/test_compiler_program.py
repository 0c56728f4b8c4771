"""Waits that the program builder works out, and weight streams that move ahead."""

import numpy as np
import pytest

from poblano.isa.commands import WAITS, Opcode
from poblano.isa.topology import LARGEST, UnitKind
from poblano_host.compiler.errors import CompileError
from poblano_host.compiler.image import Allocator, align
from poblano_host.compiler.program import ProgramBuilder
from tests.models_tiny import chip

STREAM, MATMUL, VECTOR = (LARGEST.unit(kind) for kind in (UnitKind.STREAM, UnitKind.MATMUL, UnitKind.VECTOR))
VECTOR_1 = LARGEST.unit(UnitKind.VECTOR, 1)


def builder(**changes):
    return ProgramBuilder(chip(**changes))


def last(b):
    return b.commands[-1]


def test_read_waits_for_write_and_write_for_read():
    b = builder()
    b.load([0, 1], 0, 0, 16, 0, 1, 4, reads=())
    b.vector(0, blocks=1, a=16, sink=1, dst=32)
    assert last(b).waits == ((0, 1),)
    b.vector(0, blocks=1, a=0, sink=1, dst=4)  # touches nothing of it
    assert last(b).waits == ()
    b.load([0], 0, 0, 18, 0, 1, 1, reads=())  # overwrites what the first vector command read
    assert last(b).waits == ((VECTOR, 1),)
    b.vector(1, blocks=1, a=16, sink=1, dst=32)  # tile 1's copy is another
    assert last(b).waits == ((0, 1),)


def test_waits_that_follow_from_others_are_dropped():
    b = builder()
    b.load([0, 1], 0, 0, 0, 0, 1, 4, reads=())
    b.vector(0, [0, 1], blocks=1, a=0, sink=1, dst=16)
    b.vector(
        1, blocks=1, a=0, b=16, op1=1, sel1=0, sink=1, dst=32
    )  # needs both; the vector command has waited for the load
    assert last(b).waits == ((VECTOR, 1),)
    b.vector(1, blocks=1, a=16, sink=1, dst=36)  # known since the command before
    assert last(b).waits == ()


def test_rows_and_strides():
    b = builder()
    b.load([0], 0, 0, 100, 8, 3, 2, reads=())  # lines 100-101, 108-109, 116-117
    b.vector(0, blocks=1, a=102, sink=1, dst=0)
    assert last(b).waits == ()
    b.vector(0, blocks=1, a=106, sink=1, dst=0)
    assert last(b).waits == ((0, 1),)


def test_scalars_reductions_and_activations():
    b = builder()
    b.vector(0, rows=9, blocks=1, a=0, a_stride=4, reduce=1, r=200)
    b.vector(1, blocks=1, a=0, sink=2, dst=5)
    b.store(0, 201, 0, 1, 1, 0, 0, writes=())  # the ninth row's sum
    assert last(b).waits == ((VECTOR, 1),)
    b.store_scale(1, 5, 0, 1, 0, 0, writes=())
    assert last(b).waits == ((VECTOR_1, 1),)
    b.vector(1, blocks=1, a=0, sink=2, dst=5)
    assert last(b).waits == ((0, 2),)


def test_many_waits_become_nops():
    b = builder(tiles=7)
    for tile in range(6):
        b.vector(tile, [6], blocks=1, a=0, sink=1, dst=4 * tile)
    b.vector(6, blocks=6, a=0, sink=1, dst=64)
    nop, command = b.commands[-2:]
    assert nop.opcode is Opcode.NOP and nop.unit == command.unit and len(nop.waits) == WAITS
    assert sorted(nop.waits + command.waits) == [
        (LARGEST.unit(UnitKind.VECTOR, tile), 1) for tile in range(6)
    ]


def test_memory_by_name():
    b = builder()
    b.vector(0, blocks=1, a=0, sink=2, dst=0)
    b.store_block(0, 0, 0, 1, 0, 32, 0, 0, writes=[b.memory("keys", 0, 1)])
    b.stream(0, 0, 512, reads=[b.memory("keys", 0, 1)])
    assert last(b).waits == ((0, 1),)
    b.stream(1, 0, 512, reads=[b.memory("keys", 0, 2)])
    assert last(b).waits == ()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_streams_move_ahead(depth):
    """A stream moves up to the product that drains the stream ``queue_depth`` before it, and stays behind
    what it waits for."""
    b = builder(queue_depth=depth)
    for n in range(6):
        for _ in range(3):
            b.vector(0, blocks=1, a=0, sink=2, dst=0)
        reads = ()
        if n == 4:
            b.store_block(0, 0, 0, 1, 0, 32, 0, 0, writes=[b.memory("keys")])
            reads = [b.memory("keys")]
        b.stream(0, 512 * n, 512, reads=reads)
        b.matmul(0, [0], a=0, a_stride=1, rows=1, k_blocks=1, groups=1, dst=64, dst_stride=2)
    commands = b.build().commands
    units = [command.unit for command in commands]
    streams, products = [np.flatnonzero(np.array(units) == unit) for unit in (STREAM, MATMUL)]
    assert [commands[i].operands["mem_addr"] for i in streams] == [512 * n for n in range(6)]
    store = units.index(0)
    for n, place in enumerate(streams):
        assert place < products[n]
        earliest = products[n - depth] + 1 if n >= depth else n
        if n == 4:
            earliest = max(earliest, store + 1)
        if n != 5 or depth < 2:
            assert place == earliest, (n, place, earliest)
        else:
            assert place == max(earliest, streams[4] + 1)
    assert sorted(command.encode() for command in commands) == sorted(
        command.encode() for command in b.commands
    )


def test_allocator():
    places = Allocator(100, "this needs memory", "lines")
    assert places.take(10) == 0 and places.take(5, 8) == 16 and places.take(79) == 21
    with pytest.raises(CompileError, match="this needs memory of at least 101 lines; there are 100"):
        places.take(1)
    assert align(0, 8) == 0 and align(9, 8) == 16
