"""The throughput of the stream unit and the DMA engine with a memory that never stalls."""

from collections import deque
from dataclasses import replace

from amaranth.sim import Simulator
import pytest

from poblano.isa.commands import Command, Opcode
from tb.common.units import dma_unit, stream_unit
from tb.memory.configs import CONFIGS


def memory(axi_read=None, axi_write=None, *, latency=20, written=None):
    """A testbench: a memory that takes everything and answers after ``latency``; a beat is its own number.
    ``written``, a list, gets the strobes of the beats that are written."""

    async def bench(ctx):
        beats, answers, cycle = deque(), deque(), 0
        if axi_read is not None:
            ctx.set(axi_read.ar.ready, 1)
        if axi_write is not None:
            ctx.set(axi_write.aw.ready, 1)
            ctx.set(axi_write.w.ready, 1)
        while True:
            if axi_read is not None:
                on = bool(beats) and beats[0][0] <= cycle
                ctx.set(axi_read.r.valid, on)
                if on:
                    ctx.set(
                        axi_read.r.payload, {"id": 0, "resp": 0, "data": beats[0][1], "last": beats[0][2]}
                    )
                    beats.popleft()
                if ctx.get(axi_read.ar.valid):
                    ar = ctx.get(axi_read.ar.payload)
                    size = len(axi_read.r.payload.data) // 8
                    beats.extend(
                        (cycle + latency, ar.addr // size + i, i == ar.len) for i in range(ar.len + 1)
                    )
            if axi_write is not None:
                on = bool(answers) and answers[0] <= cycle
                ctx.set(axi_write.b.valid, on)
                if on:
                    answers.popleft()
                if ctx.get(axi_write.w.valid):
                    if ctx.get(axi_write.w.payload.last):
                        answers.append(cycle + latency)
                    if written is not None:
                        written.append(ctx.get(axi_write.w.payload.strb))
            await ctx.tick()
            cycle += 1

    return bench


async def execute(ctx, unit, commands):
    """Hands over ``commands``; returns the cycles until all are done."""
    todo, left, cycles = deque(commands), len(commands), 0
    while left:
        ctx.set(unit.cmd.valid, bool(todo))
        if todo:
            ctx.set(unit.cmd.payload, int.from_bytes(todo[0].encode(), "little"))
            if ctx.get(unit.cmd.ready):
                todo.popleft()
        assert not ctx.get(unit.error)
        left -= ctx.get(unit.done)
        await ctx.tick()
        cycles += 1
        assert cycles < 3000
    return cycles


@pytest.mark.parametrize("name", ["narrow", "desk", "wide"])
def test_stream_throughput(name):
    """Several commands, several rows: a beat a cycle after the first."""
    config = CONFIGS[name].with_memory(outstanding=16)
    config = replace(config, tile=replace(config.tile, fifo_bytes=2048))  # more than latency times bandwidth
    dut = stream_unit(config)
    words = max(16, 64 * config.memory.data_bytes // config.stream_bytes)
    row_bytes = words * config.stream_bytes
    commands = [
        Command(
            Opcode.STREAM,
            1,
            {"mem_addr": c << 14, "mem_stride": 2 * row_bytes, "row_bytes": row_bytes, "rows": 2},
        )
        for c in range(2)
    ]
    beats = 4 * row_bytes // config.memory.data_bytes
    latency = 8

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        cycles = await execute(ctx, dut.unit, commands)
        assert cycles <= beats + latency + 12

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(memory(dut.axi, latency=latency), background=True)
    simulator.add_testbench(bench)
    simulator.run()


def run_dma(dut, bench, *, latency=20, written=None):
    """``bench`` with a DMA engine, its memory, and local memories that answer after two cycles."""

    async def local(ctx):
        ports = [*dut.vmem, *dut.amem]
        first, second = [0] * len(ports), [0] * len(ports)
        for port in ports:
            ctx.set(port.req.ready, 1)
        ctx.set(dut.bus.ready, 1)
        while True:
            for port, valid in zip(ports, second):
                ctx.set(port.valid, valid)
            second, first = first, [ctx.get(port.req.valid) for port in ports]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(memory(dut.read, dut.write, latency=latency, written=written), background=True)
    simulator.add_testbench(local, background=True)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("name", ["narrow", "desk", "wide"])
def test_dma_throughput(name):
    """A row of a few bytes, or a beat of a long row, in little more than a cycle."""
    config = CONFIGS[name].with_memory(outstanding=64)
    dut = dma_unit(config)
    beat = config.memory.data_bytes
    latency, rows = 10, 60
    base = {"mem_addr": 64, "mem_stride": 64}
    plans = [  # commands, beats
        ([Command(Opcode.STORE_BLOCK, 0, base | {"rows": rows, "length": 2, "offset": 6})] * 2, 2 * rows),
        ([Command(Opcode.STORE_SCALE, 0, base | {"rows": rows, "src_stride": 1})] * 2, 2 * rows),
        ([Command(Opcode.STORE_BLOCK, 0, base | {"rows": rows, "length": 32})], rows * 32 // beat),
        ([Command(Opcode.STORE, 0, base | {"rows": 3, "lines": 20})], 60 * 32 // beat),
        ([Command(Opcode.LOAD, 0, base | {"rows": 3, "lines": 20, "tiles": 1})] * 2, 120 * 32 // beat),
    ]

    async def bench(ctx):
        for commands, beats in plans:
            cycles = await execute(ctx, dut.unit, commands)
            assert cycles <= beats + latency + 16 + 8 * len(commands), (
                commands[0].opcode.name,
                cycles,
                beats,
            )

    run_dma(dut, bench, latency=latency)


@pytest.mark.parametrize("name", ["narrow", "desk", "wide"])
@pytest.mark.parametrize("opcode", [Opcode.STORE_SCALE, Opcode.STORE_WORD])
def test_words_that_fill_beats_are_written_in_whole_beats(name, opcode):
    config = CONFIGS[name]
    dut, written = dma_unit(config), []
    words = config.memory.data_bytes // 4
    operands = {"mem_addr": 4096, "mem_stride": 4, "rows": 4 * words}
    plans = [  # other operands, beats
        ({}, 4),
        ({"mem_addr": 4096 + 4}, 4 * words),
        ({"rows": 4 * words + 1}, 4 * words + 1),
        ({"mem_stride": 8}, 4 * words),
    ]

    async def bench(ctx):
        for changes, beats in plans:
            written.clear()
            await execute(ctx, dut.unit, [Command(opcode, 0, operands | changes)])
            whole = beats == 4 and words > 1
            assert len(written) == beats or words == 1, changes
            assert all(bin(strobe).count("1") == (4 * words if whole else 4) for strobe in written), changes

    run_dma(dut, bench, written=written)


def test_nop_waits_for_what_is_pending():
    dut = stream_unit(CONFIGS["desk"])
    done = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        stream = Command(Opcode.STREAM, 1, {"mem_addr": 0, "mem_stride": 0, "row_bytes": 320, "rows": 1})
        done.append(await execute(ctx, dut.unit, [stream]))
        done.append(
            await execute(ctx, dut.unit, [stream, Command(Opcode.NOP, 1, {}), Command(Opcode.NOP, 1, {})])
        )
        assert done[1] > done[0] + 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(memory(dut.axi), background=True)
    simulator.add_testbench(bench)
    simulator.run()
