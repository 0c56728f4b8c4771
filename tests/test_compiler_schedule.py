"""The order of a program's commands, and weight streams that move ahead."""

import numpy as np
import pytest

from poblano.isa.commands import Opcode
from poblano.isa.topology import LARGEST, UnitKind
from poblano.isa.vector_ops import Sink
from poblano_host.compiler.assemble import assemble
from poblano_host.compiler.builder import Builder, Op
from poblano_host.compiler.program import Program
from poblano_host.compiler.schedule import hoist, schedule
from tests.models_tiny import chip

STREAM, MATMUL = (LARGEST.unit(kind) for kind in (UnitKind.STREAM, UnitKind.MATMUL))


def op(unit, cycles, rank=0, latency=None):
    return Op(
        Opcode.NOP,
        unit,
        {},
        None,
        "",
        rank=rank,
        cycles=cycles,
        latency=cycles if latency is None else latency,
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_command_once_behind_its_predecessors(seed):
    generator = np.random.default_rng(seed)
    ops = [
        op(int(generator.integers(4)), int(generator.integers(1, 50)), int(generator.integers(2)))
        for _ in range(120)
    ]
    before = [
        sorted({int(p) for p in generator.integers(0, n, generator.integers(0, 4))}) if n else []
        for n in range(120)
    ]
    order = schedule(ops, before)
    assert sorted(order) == list(range(120))
    place = {n: at for at, n in enumerate(order)}
    assert all(place[p] < place[n] for n in range(120) for p in before[n])


def test_the_longest_path_goes_first():
    """Command 1 has a long one behind it, command 0 has none: 1 goes first, and units work at once."""
    ops = [op(0, 10), op(0, 10), op(1, 100)]
    assert schedule(ops, [[], [], [1]]) == [1, 0, 2]


def test_the_lower_rank_goes_before_the_longer_path():
    ops = [op(0, 10, rank=0), op(0, 10, rank=1), op(1, 100)]
    assert schedule(ops, [[], [], [1]]) == [0, 1, 2]


def test_a_unit_takes_what_is_ready():
    """Command 2 would come before 3, but is not ready when the unit is free."""
    ops = [op(0, 50), op(1, 10), op(1, 100), op(1, 5)]
    assert schedule(ops, [[], [], [0], [1]]) == [0, 1, 3, 2]


def test_effects_are_seen_later_than_the_unit_is_free():
    ops = [op(0, 10, latency=40), op(0, 10), op(1, 10)]
    assert schedule(ops, [[], [], [0]]) == [0, 1, 2]


def _products(b, count):
    for n in range(count):
        for _ in range(3):
            b.vector(0, blocks=1, a=0, sink=Sink.QUANTISE, dst=0, label="")
        reads = ()
        if n == 4:
            b.store_block(0, 0, 0, 1, 0, 32, 0, 0, writes=["keys"], label="")
            reads = ["keys"]
        operands = dict(a_stride=1, rows=1, k_blocks=1, groups=1, dst=64, dst_stride=2)
        b.matmul(0, [0], dict(mem_addr=512 * n, row_bytes=512), reads=reads, **operands, label="")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_streams_move_ahead(depth):
    """A stream moves up to the product that drains the stream ``queue_depth`` before it, and stays behind
    what it waits for."""
    b = Builder(chip(queue_depth=depth))
    _products(b, 6)
    commands = Program(assemble(b).bind({})).commands
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
    assert len(commands) == len(b.ops)


def test_streams_stay_behind_their_floor():
    matmuls = {10: (1, 20), 11: (1, 21)}
    order = hoist([1, 2, 10, 3, 11], matmuls, {20: (), 21: ()}, 4, {10: 0, 11: 3})
    assert order == [20, 1, 2, 10, 21, 3, 11]
