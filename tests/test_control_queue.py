"""UnitQueue in Amaranth's simulator: order, waits modulo 2**20, latency, NOPs, hold."""

from collections import deque
import random

from amaranth.hdl import *
from amaranth.sim import Simulator
import pytest

from poblano.control.queue import IN_FLIGHT, UnitQueue
from poblano.isa.commands import COMMAND_BYTES, COUNT_BITS, NO_UNIT, Command, Opcode

MODULO = 1 << COUNT_BITS
UNITS = 5


def bits(command, index=0):
    return int.from_bytes(command.encode(), "little") | index << 8 * COMMAND_BYTES


def simulate(dut, *benches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    for bench, background in benches:
        simulator.add_testbench(bench, background=background)
    simulator.run()


async def offer(ctx, dut, command, index=0):
    """Put a command in; returns after the edge at which it went in."""
    ctx.set(dut.i.payload.as_value(), bits(command, index))
    ctx.set(dut.i.valid, 1)
    while not ctx.get(dut.i.ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(dut.i.valid, 0)


COUNTS = (  # completed, waited for, whether it holds
    (0, 0, True),
    (0, 1, False),
    (1, 1, True),
    (5, 1, True),
    (0, MODULO - 1, True),
    (MODULO - 1, 0, False),
    (0, MODULO // 2, False),
    (0, MODULO // 2 + 1, True),
    (MODULO // 2 - 1, 0, True),
    (MODULO // 2, 0, False),
    (2, MODULO - 3, True),
    (MODULO - 3, 2, False),
    (MODULO - 1, MODULO - 1, True),
    (MODULO - 2, MODULO - 1, False),
)


@pytest.mark.parametrize("place", range(4))
def test_counts_are_modular(place):
    dut = UnitQueue(depth=2, units=UNITS)
    unit = 1 + place

    async def bench(ctx):
        for reached, count, holds in COUNTS:
            for other in range(UNITS):
                ctx.set(dut.counts[other], reached if other == unit else (count + MODULO // 2) % MODULO)
            waits = ((NO_UNIT, 0),) * place + ((unit, count),)
            await offer(ctx, dut, Command(Opcode.STREAM, 1, {}, waits))
            await ctx.tick().repeat(6)
            assert ctx.get(dut.cmd.valid) == holds, (reached, count)
            ctx.set(dut.counts[unit], count)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.cmd.valid)
            ctx.set(dut.cmd.ready, 1)
            await ctx.tick()
            ctx.set(dut.cmd.ready, 0)
            ctx.set(dut.unit_done, 1)
            await ctx.tick()
            ctx.set(dut.unit_done, 0)

    simulate(dut, (bench, False))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_latency(depth):
    """One cycle (depth 1) or two through the queue, and one for each wait."""
    dut = UnitQueue(depth=depth, units=UNITS)

    async def bench(ctx):
        for waits in range(5):
            await offer(ctx, dut, Command(Opcode.STREAM, 1, {}, ((2, 0),) * waits))
            cycles = 1
            while not ctx.get(dut.cmd.valid):
                await ctx.tick()
                cycles += 1
            assert cycles == (1 if depth == 1 else 2) + waits
            ctx.set(dut.cmd.ready, 1)
            await ctx.tick()
            ctx.set(dut.cmd.ready, 0)

    simulate(dut, (bench, False))


def test_waits_are_looked_at_while_the_unit_works():
    """The second command is offered in the cycle after the first is taken, if its waits hold and have been
    looked at."""
    dut = UnitQueue(depth=4, units=UNITS)

    async def bench(ctx):
        await offer(ctx, dut, Command(Opcode.STREAM, 1, {}))
        await offer(ctx, dut, Command(Opcode.STREAM, 1, {}))
        for _ in range(6):
            await ctx.tick()
        ctx.set(dut.cmd.ready, 1)
        for _ in range(2):
            assert ctx.get(dut.cmd.valid) and ctx.get(dut.start)
            await ctx.tick()
        assert not ctx.get(dut.cmd.valid) and not ctx.get(dut.empty)
        ctx.set(dut.unit_done, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.unit_done, 0)
        assert ctx.get(dut.empty) and ctx.get(dut.count) == 2

    simulate(dut, (bench, False))


def test_hold():
    dut = UnitQueue(depth=4, units=UNITS)

    async def bench(ctx):
        ctx.set(dut.cmd.ready, 1)
        ctx.set(dut.hold, 1)
        for opcode in (Opcode.NOP, Opcode.STREAM):
            await offer(ctx, dut, Command(opcode, 1, {}))
        for _ in range(8):
            await ctx.tick()
            assert not ctx.get(dut.cmd.valid) and not ctx.get(dut.start) and not ctx.get(dut.done)
        ctx.set(dut.hold, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.count) == 1

    simulate(dut, (bench, False))


def test_at_most_16_in_the_unit():
    dut = UnitQueue(depth=4, units=UNITS)

    async def feed(ctx):
        while True:
            await offer(ctx, dut, Command(Opcode.STREAM, 1, {}))

    async def bench(ctx):
        ctx.set(dut.cmd.ready, 1)
        taken = 0
        for _ in range(80):
            taken += ctx.get(dut.cmd.valid)
            await ctx.tick()
        assert taken == IN_FLIGHT
        ctx.set(dut.unit_done, 1)
        await ctx.tick()
        ctx.set(dut.unit_done, 0)
        assert ctx.get(dut.cmd.valid)

    simulate(dut, (feed, True), (bench, False))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_random(depth):
    """Random commands, waits on a random count, and a unit that may complete in the cycle after it took a
    command."""
    rng = random.Random(depth)
    dut = UnitQueue(depth=depth, units=UNITS)
    program = []
    target = 0
    for _n in range(200):
        target += rng.randrange(3)
        waits = tuple(
            (2, target % MODULO) if rng.random() < 0.5 else (NO_UNIT, 0) for _ in range(rng.randrange(5))
        )
        program.append((Command(rng.choice((Opcode.NOP, Opcode.STREAM)), 1, dict(), waits), target))

    async def feed(ctx):
        for n, (command, _) in enumerate(program):
            while rng.random() < 0.3:
                await ctx.tick()
            await offer(ctx, dut, command, 1000 + n)

    async def bench(ctx):
        count, completed, started = 0, 0, 0
        unit = deque()
        held = False  # offered and not taken
        for _ in range(20000):
            done = bool(unit) and rng.random() < 0.6
            ctx.set(dut.unit_done, done)
            ctx.set(dut.cmd.ready, rng.random() < 0.6 and len(unit) < 3)
            ctx.set(dut.counts[2], count % MODULO)
            if unit:
                assert ctx.get(dut.index) == 1000 + unit[0]
            assert ctx.get(dut.count) == completed
            valid, ready, start, finished = (
                ctx.get(s) for s in (dut.cmd.valid, dut.cmd.ready, dut.start, dut.done)
            )
            assert valid or not held
            held = valid and not ready
            if start:
                command, target = program[started]
                assert not command.waits or all(w == (NO_UNIT, 0) for w in command.waits) or count >= target
                if command.opcode is Opcode.NOP:
                    assert not valid and finished and not unit
                    completed += 1
                else:
                    assert valid and ready
                    assert ctx.get(dut.cmd.payload) == bits(command)
            assert bool(finished) == bool(done or start and program[started][0].opcode is Opcode.NOP)
            if done:
                unit.popleft()
                completed += 1
            if start:
                if program[started][0].opcode is not Opcode.NOP:
                    unit.append(started)
                started += 1
            await ctx.tick()
            count += rng.random() < 0.3
            if completed == len(program):
                break
        assert completed == len(program) and ctx.get(dut.empty)

    simulate(dut, (feed, True), (bench, False))
