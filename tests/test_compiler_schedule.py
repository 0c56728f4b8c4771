"""The order of a program's commands, and weight streams that move ahead."""

import numpy as np
import pytest

from poblano.isa.commands import Opcode
from poblano.isa.topology import LARGEST, UnitKind
from poblano.isa.vector_ops import Sink
from poblano_host.compiler.assemble import assemble
from poblano_host.compiler.builder import Builder, Op
from poblano_host.compiler.program import Program
from poblano_host.compiler.schedule import ahead, hoist, schedule
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
    """A stream moves ahead, but stays behind the product that drains the stream ``queue_depth`` before it,
    and behind what it waits for."""
    b = Builder(chip(queue_depth=depth))
    _products(b, 6)
    commands = Program(assemble(b).bind({})).commands
    units = [command.unit for command in commands]
    streams, products = [np.flatnonzero(np.array(units) == unit) for unit in (STREAM, MATMUL)]
    assert [commands[i].operands["mem_addr"] for i in streams] == [512 * n for n in range(6)]
    for n, place in enumerate(streams):
        assert place < products[n]
        assert n < depth or place > products[n - depth]
    assert streams[4] > units.index(0)
    assert depth == 1 or any(streams[n + 1] < products[n] for n in range(5))
    assert len(commands) == len(b.ops)


def test_streams_move_up_to_what_makes_room():
    """Products 10 to 13 of streams 20 to 23, of which the last waits for command 2; two fit into a queue."""
    matmuls = {10 + n: (1, 20 + n) for n in range(4)}
    predecessors = {20: (), 21: (), 22: (), 23: (2,)}
    order = hoist([10, 11, 12, 1, 2, 13], matmuls, predecessors, 2, dict.fromkeys(matmuls, 0))
    assert order == [20, 21, 10, 22, 11, 12, 1, 2, 23, 13]


def test_streams_stay_behind_their_floor():
    matmuls = {10: (1, 20), 11: (1, 21)}
    order = hoist([1, 2, 10, 3, 11], matmuls, {20: (), 21: ()}, 4, {10: 0, 11: 3})
    assert order == [20, 1, 2, 10, 21, 3, 11]


def test_commands_come_when_their_queue_has_room():
    """Units 0 and 1, queues of two: command 4 goes to unit 1 as the third, so it comes when 1 starts. Command
    5 would too, but stays behind its predecessor 3."""
    order, units = [0, 1, 2, 3, 4, 5], [0, 1, 1, 0, 1, 1]
    before = [(), (), (), (), (), (3,)]
    assert ahead(order, units, before, [0] * 6, 2) == [0, 1, 2, 3, 4, 5]
    order = [0, 1, 2, 6, 7, 3, 8, 4, 5]
    units = [0, 1, 1, 0, 1, 1, 0, 0, 0]
    before = [()] * 5 + [(8,)] + [()] * 3
    assert ahead(order, units, before, [0] * 9, 2) == [0, 1, 2, 6, 7, 4, 3, 8, 5]


@pytest.mark.parametrize("seed", range(5))
def test_no_command_comes_later_or_too_early(seed):
    """Each unit's commands stay in their order, behind their predecessors and in their segment, and a
    command is not before the one that is ``depth`` before it in its unit."""
    generator, depth = np.random.default_rng(seed), 3
    units = [int(unit) for unit in generator.integers(0, 4, 60)]
    units = [None if unit == 3 else unit for unit in units]
    before = [
        sorted({int(p) for p in generator.integers(0, n, generator.integers(0, 3))}) if n else []
        for n in range(60)
    ]
    floors = [0] * 30 + [30] * 30
    order = ahead(list(range(60)), units, before, floors, depth)
    assert sorted(order) == list(range(60))
    place = {n: at for at, n in enumerate(order)}
    for n in range(60):
        assert all(place[p] < place[n] for p in before[n])
        assert units[n] is None or place[n] >= place[floors[n]]
    for unit in (0, 1, 2):
        mine = [n for n in order if units[n] == unit]
        assert mine == sorted(mine)
    assert [n for n in order if units[n] is None] == [n for n in range(60) if units[n] is None]


def test_products_of_attention_go_where_memory_is_ahead():
    """Two products whose weights take memory long, 0 and 1, and two that take the array long, 2 and 3: they
    take turns, though the first two have the lower rank."""
    stream = lambda cycles: op(2, cycles)
    products = [(10, 50), (10, 50), (100, 40), (100, 40)]
    ops = [op(1, array, rank=n // 2) for n, (array, _) in enumerate(products)]
    for some, (_, memory) in zip(ops, products):
        some.stream = stream(memory)
    assert schedule(ops, [[]] * 4, 40) == [2, 0, 3, 1]
    for some in ops:
        some.stream = stream(0)
    assert schedule(ops, [[]] * 4, 40) == [0, 1, 2, 3]
