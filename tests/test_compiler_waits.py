"""Which commands wait for which: what they read and write, and what follows from other waits."""

import numpy as np
import pytest

from poblano.isa.commands import WAITS, Opcode
from poblano.isa.regions import Memory
from poblano.isa.topology import LARGEST, UnitKind
from poblano.isa.vector_ops import AluOp, Reduce, Select, Sink
from poblano_host.compiler.assemble import assemble
from poblano_host.compiler.builder import Block, Builder, Op
from poblano_host.compiler.dependencies import Dependencies
from poblano_host.compiler.errors import CompileError
from poblano_host.compiler.image import Allocator, align
from poblano_host.compiler.program import Program
from poblano_host.compiler.regions import Region
from poblano_host.compiler.waits import Counts
from tests.models_tiny import chip

STREAM, MATMUL, VECTOR = (LARGEST.unit(kind) for kind in (UnitKind.STREAM, UnitKind.MATMUL, UnitKind.VECTOR))
VECTOR_1 = LARGEST.unit(UnitKind.VECTOR, 1)


class Order:
    """A builder whose commands keep their order; ``waits`` are those of the last command."""

    def __init__(self, **changes):
        self.config = chip(**changes)
        self.builder = Builder(self.config)
        self.dependencies, self.counts = Dependencies(self.config), Counts(self.config.units)

    def __getattr__(self, name):
        def emit(*arguments, **operands):
            before = len(self.builder.ops)
            getattr(self.builder, name)(*arguments, **operands, label="")
            for number, op in enumerate(self.builder.ops[before:], before):
                self.groups = self.counts.add(number, op.unit, self.dependencies.add(number, op))

        return emit

    @property
    def waits(self):
        (waits,) = self.groups
        return waits


@pytest.mark.parametrize("slots, sure", [((0, 1), False), ((1, 0), True), ((0, 0), False)])
def test_experts_that_may_be_passed_over(slots, sure):
    """What an expert's command waits for, those of lower slots and those outside wait for themselves."""
    config, ops = chip(), []
    for block in (None, *slots, None):
        builder = Builder(config)
        builder.block = None if block is None else Block("mixture", block)
        builder.vector(0, blocks=1, a=64, sink=Sink.VMEM, dst=0, label="")
        ops += builder.ops
    dependencies = Dependencies(config)
    found = [dependencies.add(n, op) for n, op in enumerate(ops)]
    assert found[:2] == [set(), {0}]
    assert found[2] == ({0, 1} if sure else {1})
    assert found[3] == {0, 1, 2}


def test_read_waits_for_write_and_write_for_read():
    b = Order()
    b.load([0, 1], 0, 0, 16, 0, 1, 4)
    b.vector(0, blocks=1, a=16, sink=Sink.VMEM, dst=32)
    assert b.waits == [(0, 1)]
    b.vector(0, blocks=1, a=0, sink=Sink.VMEM, dst=4)  # touches nothing of it
    assert b.waits == []
    b.load([0], 0, 0, 18, 0, 1, 1)  # overwrites what the first vector command read
    assert b.waits == [(VECTOR, 1)]
    b.vector(1, blocks=1, a=16, sink=Sink.VMEM, dst=32)  # tile 1's copy is another
    assert b.waits == [(0, 1)]


def test_waits_that_follow_from_others_are_dropped():
    b = Order()
    b.load([0, 1], 0, 0, 0, 0, 1, 4)
    b.vector(0, [0, 1], blocks=1, a=0, sink=Sink.VMEM, dst=16)
    b.vector(1, blocks=1, a=0, b=16, op1=AluOp.ADD, sel1=Select.B, sink=Sink.VMEM, dst=32)
    assert b.waits == [(VECTOR, 1)]  # needs both; the vector command has waited for the load
    b.vector(1, blocks=1, a=16, sink=Sink.VMEM, dst=36)  # known since the command before
    assert b.waits == []


def test_rows_and_strides():
    b = Order()
    b.load([0], 0, 0, 100, 8, 3, 2)  # lines 100-101, 108-109, 116-117
    b.vector(0, blocks=1, a=102, sink=Sink.VMEM, dst=0)
    assert b.waits == []
    b.vector(0, blocks=1, a=106, sink=Sink.VMEM, dst=0)
    assert b.waits == [(0, 1)]


def test_rows_that_share_a_row():
    """Two groups of three rows: six rows of a, two of b; with a step, blocks 0, 2, 4 and 16, 18, 20."""
    b = Order()
    b.load([0], 0, 0, 20, 4, 1, 4)
    shared = dict(rows=6, share=3, blocks=1, a=0, a_stride=4, op1=AluOp.MUL, sel1=Select.B)
    b.vector(0, **shared, b=40, b_stride=4, sink=Sink.QUANTISE, dst=0, dst_stride=16, dst_step=2)
    assert b.waits == [(0, 1)]  # the sixth row of a
    b.store_block(0, 20, 0, 1, 0, 0, 0, 0)
    assert b.waits == [(VECTOR, 1)]
    b.store_block(0, 6, 0, 1, 0, 0, 0, 0)
    assert b.waits == []
    b.load([0], 0, 0, 48, 4, 1, 4)  # b has two rows, 40 to 43 and 44 to 47
    assert b.waits == []
    b.load([0], 0, 0, 44, 4, 1, 4)
    assert b.waits == []  # the store has waited for the vector command


@pytest.mark.parametrize("tile, line, waits", [(0, 5, True), (1, 5, True), (0, 6, False), (1, 6, False)])
def test_rows_that_are_dealt_out(tile, line, waits):
    """Of five rows of two lines each tile gets three at most."""
    b, product = Order(), dict(rows=5, spread=3, groups=1, k_blocks=1, dst_stride=2)
    b.matmul(0, [0, 1], dict(mem_addr=0, row_bytes=512), **product)
    b.store(tile, line, 0, 1, 1, 0, 0)
    assert b.waits == [(MATMUL, 1)] * waits


def test_scalars_reductions_and_activations():
    b = Order()
    b.vector(0, rows=9, blocks=1, a=0, a_stride=4, reduce=Reduce.SUM, r=200)
    b.vector(1, blocks=1, a=0, sink=Sink.QUANTISE, dst=5)
    b.store(0, 201, 0, 1, 1, 0, 0)  # the ninth row's sum
    assert b.waits == [(VECTOR, 1)]
    b.store_block(1, 5, 0, 1, 0, 0, 0, 0)
    assert b.waits == [(VECTOR_1, 1)]
    b.vector(1, blocks=1, a=0, sink=Sink.QUANTISE, dst=5)
    assert b.waits == [(0, 2)]


def test_a_write_waits_for_every_reader():
    """Readers of one unit replace each other only where they have read the same."""
    b = Order()
    b.vector(0, blocks=1, a=0, sink=Sink.VMEM, dst=40)
    b.vector(0, blocks=2, a=0, sink=Sink.VMEM, dst=48)
    b.vector(1, blocks=1, a=4, sink=Sink.VMEM, dst=40)
    b.load([0, 1], 0, 0, 0, 0, 1, 8)
    assert b.waits == [(VECTOR, 2), (VECTOR_1, 1)]
    b.load([1], 0, 0, 4, 0, 1, 1)
    assert b.waits == []


def test_many_waits_become_nops():
    b = Order(tiles=7)
    for tile in range(6):
        b.vector(tile, [6], blocks=1, a=0, sink=Sink.VMEM, dst=4 * tile)
    b.vector(6, blocks=6, a=0, sink=Sink.VMEM, dst=64)
    nop, own = b.groups
    assert len(nop) == WAITS
    assert sorted(nop + own) == [(LARGEST.unit(UnitKind.VECTOR, tile), 1) for tile in range(6)]
    commands = Program(assemble(b.builder).bind({})).commands
    assert [c.opcode for c in commands] == [Opcode.VECTOR] * 6 + [Opcode.NOP, Opcode.VECTOR]
    assert len(commands[-2].waits) == WAITS and commands[-2].unit == commands[-1].unit


def test_memory_by_name():
    b = Order()
    b.vector(0, blocks=1, a=0, sink=Sink.QUANTISE, dst=0)
    b.store_block(0, 0, 0, 1, 0, 32, 0, 0, writes=["keys of head 1"])
    b.matmul(0, [0], dict(mem_addr=0, row_bytes=512), reads=["keys of head 1"], rows=1, groups=1, k_blocks=1)
    stream = b.builder.ops[-2]
    assert stream.opcode is Opcode.STREAM and stream.reads_memory == ("keys of head 1",)
    assert b.dependencies.add(9, stream) == {1}
    b.matmul(1, [1], dict(mem_addr=0, row_bytes=512), reads=["keys of head 2"], rows=1, groups=1, k_blocks=1)
    assert b.dependencies.add(10, b.builder.ops[-2]) == set()


@pytest.mark.parametrize("seed", range(4))
def test_dependencies_against_every_address(seed):
    """Against a model that keeps, for each address, its last writer and all readers since; what a unit has
    before in its queue is done before."""
    generator, config = np.random.default_rng(seed), chip()

    def region():
        rows, stride, extent = (int(generator.integers(low, 6)) for low in (1, 0, 1))
        base = int(generator.integers(0, 8))
        return Region(Memory.VECTOR, 0, base, stride, rows, extent)

    dependencies, writer, readers, closure = Dependencies(config), {}, {}, []
    cells = lambda r: {r.base + row * r.stride + i for row in range(r.rows) for i in range(r.extent)}
    last = {}
    for number in range(200):
        op = Op(Opcode.VECTOR, int(generator.integers(0, 3)), {}, None, "")
        op.reads = [region() for _ in range(generator.integers(0, 3))]
        op.writes = [region() for _ in range(generator.integers(0, 2))]
        wanted = set()
        for at in set().union(*map(cells, op.reads)) if op.reads else ():
            wanted |= {writer[at]} if at in writer else set()
        for at in set().union(*map(cells, op.writes)) if op.writes else ():
            wanted |= ({writer[at]} if at in writer else set()) | readers.get(at, set())
        for r in op.reads:
            for at in cells(r):
                readers.setdefault(at, set()).add(number)
        for r in op.writes:
            for at in cells(r):
                writer[at], readers[at] = number, set()
        got = dependencies.add(number, op)
        known = set().union(*(closure[n] | {n} for n in (*got, *last.get(op.unit, ()))), set())
        assert wanted - {number} <= known, number
        closure.append(known)
        last[op.unit] = [number]


def test_allocator():
    places = Allocator((0, 100), "this needs memory", "lines")
    assert places.take(10) == 0 and places.take(5, 8) == 16 and places.take(79) == 21
    with pytest.raises(CompileError, match="this needs memory of at least 101 lines; there are 100"):
        places.take(1)
    assert Allocator((20, 100), "this", "lines").take(5, 8) == 24
    assert align(0, 8) == 0 and align(9, 8) == 16
