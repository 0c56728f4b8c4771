"""GATHER and SCATTER as commands of a row each: their fields, their order, numbers that are too large."""

import random

import numpy as np
import pytest

from poblano.isa.commands import Command, Opcode
from poblano.isa.header import COMMAND_BYTES
from poblano.isa.vector_ops import NO_LIMIT
from poblano.moe.listed_rows import ListedRows
from tb.common.streams import simulate
from tests.moe_memory import VectorMemory
from tests.test_moe_router import LINES, local


def payload(command):
    return int.from_bytes(command.encode(), "little")


def listed(rng, opcode):
    """A random command with a list in the second half of memory."""
    strides = {f"{name}_stride": rng.randrange(16) for name in ("a", "b", "dst")}
    return Command(
        opcode,
        3,
        dict(
            a=rng.randrange(200),
            b=rng.randrange(200),
            dst=rng.randrange(200),
            c=512 + rng.randrange(100),
            numbers=rng.randrange(1, 20),
            rows=rng.randrange(1, 9),
            blocks=rng.randrange(1, 9),
            limit=rng.choice((NO_LIMIT, 40)),
            tiles=rng.randrange(1, 8),
            imm1=1.5,
            imm2=-2.0,
            **strides,
            **{name: rng.randrange(3) for name in ("sel1", "sel2", "op1", "op2", "sink")},
        ),
    )


def rows_of(command, memory, rng):
    """Fills a command's list; the VECTOR commands that it stands for."""
    o, found = command.operands, []
    kept = ("sel1", "sel2", "op1", "op2", "sink", "blocks", "limit", "tiles", "imm1", "imm2")
    by_number = ("a",) if command.opcode is Opcode.GATHER else ("b", "dst")
    for row in range(o["rows"]):
        number, weight = rng.randrange(o["numbers"]), np.float32(rng.gauss(0, 1))
        entry = memory.words[8 * o["c"] + 2 * row :][:2]
        entry[0], entry[1] = np.uint32(number).view(np.float32), weight
        one = {name: o[name] for name in kept} | dict(rows=1, share=1)
        for name in ("a", "b", "dst"):
            one[name] = o[name] + o[f"{name}_stride"] * (number if name in by_number else row)
            one[f"{name}_stride"] = o[f"{name}_stride"]
        for n in (1, 2):
            if o[f"sel{n}"] == 1:
                one |= {f"sel{n}": 2, f"imm{n}": float(weight)}
        found.append(payload(Command(Opcode.VECTOR, 3, one)))
    return found


@pytest.mark.parametrize("lanes", [2, 8, 16])
def test_listed_rows(lanes):
    """Random commands with and without a list, on a unit of random speed; the last names a row too many."""
    rng = random.Random(lanes)
    dut = ListedRows(local(lanes, False))
    memory = VectorMemory(dut.port, np.zeros(8 * LINES, np.float32), rng)
    work, ends = [], []

    async def feed(ctx):
        for n in range(40):
            opcode = rng.choice((Opcode.GATHER, Opcode.SCATTER, Opcode.VECTOR))
            if opcode is Opcode.VECTOR:
                command = Command(Opcode.VECTOR, 3, dict(rows=rng.randrange(1, 9), index=n))
                wanted = [payload(command)]
            else:
                command = listed(rng, opcode)
                wanted = rows_of(command, memory, rng)
            work.extend(wanted)
            ends.append(len(wanted))
            ctx.set(dut.i.payload, payload(command))
            ctx.set(dut.i.valid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            while ends:  # the list stays until it was read
                await ctx.tick()
        command = listed(rng, Opcode.GATHER)
        rows_of(command, memory, rng)
        memory.words[8 * command.operands["c"]] = np.uint32(command.operands["numbers"]).view(np.float32)
        ctx.set(dut.i.payload, payload(command))
        ctx.set(dut.i.valid, 1)
        for _ in range(40):
            assert not ctx.get(dut.done)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
        assert ctx.get(dut.bad)

    async def execute(ctx):
        """A unit that takes the next command when the one before is done."""
        left = 0
        while True:
            done = left == 1 and rng.random() < 0.5
            ctx.set(dut.executed, done)
            ctx.set(dut.o.ready, done or left == 0)
            _, _, valid, given, finished, bad, reading = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.done, dut.bad, dut.reading
            )
            assert not (reading and left), "the list is read while a row is executed"
            if done:
                ends[0] -= 1
                assert finished == (ends[0] == 0)
                if finished:
                    ends.pop(0)
            else:
                assert not finished
            if left > 1:
                left -= 1
            elif done or left == 0:
                left = 0
                if valid:
                    assert given == work.pop(0), given.to_bytes(COMMAND_BYTES, "little").hex()
                    left = rng.randrange(1, 5)

    simulate(dut, feed, background=[memory.bench, execute])
    assert not work
