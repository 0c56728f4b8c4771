"""cocotb bench of :class:`CommandProcessor`: random programs on units of random speed, errors, resets,
registers."""

from collections import deque
from dataclasses import replace
import logging
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from poblano.isa.commands import COMMAND_BYTES, COUNT_BITS, NO_UNIT, WAITS, ErrorCode
from poblano.isa.registers import (
    COUNTERS,
    IDENTITY,
    NO_ERROR_UNIT,
    REGISTERS,
    VERSION_NUMBER,
    Control,
    Irq,
    Status,
    address,
)
from poblano.isa.topology import UnitKind
from tb.control.configs import CONFIGS
from tb.control.random_commands import OPCODE_NAMES, valid_command

CONFIG = CONFIGS[os.environ["CONFIG"]]
UNITS = CONFIG.units
STREAM, MATMUL, VECTOR = (
    CONFIG.topology.unit(kind) for kind in (UnitKind.STREAM, UnitKind.MATMUL, UnitKind.VECTOR)
)
ROOM = {UnitKind.DMA: 1, UnitKind.STREAM: 2, UnitKind.MATMUL: 3, UnitKind.VECTOR: 1}
"""Commands that a unit takes before it has completed one."""
SEED = os.environ.get("SEED", "1")
LENGTH = int(os.environ.get("LENGTH", "150"))
MEMORY = 1 << 20
BOUNDARY = 4096


def random_program(rng, length):
    """Commands whose waits are for completions of earlier ones, or hold from the start."""
    issued, program = [0] * UNITS, []
    favourite = rng.randrange(UNITS)
    for _ in range(length):
        command = valid_command(rng, CONFIG, MEMORY)
        while rng.random() < 0.5 and command.unit != favourite:
            command = valid_command(rng, CONFIG, MEMORY)
        waits = []
        for _ in range(rng.randrange(WAITS + 1)):
            unit = rng.choice([NO_UNIT, favourite, rng.randrange(UNITS), program[-1].unit if program else 0])
            if unit == NO_UNIT:
                waits.append((NO_UNIT, 0))
            else:
                waits.append(
                    (
                        unit,
                        rng.choice((issued[unit], rng.randrange(issued[unit] + 1), -rng.randrange(1 << 18))),
                    )
                )
        issued[command.unit] += 1
        program.append(replace(command, waits=tuple(waits)))
    return program


class Bench:
    """The processor between memory, units and a host, with all of its rules checked in every cycle."""

    def __init__(self, dut, name):
        self.dut = dut
        self.rng = random.Random(f"{name} {CONFIG.name} {SEED}")
        self.memory = bytearray(MEMORY)
        self.bad = None  # addresses from here on, of a beat's size, answer with an error
        self.base = 0
        self.ring = 8
        self.cycle = 0
        self.stall = 0.3
        self.slow = 20  # most cycles that a unit takes
        self.times = {}  # cycles that certain units take
        self.doorbell = 0.1  # how often TAIL is written
        self.fails = None  # (unit, number): its command that ends in an error; the other units go on
        self.clears = 0
        self.last_start = self.last_beat = 0  # cycles
        self.beats = [0, 0]
        self.counted = {name: [0] * UNITS for name in ("busy", "stall_in", "stall_out")}
        self.reads, self.current = deque(), None
        self.resetting = False
        self.forget()

    def forget(self):
        """Nothing is queued: as after a reset."""
        self.program = []
        self.expected = [deque() for _ in range(UNITS)]
        self.completed = [0] * UNITS
        self.started = [0] * UNITS
        self.in_unit = [deque() for _ in range(UNITS)]  # the cycles in which commands end
        self.axi_until = [0] * UNITS
        self.errors_at = None
        self.tail = 0

    async def start(self):
        dut = self.dut
        cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
        for name in (
            "rst",
            "cmd_ready",
            "done",
            "error",
            "busy",
            "stall_in",
            "stall_out",
            "code",
            "arready",
            "rvalid",
            "read_beats",
            "write_beats",
        ):
            getattr(dut, name).value = 0
        dut.idle.value = (1 << UNITS) - 1
        dut.rst.value = 1
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        for interface in (self.host.write_if, self.host.read_if):
            interface.log.setLevel(logging.WARNING)
        for channel in (
            self.host.write_if.aw_channel,
            self.host.write_if.w_channel,
            self.host.write_if.b_channel,
            self.host.read_if.ar_channel,
            self.host.read_if.r_channel,
        ):
            channel.set_pause_generator(self.pauses(random.Random(self.rng.random())))
        await self.cycles(3)
        dut.rst.value = 0
        cocotb.start_soon(self.run_units())
        cocotb.start_soon(self.run_memory())
        await self.cycles(2)

    def pauses(self, rng):
        while True:
            yield rng.random() < self.stall / 2

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    # The host

    async def write(self, name, value):
        response = await self.host.write(address(name), value.to_bytes(4, "little"))
        assert response.resp == AxiResp.OKAY, name

    async def read(self, name, unit=None):
        response = await self.host.read(address(name, unit), 4)
        assert response.resp == AxiResp.OKAY, name
        return int.from_bytes(response.data, "little")

    async def set_up(self, ring=8, base=None):
        """Registers for a ring of ``ring`` commands at a random place."""
        self.ring = ring
        self.base = self.rng.randrange((MEMORY - COMMAND_BYTES * ring) // 256) * 256 if base is None else base
        await self.write("RING_BASE_LO", self.base)
        await self.write("RING_BASE_HI", 0)
        await self.write("RING_SIZE", ring)
        await self.write("MEMORY_SIZE_LO", MEMORY)
        await self.write("MEMORY_SIZE_HI", 0)
        await self.write("IRQ_ENABLE", Irq.DONE | Irq.ERROR)
        await self.write("CONTROL", Control.ENABLE)

    def place(self, index, data):
        at = self.base + index % self.ring * COMMAND_BYTES
        self.memory[at : at + COMMAND_BYTES] = data

    async def submit(self, program):
        """Write commands into the ring as room becomes free, with a doorbell for some at a time; stops at
        an error.

        A bytes object in ``program`` is placed as it is and not expected to start, nor is anything behind it.
        """
        refused = False
        head = self.tail
        for command in program:
            while self.tail - head == self.ring or self.rng.random() < self.doorbell:
                await self.write("TAIL", self.tail)
                head = await self.read("HEAD")
                if await self.read("STATUS") & Status.ERROR:
                    return
            if isinstance(command, bytes):
                refused = True
                self.place(self.tail, command)
            else:
                self.place(self.tail, command.encode())
                if not refused:
                    self.expected[command.unit].append((self.tail, command))
            self.tail += 1
        await self.write("TAIL", self.tail)

    async def finish(self, limit=20000):
        """Wait for the interrupt, and clear it; its status."""
        for _ in range(limit):
            if self.dut.irq.value:
                status = await self.read("IRQ_STATUS")
                assert status
                await self.write("IRQ_STATUS", status)
                if status & Irq.ERROR or not await self.read("STATUS") & Status.RUNNING:
                    return status
            await RisingEdge(self.dut.clk)
        raise AssertionError("no interrupt")

    async def run_program(self, length, ring=8):
        """A program from start to end, and what the registers say of it."""
        await self.set_up(ring)
        await self.submit(random_program(self.rng, length))
        assert await self.finish() == Irq.DONE
        assert not any(self.expected)
        assert await self.read("STATUS") == Status.IDLE
        assert await self.read("HEAD") == self.tail == await self.read("TAIL")
        assert await self.read("ERROR_CODE") == 0
        for unit in range(UNITS):
            assert await self.read("COMPLETED", unit) == self.completed[unit] == self.started[unit]
        assert not self.dut.irq.value

    async def reset_queue(self):
        clears = self.clears
        await self.write("CONTROL", Control.QUEUE_RESET | Control.ENABLE)
        for _ in range(5000):
            if not await self.read("CONTROL") & Control.QUEUE_RESET:
                break
        else:
            raise AssertionError("the reset does not end")
        assert self.clears == clears + 1
        assert self.current is None and not self.reads
        self.forget()
        assert await self.read("CONTROL") == Control.ENABLE
        assert await self.read("STATUS") == Status.IDLE
        for name in ("HEAD", "TAIL", "ERROR_CODE", "ERROR_INDEX", "ERROR_UNIT", "IRQ_STATUS"):
            assert await self.read(name) == 0, name
        for unit in range(UNITS):
            assert await self.read("COMPLETED", unit) == 0

    async def hard_reset(self):
        """The chip's reset, and that of the memory and the units."""
        self.dut.rst.value = 1
        await self.cycles(1)
        self.resetting = True
        await self.cycles(3)
        self.dut.rst.value = 0
        self.resetting = False
        self.forget()
        await self.cycles(2)
        for name, register in REGISTERS.items():
            if register.access != "ro":
                assert await self.read(name) == 0, name

    # Units and memory

    def holds(self, command):
        return all(
            unit == NO_UNIT or (self.completed[unit] - count) % (1 << COUNT_BITS) < 1 << COUNT_BITS - 1
            for unit, count in command.waits
        )

    async def run_units(self):
        dut, rng = self.dut, self.rng
        ready, everyone = 0, (1 << UNITS) - 1
        done = error = 0
        was_valid = 0
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            if self.resetting:
                ready = done = was_valid = 0
                dut.cmd_ready.value = dut.done.value = dut.error.value = 0
                continue
            valid, start, trace_done = (
                int(dut.cmd_valid.value),
                int(dut.trace_start.value),
                int(dut.trace_done.value),
            )
            flush, clear = int(dut.flush.value), int(dut.clear.value)
            assert flush in (0, everyone)
            if clear:
                assert (
                    flush == everyone
                    and int(dut.idle.value) == everyone
                    and self.current is None
                    and not self.reads
                )
                self.clears += 1
                for queue in self.in_unit:
                    queue.clear()
            taken = valid & ready
            assert not (flush and valid)
            if not flush and self.errors_at is None:
                assert not was_valid & ~valid, "a command offered and withdrawn"
            was_valid = valid & ~ready
            assert done & ~trace_done == 0
            for unit in range(UNITS):
                if start >> unit & 1:
                    assert self.errors_at is None or self.cycle <= self.errors_at, "started after an error"
                    index, command = self.expected[unit].popleft()
                    assert self.holds(command), f"unit {unit} starts {command} too early"
                    self.started[unit] += 1
                    self.last_start = self.cycle
                    nop = command.opcode == "NOP"
                    assert nop != bool(taken >> unit & 1)
                    if nop:
                        assert not self.in_unit[unit] and trace_done >> unit & 1
                        self.completed[unit] += 1
                    else:
                        assert (
                            int(getattr(dut, f"cmd{unit}").value).to_bytes(COMMAND_BYTES, "little")
                            == command.encode()
                        )
                        end = self.cycle + self.times.get(unit, rng.randrange(self.slow))
                        self.in_unit[unit].append((index, end))
                        if CONFIG.topology.kind_of(unit) in (UnitKind.DMA, UnitKind.STREAM):
                            self.axi_until[unit] = max(self.axi_until[unit], end)
            assert taken & ~start == 0 and trace_done & ~done & ~start == 0

            done = error = ready = idle = 0
            for unit, queue in enumerate(self.in_unit):
                if queue and queue[0][1] <= self.cycle and (self.errors_at is None or self.fails[0] != unit):
                    if self.fails == (unit, self.completed[unit]):
                        error = 1 << unit
                        self.errors_at, self.failed_index = self.cycle + 1, queue[0][0]
                        queue.clear()
                    else:
                        done |= 1 << unit
                        queue.popleft()
                        self.completed[unit] += 1
                if len(queue) < ROOM[CONFIG.topology.kind_of(unit)] and not flush:
                    ready |= 1 << unit
                if self.axi_until[unit] <= self.cycle:
                    idle |= 1 << unit
            ready &= rng.getrandbits(UNITS) if rng.random() < self.stall else everyone
            dut.cmd_ready.value, dut.done.value, dut.error.value, dut.idle.value = ready, done, error, idle
            dut.code.value = int(ErrorCode.AXI_READ) if error else rng.getrandbits(4)
            for name, counted in self.counted.items():
                bits = rng.getrandbits(UNITS)
                getattr(dut, name).value = bits
                for unit in range(UNITS):
                    counted[unit] += bits >> unit & 1
            for n, name in enumerate(("read_beats", "write_beats")):
                bit = rng.randrange(2)
                getattr(dut, name).value = bit
                self.beats[n] += bit

    async def run_memory(self):
        dut, rng = self.dut, self.rng
        beat = CONFIG.memory.data_bytes
        ready, waiting, offered = 0, None, False
        while True:
            await RisingEdge(dut.clk)
            if self.resetting:
                self.reads.clear()
                self.current, waiting, ready, offered = None, None, False, False
                dut.rvalid.value = dut.arready.value = 0
                continue
            if dut.arvalid.value:
                request = int(dut.araddr.value), int(dut.arlen.value) + 1
                assert waiting in (None, request), "AR changed"
                waiting = request
                if ready:
                    at, beats = request
                    assert at % beat == 0 and at // BOUNDARY == (at + beats * beat - 1) // BOUNDARY
                    assert beats <= CONFIG.memory.burst_beats
                    first, last = (
                        (at - self.base) // COMMAND_BYTES,
                        (at + beats * beat - 1 - self.base) // COMMAND_BYTES,
                    )
                    assert 0 <= first <= last < self.ring, "read outside the ring"
                    self.reads.append([at, beats, self.cycle + rng.randrange(30)])
                    waiting = None
            else:
                assert waiting is None
            if offered:
                self.last_beat = self.cycle
                assert dut.rready.value, "fetch has no room for what it asked for"
                self.current = [self.current[0] + beat, self.current[1] - 1] if self.current[1] > 1 else None
            if self.current is None and self.reads and self.reads[0][2] <= self.cycle:
                self.current = self.reads.popleft()[:2]
            offered = self.current is not None and rng.random() >= self.stall
            dut.rvalid.value = offered
            if offered:
                at, left = self.current
                failed = self.bad is not None and self.bad <= at < self.bad + beat
                dut.rdata.value = int.from_bytes(
                    rng.randbytes(beat) if failed else self.memory[at : at + beat], "little"
                )
                dut.rresp.value = rng.choice((2, 3)) if failed else 0
                dut.rlast.value = left == 1
            ready = rng.random() >= self.stall
            dut.arready.value = ready


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


def random_program_after(bench, length):
    """A program whose waits count on from the commands already completed."""
    program = []
    for command in random_program(bench.rng, length):
        waits = tuple(
            (unit, count if unit == NO_UNIT else count + bench.completed[unit])
            for unit, count in command.waits
        )
        program.append(replace(command, waits=waits))
    return program


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
    """A unit fails: nothing starts any more, and the registers name the command."""
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
        await bench.cycles(100)  # run_units checks that nothing starts
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
    """After a unit's error a queued command does not start, though its wait comes to hold; also if a
    refused one came first."""
    bench = Bench(dut, "halts")
    await bench.start()
    bench.times = {STREAM: 150, MATMUL: 300}
    for refused in (False, True):
        bench.fails = STREAM, 0
        slow, failing, waiting = (
            valid_command(bench.rng, CONFIG, MEMORY, opcode) for opcode in ("MATMUL", "STREAM", "VECTOR")
        )
        program = [
            replace(slow, unit=MATMUL, waits=()),
            replace(failing, unit=STREAM, waits=()),
            replace(waiting, unit=VECTOR, waits=((MATMUL, 1),)),
        ]
        await bench.set_up()
        await bench.submit(program + [b"\xee" * COMMAND_BYTES] * refused)
        await bench.finish()
        assert await bench.read("ERROR_CODE") == (ErrorCode.OPCODE if refused else ErrorCode.AXI_READ)
        assert await bench.read("ERROR_INDEX") == (3 if refused else 1)
        await bench.cycles(400)
        assert bench.errors_at is not None and await bench.read("COMPLETED", MATMUL) == 1
        assert await bench.read("HEAD") == 3 and bench.started[VECTOR] == 0
        await bench.reset_queue()
        bench.fails = None
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
    """From a command's last beat to its start: the address ranges that are checked, the waits, and 7
    cycles."""
    bench = Bench(dut, "latency")
    await bench.start()
    bench.stall = 0
    await bench.set_up()
    ranges = {"NOP": 1, "STREAM": 1, "VECTOR": 6}
    for opcode in OPCODE_NAMES:
        for waits in range(WAITS + 1):
            command = valid_command(bench.rng, CONFIG, MEMORY, opcode)
            await bench.submit([replace(command, waits=((0, 0),) * waits)])
            assert await bench.finish() == Irq.DONE
            cycles = 7 + ranges.get(opcode, 2) + waits - (CONFIG.queue_depth == 1)
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
    for name, register in REGISTERS.items():
        if register.access == "ro":
            assert (await bench.host.write(register.address, bytes(4))).resp == AxiResp.SLVERR, name
        elif name not in ("CONTROL", "IRQ_STATUS"):
            value = bench.rng.getrandbits(32)
            await bench.write(name, value)
            written[name] = value & (1 << register.width) - 1
            for part in (b"\1", b"\1\2\3"):
                assert (await bench.host.write(register.address, part)).resp == AxiResp.SLVERR, name
    for name, value in written.items():
        assert await bench.read(name) == value, name
    mapped = {r.address for r in REGISTERS.values()} | {
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
