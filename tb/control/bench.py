"""cocotb bench of :class:`CommandProcessor`: random programs on units of random speed, errors, resets,
registers."""

from dataclasses import replace
import os

import cocotb
from cocotbext.axi import AxiResp

from poblano.isa.commands import COMMAND_BYTES, WAITS, ErrorCode
from poblano.isa.registers import (
    COUNTERS,
    IDENTITY,
    NO_ERROR_UNIT,
    VERSION_NUMBER,
    Control,
    Irq,
    Status,
    address,
    registers_of,
)
from poblano.isa.topology import UnitKind
from tb.control.host import Bench, random_program, random_program_after
from tb.control.random_commands import opcode_names, valid_command
from tb.control.surroundings import CONFIG, MEMORY, UNITS

STREAM, MATMUL, VECTOR = (
    CONFIG.topology.unit(kind) for kind in (UnitKind.STREAM, UnitKind.MATMUL, UnitKind.VECTOR)
)
STORES = ("STORE", "STORE_BLOCK", "STORE_SCALE", "STORE_WORD")
LENGTH = int(os.environ.get("LENGTH", "150"))
LIMIT = 400
"""Of the watchdog; units are faster."""


def command_of(rng, opcode, unit, waits=()):
    """A valid command of a unit: of another tile's it may overlap."""
    while True:
        command = valid_command(rng, CONFIG, MEMORY, opcode)
        if command.unit == unit or opcode == "NOP":
            return replace(command, unit=unit, waits=waits)


@cocotb.test()
async def programs(dut):
    """Long programs through small and large rings, without a reset between them."""
    bench = Bench(dut, "programs")
    await bench.start()
    await bench.run_program(LENGTH, ring=8)
    await bench.reset_queue()
    bench.stall, bench.slow = 0, 2
    await bench.run_program(LENGTH, ring=4)
    await bench.reset_queue()
    bench.stall, bench.slow, bench.doorbell = 0.1, 300, 0.01  # commands pile up before the units
    await bench.run_program(40, ring=64)
    await bench.reset_queue()
    bench.stall, bench.slow, bench.doorbell = 0.8, 20, 0.1
    await bench.run_program(LENGTH // 3, ring=64)
    await bench.submit(random_program_after(bench, LENGTH // 3))
    assert await bench.finish() == Irq.DONE
    assert not any(bench.expected)


@cocotb.test()
async def refused(dut):
    """A refused command at any place: those before it complete, nothing after it starts, and a reset makes
    all well."""
    bench = Bench(dut, "refused")
    await bench.start()
    for _ in range(6):
        program = random_program(bench.rng, 40)
        place = bench.rng.randrange(40)
        bad = bytearray(program[place].encode())
        bad[0], code = bench.rng.choice(
            ((0xEE, ErrorCode.OPCODE), (0x21, ErrorCode.OPCODE), (bad[0], ErrorCode.UNIT))
        )
        bad[1] = UNITS if code is ErrorCode.UNIT else bad[1]
        program[place] = bytes(bad)
        await bench.set_up()
        await bench.submit(program)
        status = await bench.finish()
        assert status & Irq.ERROR
        assert await bench.read("ERROR_CODE") == code
        assert await bench.read("ERROR_INDEX") == place == await bench.read("HEAD")
        assert await bench.read("ERROR_UNIT") == bad[1]
        for _ in range(5000):
            if await bench.read("STATUS") & Status.IDLE:
                break
        assert not any(bench.expected) and sum(bench.completed) == place
        assert await bench.read("STATUS") & Status.ERROR
        await bench.cycles(50)
        assert await bench.read("IRQ_STATUS") == 0, "no done interrupt after an error"
        await bench.reset_queue()
    await bench.run_program(20)


@cocotb.test()
async def fetch_errors(dut):
    """Memory answers a beat of a command with an error."""
    bench = Bench(dut, "fetch_errors")
    await bench.start()
    for _ in range(4):
        await bench.set_up(ring=16)
        program = random_program(bench.rng, 14)
        place = bench.rng.randrange(14)
        program[place] = program[place].encode()
        bench.bad = (
            bench.base
            + place * COMMAND_BYTES
            + bench.rng.randrange(COMMAND_BYTES) // CONFIG.memory.data_bytes * CONFIG.memory.data_bytes
        )
        await bench.submit(program)
        assert await bench.finish() & Irq.ERROR
        assert await bench.read("ERROR_CODE") == ErrorCode.FETCH
        assert await bench.read("ERROR_INDEX") == place
        assert await bench.read("ERROR_UNIT") == NO_ERROR_UNIT
        for _ in range(5000):
            if await bench.read("STATUS") & Status.IDLE:
                break
        assert not any(bench.expected) and sum(bench.completed) == place
        bench.bad = None
        await bench.reset_queue()
    await bench.run_program(20)


@cocotb.test()
async def unit_errors(dut):
    """A unit fails: it starts nothing more, what does not wait for it goes on, and the registers name the
    command."""
    bench = Bench(dut, "unit_errors")
    await bench.start()
    for round in range(6):
        program = random_program(bench.rng, 60)
        candidates = []
        numbers = [0] * UNITS
        for index, command in enumerate(program):
            if command.opcode != "NOP":
                candidates.append((command.unit, numbers[command.unit], index))
            numbers[command.unit] += 1
        unit, number, place = bench.rng.choice(candidates)
        bench.fails = unit, number
        bench.slow = bench.rng.choice((1, 3, 40))
        await bench.set_up()
        refused = round % 2 and place + 1 < 60
        if refused:  # a command behind it is refused, before or after the failure
            program[place + 1] = b"\xee" + program[place + 1].encode()[1:]
        await bench.submit(program)
        assert await bench.finish() & Irq.ERROR
        while bench.errors_at is None:
            await bench.cycles(1)
        await bench.settle()
        code = await bench.read("ERROR_CODE")
        if code == ErrorCode.OPCODE:
            assert refused and await bench.read("ERROR_INDEX") == place + 1
        else:
            assert code == ErrorCode.AXI_READ
            assert await bench.read("ERROR_INDEX") == place == bench.failed_index
            assert await bench.read("ERROR_UNIT") == unit
        await bench.reset_queue()
        bench.fails = None
    await bench.run_program(20)


@cocotb.test()
async def halts(dut):
    """After a unit's error what waits for it and what is behind it does not start, and what does not goes on;
    also if a refused one came first."""
    bench = Bench(dut, "halts")
    await bench.start()
    bench.times = {STREAM: 300, MATMUL: 600}
    for refused in (False, True):
        bench.fails = STREAM, 0
        program = [
            command_of(bench.rng, "MATMUL", MATMUL),
            command_of(bench.rng, "STREAM", STREAM),
            command_of(bench.rng, "STREAM", STREAM, ((MATMUL, 1),)),
            command_of(bench.rng, "VECTOR", VECTOR, ((MATMUL, 1),)),
            command_of(bench.rng, "VECTOR", VECTOR, ((STREAM, 1),)),
        ][: 4 if refused else 5]
        await bench.set_up()
        await bench.submit(program + [b"\xee" * COMMAND_BYTES] * refused)
        await bench.finish()
        assert await bench.read("ERROR_CODE") == (ErrorCode.OPCODE if refused else ErrorCode.AXI_READ)
        assert await bench.read("ERROR_INDEX") == (4 if refused else 1)
        await bench.cycles(700)
        assert bench.errors_at is not None and await bench.read("COMPLETED", MATMUL) == 1
        assert await bench.read("HEAD") == len(program)
        assert bench.started[STREAM] == 1 and bench.completed[VECTOR] == 1
        await bench.reset_queue()
        bench.fails = None
    await bench.run_program(20)


@cocotb.test()
async def hangs(dut):
    """What never goes on is an error that names it, and a queue reset ends."""
    bench = Bench(dut, "hangs")
    await bench.start()
    new = lambda opcode, unit, *waits: command_of(bench.rng, opcode, unit, waits)
    first = [new("MATMUL", MATMUL), new("VECTOR", VECTOR, (MATMUL, 1)), new("NOP", STREAM, (VECTOR, 1))]
    cases = (
        ("a wait", None, first + [new("VECTOR", VECTOR, (STREAM, 2))], ErrorCode.TIMEOUT, 3, VECTOR),
        ("a NOP's", None, [*first, new("NOP", MATMUL, (0, 1))], ErrorCode.TIMEOUT, 3, MATMUL),
        ("a unit", (VECTOR, 0, True), first, ErrorCode.TIMEOUT, 1, VECTOR),
        ("memory", (STREAM, 0, False), [new("STREAM", STREAM), *first], ErrorCode.SILENT, 0, STREAM),
        ("the fetch", None, first, ErrorCode.SILENT, 0, NO_ERROR_UNIT),
    )
    for name, what, program, code, index, unit in cases:
        await bench.set_up()
        await bench.write("WATCHDOG", LIMIT)
        bench.hangs, bench.silent = what, name == "the fetch"
        began = bench.cycle
        await bench.submit(program)
        assert await bench.finish() == Irq.ERROR, name
        assert LIMIT < bench.cycle - began < 4 * LIMIT, name
        found = [await bench.read(f"ERROR_{part}") for part in ("CODE", "INDEX", "UNIT")]
        assert found == [code, index, unit], (name, found)
        await bench.cycles(2 * LIMIT)
        assert await bench.read("IRQ_STATUS") == 0, "one error"
        began = bench.cycle
        await bench.reset_queue()
        assert bench.cycle - began < 2 * LIMIT
        await bench.run_program(10)
        await bench.reset_queue()
    # Without a watchdog, and while commands are not to be fetched, nothing happens.
    for limit, control in ((0, Control.ENABLE), (LIMIT, 0)):
        await bench.set_up()
        await bench.write("WATCHDOG", limit)
        await bench.submit([new("VECTOR", VECTOR, (0, 1))])
        await bench.cycles(LIMIT // 8)
        await bench.write("CONTROL", control)
        await bench.cycles(3 * LIMIT)
        assert not dut.irq.value
        await bench.reset_queue()
    await bench.run_program(20)


@cocotb.test()
async def resets(dut):
    """Queue resets, and resets of the chip, at any time."""
    bench = Bench(dut, "resets")
    await bench.start()
    for round in range(8):
        bench.slow = bench.rng.choice((3, 60))
        await bench.set_up()
        await bench.submit(random_program(bench.rng, bench.rng.randrange(1, 40)))
        await bench.cycles(bench.rng.randrange(60))
        if round % 4 != 3:
            await bench.reset_queue()
        else:
            await bench.hard_reset()
    await bench.run_program(20)


@cocotb.test()
async def bad_rings(dut):
    """A doorbell for a ring that can't be."""
    bench = Bench(dut, "bad_rings")
    await bench.start()
    for name, value in (
        ("RING_BASE_LO", 128),
        ("RING_SIZE", 2),
        ("RING_SIZE", 12),
        ("RING_SIZE", 0),
        ("TAIL", 9),
        ("RING_BASE_HI", 1),
        ("RING_BASE_LO", MEMORY - 4 * COMMAND_BYTES),
        ("MEMORY_SIZE_LO", 8 * COMMAND_BYTES - 1),
        ("RING_SIZE", 1 << 31),
    ):
        await bench.set_up(base=0 if name == "MEMORY_SIZE_LO" else None)
        await bench.write(name, value)
        if name != "TAIL":
            await bench.write("TAIL", 1)
        assert await bench.finish() == Irq.ERROR
        assert await bench.read("ERROR_CODE") == ErrorCode.FIELD
        assert await bench.read("ERROR_UNIT") == NO_ERROR_UNIT
        assert await bench.read("ERROR_INDEX") == 0
        await bench.reset_queue()
    # The last place that a ring of the memory, and of what the port can address, can have.
    await bench.set_up(base=MEMORY - 8 * COMMAND_BYTES)
    await bench.submit(random_program(bench.rng, 10))
    assert await bench.finish() == Irq.DONE
    await bench.reset_queue()
    await bench.set_up()
    width = CONFIG.memory.addr_width
    bench.base = (1 << width) - 8 * COMMAND_BYTES
    for name, value in (("RING_BASE", bench.base), ("MEMORY_SIZE", (1 << 41) - 1)):
        await bench.write(f"{name}_LO", value & 0xFFFFFFFF)
        await bench.write(f"{name}_HI", value >> 32)
    await bench.write("RING_SIZE", 16)
    await bench.write("TAIL", 1)
    assert await bench.finish() == Irq.ERROR and await bench.read("ERROR_CODE") == ErrorCode.FIELD
    await bench.reset_queue()
    await bench.run_program(10)


@cocotb.test()
async def latency(dut):
    """From a command's last beat to its start: the address ranges that are checked, the waits, and 10
    cycles."""
    bench = Bench(dut, "latency")
    await bench.start()
    bench.stall = 0
    await bench.set_up()
    ranges = {"NOP": 0, "CLEAR": 0, "STORE_WORD": 1, "STREAM": 1, "VECTOR": 6}
    for opcode in opcode_names(CONFIG):
        for waits in range(WAITS + 1):
            command = valid_command(bench.rng, CONFIG, MEMORY, opcode)
            await bench.submit([replace(command, waits=((0, 0),) * waits)])
            assert await bench.finish() == Irq.DONE
            paged = CONFIG.memory.paging is not None and opcode in ("STREAM", "LOAD") + STORES
            cycles = 10 + ranges.get(opcode, 2) + paged + waits - (CONFIG.queue_depth == 1)
            assert bench.last_start - bench.last_beat == cycles, opcode


@cocotb.test()
async def registers(dut):
    """The map, word for word: values, access, unmapped addresses, counters."""
    bench = Bench(dut, "registers")
    await bench.start()
    tile, array = CONFIG.tile, CONFIG.tile.array
    log2 = lambda n: n.bit_length() - 1
    assert await bench.read("ID") == IDENTITY
    assert await bench.read("VERSION") == VERSION_NUMBER
    assert (
        await bench.read("CONFIG0")
        == CONFIG.tiles | tile.lanes << 8 | CONFIG.memory.data_bytes << 16 | UNITS << 24
    )
    assert await bench.read("CONFIG1") == array.rows | array.cols << 16
    assert await bench.read("CONFIG2") == (
        log2(tile.vmem_lines)
        | log2(tile.amem_blocks) << 8
        | log2(tile.fifo_bytes) << 16
        | log2(tile.tokens) << 24
    )
    written = {}
    for name, register in registers_of(CONFIG).items():
        if register.access == "ro":
            assert (await bench.host.write(register.address, bytes(4))).resp == AxiResp.SLVERR, name
        elif name not in ("CONTROL", "IRQ_STATUS"):
            value = bench.rng.getrandbits(32)
            await bench.write(name, value)
            written[name] = value & (1 << register.width) - 1
            for part in (b"\1", b"\1\2\3"):
                assert (await bench.host.write(register.address, part)).resp == AxiResp.SLVERR, name
    if "PAGE_ENTRY" in written:  # an entry was written behind the index
        written["PAGE_INDEX"] = (written["PAGE_INDEX"] + 1) % (1 << 32)
    for name, value in written.items():
        assert await bench.read(name) == value, name
    mapped = {r.address for r in registers_of(CONFIG).values()} | {
        address(name, n) for name in COUNTERS for n in range(UNITS)
    }
    for at in [a for a in range(0, 0x1000, 4) if a not in mapped][::23] + [max(mapped) + 4]:
        response = await bench.host.read(at, 4)
        assert response.resp == AxiResp.SLVERR and response.data == bytes(4), hex(at)
        assert (await bench.host.write(at, bytes(4))).resp == AxiResp.SLVERR, hex(at)

    # Counters: exact over an interval that the bench sees begin and end on the bus.
    await bench.write("CONTROL", Control.CLEAR_COUNTERS)
    assert await bench.read("CONTROL") == 0
    before = await bench.read("CYCLES_LO"), bench.cycle
    assert await bench.read("CYCLES_HI") == 0
    await bench.cycles(100)
    after = await bench.read("CYCLES_LO"), bench.cycle
    assert abs((after[0] - before[0]) - (after[1] - before[1])) <= 20
    for unit in {0, 1, UNITS - 1}:
        for name in ("BUSY", "STALL_IN", "STALL_OUT"):
            counted = bench.counted[name.lower()]
            first = await bench.read(name, unit), counted[unit]
            await bench.cycles(60)
            second = await bench.read(name, unit), counted[unit]
            assert abs((second[0] - first[0]) - (second[1] - first[1])) <= 20 and second[0] > first[0]
    for n, name in enumerate(("READ_BEATS", "WRITE_BEATS")):
        first = await bench.read(name), bench.beats[n]
        await bench.cycles(60)
        second = await bench.read(name), bench.beats[n]
        assert abs((second[0] - first[0]) - (second[1] - first[1])) <= 20 and second[0] > first[0]
