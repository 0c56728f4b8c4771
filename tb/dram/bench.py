"""cocotb bench of :class:`DramSystem`: cocotbext-axi's masters write and read, and all channels stall."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiMaster

from tb.common.monitor import Monitor
from tb.dram.configs import CONFIGS, MEMORY_BITS

CONFIG = CONFIGS[os.environ["CONFIG"]]
SIZE = 1 << MEMORY_BITS
LONGEST = 700
"""Bytes of an access."""


class Bench:
    def __init__(self, dut, seed):
        self.dut, self.rng = dut, random.Random(f"{seed} {CONFIG}")
        self.master = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        self.stall = 0.0
        read, write = self.master.read_if, self.master.write_if
        for channel in (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel):
            channel.set_pause_generator(self.pauses(random.Random(self.rng.random())))

    def pauses(self, rng):
        while True:
            yield rng.random() < self.stall

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        Monitor(self.dut)
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 4)
        if hasattr(self.dut, "ready") and not self.dut.ready.value:
            await with_timeout(RisingEdge(self.dut.ready), 1, "ms")

    def place(self, low, high):
        length = self.rng.randint(1, min(LONGEST, high - low))
        return self.rng.randrange(low, high - length + 1), length

    async def user(self, low, high, contents):
        """Writes and reads, at odd addresses too, within a part of the memory that is its own."""
        for _ in range(12):
            at, length = self.place(low, high)
            if self.rng.random() < 0.5:
                data = self.rng.randbytes(length)
                response = await self.master.write(at, data)
                contents[at : at + length] = data
            else:
                response = await self.master.read(at, length)
                expected = bytes(contents[at : at + length])
                assert response.data == expected, f"{length} bytes at {at:#x} differ"
            assert response.resp == 0


@cocotb.test()
async def random_accesses(dut):
    """Several users at once; in the end all of memory as written."""
    b = Bench(dut, "random")
    await b.start()
    contents = bytearray(SIZE)
    users, part = 4, SIZE // 4
    for stall in (0.0, 0.3, 0.7):
        b.stall = stall
        tasks = [cocotb.start_soon(b.user(n * part, (n + 1) * part, contents)) for n in range(users)]
        for task in tasks:
            await with_timeout(task, 5, "ms")
    b.stall = 0.0
    for at in range(0, SIZE, 8192):
        response = await with_timeout(b.master.read(at, 8192), 5, "ms")
        assert response.data == bytes(contents[at : at + 8192]), f"{at:#x}"
    assert dut.errors.value == 0


@cocotb.test()
async def beyond_the_memory(dut):
    """Rows that the device does not have read 0; refreshes come while nothing is to be done."""
    b = Bench(dut, "beyond")
    await b.start()
    assert (await b.master.read(5 * SIZE, 100)).data == bytes(100)
    await b.master.write(3 * SIZE, b"x" * 64)
    await ClockCycles(dut.clk, 3 * CONFIG.cycles.interval)
    assert (await b.master.read(3 * SIZE, 64)).data == bytes(64)
    assert dut.errors.value == 0
