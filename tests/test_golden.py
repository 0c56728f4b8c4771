"""The golden chip: each command against the references, refused commands, and rings that would hang the
chip."""

import numpy as np
import pytest

from poblano.isa.commands import CommandError, ErrorCode, Opcode
from poblano.isa.vector_ops import AluOp, SfuOp
from poblano.vector.reference import argmax, quantise, reduce_max, reduce_sum
from poblano.vector.sfu_reference import sfu
from poblano_host.golden.chip import GoldenError
from tests.golden import DMA, MATMUL, STREAM, VECTOR, VECTOR_1, command, new, run


def test_load_and_store():
    golden = new()
    run(
        golden,
        command(Opcode.LOAD, DMA, mem_addr=64, mem_stride=96, dst=5, dst_stride=3, rows=4, lines=2, tiles=2),
        command(
            Opcode.STORE, DMA, mem_addr=4096, mem_stride=64, src=5, src_stride=3, rows=4, lines=2, tile=1
        ),
    )
    rows = golden.memory[64 : 64 + 4 * 96].reshape(4, 96)[:, :64]
    np.testing.assert_array_equal(golden.memory[4096 : 4096 + 256].reshape(4, 64), rows)
    assert golden.tiles[1].vmem[40:56].tobytes() == rows[0].tobytes()
    assert golden.tiles[0].vmem[40:56].tobytes() != rows[0].tobytes()
    assert golden.completed[DMA] == 2


def test_store_block_and_scale():
    golden = new()
    run(
        golden,
        command(
            Opcode.STORE_BLOCK,
            DMA,
            mem_addr=128,
            mem_stride=40,
            src=3,
            src_stride=2,
            rows=3,
            offset=16,
            length=8,
            tile=1,
        ),
        command(Opcode.STORE_SCALE, DMA, mem_addr=1024, mem_stride=4, src=3, src_stride=2, rows=3, tile=1),
    )
    tile = golden.tiles[1]
    for row in range(3):
        assert (
            golden.memory[128 + 40 * row : 136 + 40 * row].tobytes()
            == tile.amem_q[3 + 2 * row, 16:24].tobytes()
        )
    assert golden.memory[1024:1036].tobytes() == tile.amem_scale[[3, 5, 7]].tobytes()


def test_store_word():
    golden = new()
    before = golden.memory[:64].copy()
    run(golden, command(Opcode.STORE_WORD, DMA, mem_addr=8, mem_stride=12, rows=3, value=0x04030201))
    for at in (8, 20, 32):
        before[at : at + 4] = 1, 2, 3, 4
    np.testing.assert_array_equal(golden.memory[:64], before)


def test_vector():
    golden = new()
    v = golden.tiles[0].vmem.copy()
    a = v[80 : 80 + 2 * 96].reshape(2, 96)[:, :64]
    b = v[800:864]
    run(
        golden,
        command(
            Opcode.VECTOR,
            VECTOR,
            rows=2,
            blocks=2,
            a=10,
            a_stride=12,
            b=100,
            op1=AluOp.MUL,
            sel1=0,
            sfu=SfuOp.SIGMOID,
            op2=AluOp.SUB,
            sel2=2,
            imm2=0.25,
            sink=1,
            dst=200,
            dst_stride=8,
            reduce=1,
            r=150,
            tiles=3,
        ),
        command(
            Opcode.VECTOR,
            VECTOR,
            rows=2,
            blocks=2,
            a=10,
            a_stride=12,
            swap=1,
            limit=5,
            limit_step=40,
            fill=1,
            reduce=2,
            r=151,
        ),
        command(
            Opcode.VECTOR,
            VECTOR,
            rows=2,
            blocks=2,
            a=10,
            a_stride=12,
            op1=AluOp.RSUB,
            sel1=1,
            c=3,
            sink=2,
            dst=7,
            dst_stride=20,
            tiles=2,
        ),
    )
    x = sfu(SfuOp.SIGMOID, a * b) - np.float32(0.25)
    for tile in golden.tiles:
        np.testing.assert_array_equal(tile.vmem[1600:1728].reshape(2, 64), x)
        np.testing.assert_array_equal(tile.vmem[1200:1202], reduce_sum(x))
    swapped = a.reshape(2, 32, 2)[..., ::-1].reshape(2, 64).copy()
    swapped[0, 5:], swapped[1, 45:] = -np.inf, -np.inf
    np.testing.assert_array_equal(golden.tiles[0].vmem[1208:1210], reduce_max(swapped))
    q, scale, total = quantise(v[24:26, None] - a)
    tile = golden.tiles[1]
    np.testing.assert_array_equal(tile.amem_q[[[7, 8], [27, 28]]].reshape(2, 64), q)
    np.testing.assert_array_equal(tile.amem_scale[[[7, 8], [27, 28]]], scale)
    np.testing.assert_array_equal(tile.amem_sum[[[7, 8], [27, 28]]], total)


def test_argmax_goes_on():
    golden = new()
    v = golden.tiles[0].vmem
    first, second = argmax(v[:32], 0), argmax(v[32:64], 100, argmax(v[:32], 0))
    run(
        golden,
        command(Opcode.VECTOR, VECTOR, a=0, reduce=3, first=1, index=0, r=50),
        command(Opcode.VECTOR, VECTOR, a=4, reduce=3, index=100, r=51),
    )
    for at, (value, index) in ((400, first), (408, second)):
        assert v[at] == value and v[at + 1 : at + 2].view(np.uint32)[0] == index


def test_refused_command():
    """What comes before a refused command is executed, nothing after; the error has its number."""
    golden = new()
    load = lambda dst, **changes: command(
        Opcode.LOAD, DMA, **dict(mem_addr=0, dst=dst, rows=1, lines=1, tiles=1) | changes
    )
    before = golden.tiles[0].vmem.copy()
    with pytest.raises(CommandError, match="mem_addr 4 is not a multiple of 32") as error:
        run(golden, load(0), load(1, mem_addr=4), load(2))
    assert error.value.code is ErrorCode.ALIGNMENT and error.value.index == 1
    assert golden.tiles[0].vmem[:8].tobytes() == golden.memory[:32].tobytes()
    np.testing.assert_array_equal(golden.tiles[0].vmem[8:], before[8:])
    with pytest.raises(CommandError, match="memory bytes 0x10000 to 0x10020 pass the end at 0x10000"):
        run(golden, load(0, mem_addr=1 << 16))


def test_waits_order_units():
    """A command may wait for one that comes later in the ring, as long as the queues have room."""
    golden = new()
    copy = lambda unit, a, dst, waits: command(Opcode.VECTOR, unit, waits, a=a, sink=1, dst=dst, tiles=3)
    source = golden.tiles[1].vmem[:32].copy()
    for seed in (None, *range(8)):
        golden.reset_queue()
        run(
            golden,
            copy(VECTOR, 40, 80, [(VECTOR_1, 1)]),
            copy(VECTOR_1, 0, 40, []),
            command(Opcode.NOP, DMA, [(VECTOR, 1)]),
            shuffle=seed,
        )
        np.testing.assert_array_equal(golden.tiles[0].vmem[640:672], source)
        golden.tiles[0].vmem[640:672] = 0
    assert golden.completed[DMA] == golden.completed[VECTOR] == golden.completed[VECTOR_1] == 1


def test_counts_go_on_and_wrap():
    golden = new()
    golden.completed[VECTOR] = 2**20 - 1
    run(golden, command(Opcode.NOP, VECTOR), command(Opcode.NOP, DMA, [(VECTOR, 2**20)]))
    assert golden.completed[DMA] == 1
    with pytest.raises(GoldenError, match=r"dma: command 0 \(NOP\) waits for tile0.vector >= 1$"):
        run(golden, command(Opcode.NOP, DMA, [(VECTOR, 2**20 + 1)]))


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_hangs(seed):
    stream = lambda waits=(): command(Opcode.STREAM, STREAM, waits, mem_addr=0, row_bytes=512, rows=1)
    product = lambda groups=1: command(
        Opcode.MATMUL, MATMUL, a=0, rows=1, k_blocks=1, groups=groups, dst=0, tiles=1
    )
    with pytest.raises(
        GoldenError, match=r"tile0.matmul: command 1 \(MATMUL\) waits for 512 bytes of weights"
    ):
        run(new(), stream(), product(2), shuffle=seed)
    with pytest.raises(
        GoldenError,
        match="dma: command 0 .* waits for tile0.vector >= 1; tile0.vector: command 1 .* waits for dma >= 1",
    ):
        run(
            new(),
            command(Opcode.NOP, DMA, [(VECTOR, 1)]),
            command(Opcode.NOP, VECTOR, [(DMA, 1)]),
            shuffle=seed,
        )
    with pytest.raises(
        GoldenError, match="no command can go on"
    ):  # the queue of the stream unit blocks the matmuls
        run(new(), *[stream()] * 20, product(), shuffle=seed)
    run(new(), *[stream(), product()] * 20, shuffle=seed)


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_lengths(seed):
    """A product whose weights do not end where a STREAM does fails; what does not depend on it goes on."""
    stream = lambda size: command(Opcode.STREAM, STREAM, mem_addr=0, row_bytes=size, rows=1)
    product = lambda dst: command(Opcode.MATMUL, MATMUL, a=0, rows=1, k_blocks=1, groups=1, dst=dst, tiles=1)
    word = lambda *waits: command(Opcode.STORE_WORD, DMA, waits, mem_addr=0x8000, value=7, rows=1)
    for sizes in ((512, 544, 512), (512, 480, 512)):
        golden = new()
        golden.memory[0x8000:0x8008] = 0
        with pytest.raises(
            CommandError, match="the weights of command 4 end .* before those of a STREAM"
        ) as e:
            run(
                golden,
                *map(stream, sizes),
                product(0),
                product(4),
                product(8),
                word((MATMUL, 1)),
                shuffle=seed,
            )
        assert (e.value.code, e.value.index) == (ErrorCode.LENGTH, 4)
        assert golden.memory[0x8000] == 7 and golden.completed[MATMUL] == 1
    golden = new()
    golden.memory[0x8000:0x8008] = 0
    with pytest.raises(CommandError):
        run(golden, stream(544), product(0), word((MATMUL, 1)), shuffle=seed)
    assert golden.memory[0x8000] == 0
    run(new(), stream(256), stream(256), product(0), shuffle=seed)


def test_clear():
    golden = new(tiles=2)
    other = golden.tiles[1].vmem.copy()
    run(golden, command(Opcode.CLEAR, VECTOR))
    tile = golden.tiles[0]
    assert not any(memory.any() for memory in (tile.vmem, tile.amem_q, tile.amem_scale, tile.amem_sum))
    np.testing.assert_array_equal(golden.tiles[1].vmem, other)


def test_stream_is_done_when_the_fifo_has_it():
    """A wait for a STREAM larger than the FIFO, by the product that drains it, hangs."""
    stream = command(Opcode.STREAM, STREAM, mem_addr=0, row_bytes=512, rows=8)
    product = command(Opcode.MATMUL, MATMUL, [(STREAM, 1)], a=0, rows=1, k_blocks=1, groups=8, dst=0, tiles=1)
    with pytest.raises(GoldenError, match="waits for tile0.stream >= 1"):
        run(new(), stream, product)


def test_progress():
    golden, seen = new(), []
    run(golden, *[command(Opcode.NOP, DMA)] * 3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
