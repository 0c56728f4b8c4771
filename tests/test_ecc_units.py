"""Flipped bits in the memories of readers, engines and units: one of a word is corrected, two are an error of
the command, before its ``done``."""

from dataclasses import replace
from functools import partial
import random

from amaranth.hdl import Fragment
from amaranth.sim import Simulator
import pytest

from poblano.axi.reader import AXIReader
from poblano.axi.reorder_reader import AXIReorderReader
from poblano.axi.signature import AXIConfig
from poblano.config import PRESETS, ConfigError
from poblano.control.fetch import CommandFetch
from poblano.isa.commands import Command, ErrorCode, Opcode
from poblano.memory.kv_buffer import KVBuffer
from tb.common.flips import double_flip, single_flips
from tb.common.streams import send, simulate
from tb.common.units import dma_unit, matmul_unit, stream_unit, vector_unit
from tests import test_axi_reader, test_axi_reorder_reader, test_memory_kv_buffer
from tests.test_memory_engines import memory

WIDTH = 32
AXI = AXIConfig(addr_width=test_axi_reader.ADDRESS_BITS, data_width=WIDTH, id_width=3)
NANO = replace(PRESETS["nano"], ecc=True, clear_at_reset=True)


def reader(kind):
    """A reader, its memory, and what has its flags."""
    options = dict(burst_beats=16, outstanding=4, ecc=True)
    if kind == "in order":
        dut = AXIReader(AXI, word_width=WIDTH, depth=64, **options)
        return dut, test_axi_reader.Memory, dut
    dut = AXIReorderReader(AXI, **options)
    return dut, test_axi_reorder_reader.Memory, dut.events


@pytest.mark.parametrize("kind", ["in order", "any order"])
def test_readers(kind):
    """With single flips, all beats come as memory gave them, in order."""
    dut, memory_of, flags = reader(kind)
    rng = random.Random(kind)
    todo = test_axi_reader.transfers(rng, 20, WIDTH // 8)
    expected = [word for transfer in todo for word in test_axi_reader.words_of(transfer, WIDTH // 8, 1)]
    corrected, got = 0, []

    async def check(ctx):
        nonlocal corrected
        while len(got) < len(expected):
            take = rng.random() < 0.6
            ctx.set(dut.o.ready, take)
            _, _, valid, word, error, one, two = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.error, flags.corrected, flags.failed
            )
            assert not error and not (valid and two)
            corrected += valid and take and one
            if valid and take:
                got.append(word)
            assert got == expected[: len(got)]

    simulate(
        dut,
        check,
        background=[memory_of(dut.axi, width=WIDTH, rng=rng, stall=0.1).run, send(dut.cmd, todo, rng=rng)],
        flips=lambda design: single_flips(design, rng, chance=1),
    )
    assert corrected > 5


def test_reordered_beat_fails():
    """A beat that can't be corrected is as an error response of memory."""
    dut, memory_of, _ = reader("any order")
    mem = memory_of(dut.axi, width=WIDTH, rng=random.Random(1))
    errors = []

    async def check(ctx):
        for cycle in range(160):
            ctx.set(dut.o.ready, cycle > 100)
            errors.append(ctx.get(dut.error))
            assert not ctx.get(dut.done)
            await ctx.tick()

    todo = [{"addr": 0, "row_bytes": 256, "stride": 0, "rows": 1}]
    simulate(
        dut,
        check,
        background=[mem.run, send(dut.cmd, todo, rng=random.Random(2))],
        flips=lambda design: double_flip(design, "beats.array", random.Random(3), cycle=90),
    )
    assert sum(errors) == 1


def kv_buffer():
    module = test_memory_kv_buffer
    return KVBuffer(module.CONFIG, size=module.SIZE, ecc=True)


def test_kv_buffer():
    """With single flips, what was written is read."""
    dut = kv_buffer()
    starts = [test_memory_kv_buffer.LOW + 64 * n for n in range(64)]
    write, read = test_memory_kv_buffer.masters(dut, [(at, 8) for at in starts], ids=4)
    corrected = []

    async def reads(ctx):
        while not write.done:
            await ctx.tick()
        await read.run(ctx)

    async def ends(ctx):
        while not read.done:
            corrected.append(ctx.get(dut.events.corrected))
            assert not ctx.get(dut.events.failed)
            await ctx.tick()

    flips = lambda design: single_flips(design, random.Random(1), chance=1)
    simulate(dut, ends, background=[write.run, reads], flips=flips)
    assert sum(corrected) > 10


def test_kv_buffer_fails():
    """A beat that can't be corrected is answered with SLVERR, for as long as the answer waits."""
    dut = kv_buffer()
    answers = []

    async def bench(ctx):
        read = dut.axi.read
        ctx.set(read.ar.payload, {"id": 1, "addr": test_memory_kv_buffer.LOW, "len": 1})
        ctx.set(read.ar.valid, 1)
        await ctx.tick().until(read.ar.ready)
        ctx.set(read.ar.valid, 0)
        for cycle in range(20):
            ctx.set(read.r.ready, cycle % 4 == 3)
            if ctx.get(read.r.valid):
                answers.append(ctx.get(read.r.payload.resp))
            await ctx.tick()

    simulate(dut, bench, flips=lambda d: double_flip(d, "array", random.Random(1), cycle=1))
    assert set(answers) == {2} and len(answers) > 4


async def fails(ctx, unit, command, *, cycles=600, hook=None):
    """Hands over a command, which must end in an ECC error, in the cycle of its ``done`` at the latest."""
    ctx.set(unit.cmd.payload, int.from_bytes(command.encode(), "little"))
    ctx.set(unit.cmd.valid, 1)
    errors = 0
    for _ in range(cycles):
        if hook is not None:
            hook(ctx)
        taken = ctx.get(unit.cmd.ready)
        errors += ctx.get(unit.error)
        assert not ctx.get(unit.error) or ctx.get(unit.code) == ErrorCode.ECC
        assert errors or not ctx.get(unit.done)
        await ctx.tick()
        if taken:
            ctx.set(unit.cmd.valid, 0)
    assert errors


def run(dut, bench, *others, flips=None):
    design = Fragment.get(dut, None)
    simulator = Simulator(design)
    simulator.add_clock(1e-9)
    for other in others:
        simulator.add_testbench(other, background=True)
    if flips is not None:
        simulator.add_testbench(flips(design), background=True)
    simulator.add_testbench(bench)
    simulator.run()


def test_load_fails():
    """Beats in the DMA engine's queue, while the bus is not ready."""
    dut = dma_unit(NANO)
    load = Command(Opcode.LOAD, 0, {"mem_addr": 64, "mem_stride": 64, "rows": 2, "lines": 4, "tiles": 1})

    async def bus(ctx):
        for _ in range(100):
            await ctx.tick()
        ctx.set(dut.bus.ready, 1)

    run(
        dut,
        partial(fails, unit=dut.unit, command=load),
        bus,
        memory(dut.read, dut.write, latency=5),
        flips=lambda design: double_flip(design, "words.storage", random.Random(1), cycle=80),
    )


@pytest.mark.parametrize("where", ["vmem", "amem"])
def test_store_fails(where):
    """A local memory's word."""
    dut = dma_unit(NANO)
    opcode = Opcode.STORE if where == "vmem" else Opcode.STORE_BLOCK
    operands = {"mem_addr": 64, "mem_stride": 64, "rows": 2}
    operands |= {"lines": 2} if where == "vmem" else {"length": 32, "offset": 0}
    port = getattr(dut, where)[0]

    async def local(ctx):
        answers, count = [0, 0], 0
        ctx.set(port.req.ready, 1)
        while True:
            valid = answers.pop(0)
            count += valid
            ctx.set(port.valid, valid)
            ctx.set(port.failed, valid and count == 3)
            answers.append(ctx.get(port.req.valid))
            await ctx.tick()

    command = Command(opcode, 0, operands)
    run(dut, partial(fails, unit=dut.unit, command=command), local, memory(dut.read, dut.write))


@pytest.mark.parametrize("queue", [False, True])
def test_stream_fails(queue):
    """The weight FIFO says with each word whether it is what memory gave."""
    config = PRESETS["desk"]
    dut = stream_unit(replace(config, ecc=True, clear_at_reset=True))
    words = 40
    stream = {"mem_addr": 0, "mem_stride": 0, "row_bytes": 32 * words, "rows": 1}
    got = []

    async def bench(ctx):
        ctx.set(dut.unit.cmd.payload, int.from_bytes(Command(Opcode.STREAM, 1, stream).encode(), "little"))
        ctx.set(dut.unit.cmd.valid, 1)
        await ctx.tick().until(dut.unit.cmd.ready)
        ctx.set(dut.unit.cmd.valid, 0)
        for cycle in range(200):
            ctx.set(dut.o.ready, cycle > 120)
            if ctx.get(dut.o.valid & dut.o.ready):
                got.append((ctx.get(dut.o.payload), ctx.get(dut.failed)))
            await ctx.tick()

    flips = lambda design: double_flip(design, "words.storage", random.Random(1), cycle=100)
    run(dut, bench, memory(dut.axi, latency=5), flips=flips if queue else None)
    assert [word for word, bad in got if not bad] == list(range(2 if queue else words))
    assert len(got) == words


def answering(port, *, bad):
    """A testbench for a read port that answers with zeros after two cycles; the answer ``bad`` fails."""

    async def bench(ctx):
        answers, count = [0, 0], 0
        ctx.set(port.req.ready, 1)
        while True:
            valid = answers.pop(0)
            ctx.set(port.valid, valid)
            ctx.set(port.failed, valid and count == bad)
            count += valid
            answers.append(ctx.get(port.req.valid))
            await ctx.tick()

    return bench


VECTOR = {"a": 0, "dst": 64, "rows": 2, "blocks": 2, "a_stride": 8, "dst_stride": 8, "tiles": 1}


@pytest.mark.parametrize("port", ["a", "b"])
def test_vector_fails(port):
    """A row of vector memory, of operand a or b, also the last."""
    dut = vector_unit(NANO)
    operands = dict(VECTOR, sel1=0, b=128, b_stride=8, op1=1, share=1, sink=1)

    async def bench(ctx):
        ctx.set(dut.local.ready, 1)
        ctx.set(dut.bus.ready, 1)
        await fails(ctx, dut.unit, Command(Opcode.VECTOR, 3, operands), cycles=300)

    count = 2 * 2 * 16
    bad = {name: count - 1 if name == port else -1 for name in "ab"}
    run(dut, bench, *(answering(getattr(dut, name), bad=bad[name]) for name in "ab"))


@pytest.mark.parametrize("what", ["a", "meta", "weights"])
def test_matmul_fails(what):
    """A word of activation memory, of scales, or of the weight stream."""
    dut = matmul_unit(NANO)
    operands = {"rows": 2, "k_blocks": 1, "groups": 1, "a": 0, "dst": 0, "tiles": 1, "element": 1}

    def hook(ctx):
        ctx.set(dut.weights.valid, 1)
        ctx.set(dut.last, 1)
        ctx.set(dut.weights_failed, what == "weights")

    async def bench(ctx):
        ctx.set(dut.local.ready, 1)
        ctx.set(dut.bus.ready, 1)
        await fails(ctx, dut.unit, Command(Opcode.MATMUL, 2, operands), cycles=300, hook=hook)

    bad = {name: 0 if name == what else -1 for name in ("a", "meta")}
    run(dut, bench, *(answering(getattr(dut, name), bad=bad[name]) for name in bad))


def test_fetch_fails():
    """A command of which a beat can't be corrected has an error, as of memory."""
    dut = CommandFetch(NANO.memory)
    got = []

    async def bench(ctx):
        ctx.set(dut.size, 16)
        ctx.set(dut.tail, 6)
        ctx.set(dut.enable, 1)
        for cycle in range(200):
            ctx.set(dut.o.ready, cycle > 100)
            if ctx.get(dut.o.valid & dut.o.ready):
                got.append(ctx.get(dut.o.payload.error))
            await ctx.tick()

    flips = lambda design: double_flip(design, "fifo.storage", random.Random(1), cycle=90)
    run(dut, bench, memory(dut.axi, latency=5), flips=flips)
    assert len(got) == 6 and got[0] == 0 and all(got[2:])


def test_refused():
    with pytest.raises(ConfigError, match="queue_depth must be at most 8 with ecc, not 16"):
        replace(NANO, queue_depth=16)
