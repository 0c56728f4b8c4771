"""The command processor's host: registers, rings and programs."""

from dataclasses import replace
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from poblano.isa.commands import COMMAND_BYTES, NO_UNIT, WAITS
from poblano.isa.registers import Control, Irq, Status, address, registers_of
from tb.common.monitor import Monitor
from tb.control.random_commands import PAGE_BYTES, page_counts, valid_command
from tb.control.surroundings import CONFIG, MEMORY, UNITS, Surroundings

__all__ = ["Bench", "random_program", "random_program_after"]


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


class Bench(Surroundings):
    """The processor between its surroundings and a host."""

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
        Monitor(dut)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
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
        if CONFIG.memory.paging is not None:
            await self.set_pages(CONFIG.memory.paging)
        await self.write("IRQ_ENABLE", Irq.DONE | Irq.ERROR)
        await self.write("CONTROL", Control.ENABLE)

    async def set_pages(self, paging):
        """As many pages as random commands name; what the entries are does not matter here."""
        await self.write("PAGE_BYTES", PAGE_BYTES)
        for slot, count in enumerate(page_counts(CONFIG)):
            await self.write("PAGE_INDEX", slot * paging.pages)
            await self.write("PAGE_COUNT", count)

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

    async def settle(self, cycles=300):
        """Wait until no command has started or ended for so many cycles; then none could start."""
        before = None
        while before != (now := (sum(self.started), sum(self.completed), await self.read("HEAD"))):
            before = now
            await self.cycles(cycles)
        for unit, queue in enumerate(self.expected):
            if queue and self.fails[0] != unit and queue[0][0] < now[2]:
                assert not self.holds(queue[0][1]) or self.in_unit[unit], f"unit {unit} stands"

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
        self.hangs, self.silent = None, False
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
        for name, register in registers_of(CONFIG).items():
            if register.access != "ro":
                assert await self.read(name) == (CONFIG.watchdog if name == "WATCHDOG" else 0), name
