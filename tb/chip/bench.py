"""The whole chip with cocotbext-axi's memories and register master: runs a ring and leaves the memory in a
file.

Environment: CHIP_IMAGE (.npy of the memory), CHIP_RING (address, commands, ring size), CHIP_RESULT (.npy to
write), CHIP_STALL (seed of random stalls on the memories' channels, or empty), CHIP_HOME (bytes of a home, or
empty), CHIP_SCRATCH (first byte and bytes that only a host uses, with its port, or empty).
"""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiRam
import numpy as np

from poblano.isa.registers import address
from tb.common.monitor import Monitor

IRQ_DONE, IRQ_ERROR = 1, 2


def stalls(seed):
    generator = random.Random(seed)
    while True:
        yield generator.random() < 0.4


class Memory:
    """The memories at the chip's ports, each with whole addresses; what is not in its home stays zero."""

    def __init__(self, dut, image):
        self.size = len(image)
        self.home = int(os.environ.get("CHIP_HOME") or self.size)
        homes = self.size // self.home
        names = [f"m_axi{n}" for n in range(homes)] if homes > 1 else ["m_axi"]
        self.rams = [
            AxiRam(AxiBus.from_prefix(dut, name), dut.clk, dut.rst, size=self.size) for name in names
        ]
        for n, ram in enumerate(self.rams):
            ram.write(n * self.home, image[n * self.home : (n + 1) * self.home].tobytes())
        if os.environ.get("CHIP_STALL"):
            seed = int(os.environ["CHIP_STALL"])
            for ram in self.rams:
                reads, writes = ram.read_if, ram.write_if
                for channel in (writes.aw_channel, writes.w_channel, writes.b_channel):
                    channel.set_pause_generator(stalls(seed := seed + 1))
                for channel in (reads.ar_channel, reads.r_channel):
                    channel.set_pause_generator(stalls(seed := seed + 1))

    def content(self):
        parts = []
        for n, ram in enumerate(self.rams):
            everything = np.frombuffer(ram.read(0, self.size), np.uint8)
            first, last = n * self.home, (n + 1) * self.home
            assert not everything[:first].any() and not everything[last:].any(), "of another home"
            parts.append(everything[first:last])
        return np.concatenate(parts)


async def start(dut):
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
    Monitor(dut)
    dut.rst.value = 1
    memory = Memory(dut, np.load(os.environ["CHIP_IMAGE"]))
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    await ClockCycles(dut.clk, 10)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 5)
    return memory, master


async def write(master, name, value):
    assert (await master.write(address(name), value.to_bytes(4, "little"))).resp == 0


async def read(master, name):
    return int.from_bytes((await master.read(address(name), 4)).data, "little")


async def host(dut, memory):
    """A host that reads everywhere, and writes and reads its own bytes, while the chip works."""
    rng = random.Random(5)
    master = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    first, size = (int(n) for n in os.environ["CHIP_SCRATCH"].split())
    beat = len(dut.s_axi_wdata) // 8
    expected = bytearray((await master.read(first, size)).data)
    for _ in range(12):
        at, count = beat * rng.randrange(size // beat // 2), beat * rng.randint(1, size // beat // 2)
        data = rng.randbytes(count)
        writing = cocotb.start_soon(master.write(first + at, data))
        elsewhere = rng.randrange(memory.size - 4096) // beat * beat
        assert (await master.read(elsewhere, 1024)).resp == 0
        assert (await writing).resp == 0
        expected[at : at + count] = data
        assert (await master.read(first, size)).data == expected


@cocotb.test()
async def ring(dut):
    """Runs the ring; without a host twice, the second time after a reset of the queue that interrupts the
    first."""
    memory, master = await start(dut)
    using = cocotb.start_soon(host(dut, memory)) if os.environ.get("CHIP_SCRATCH") else None
    base, count, commands = (int(n) for n in os.environ["CHIP_RING"].split())
    assert await read(master, "ID") == 0x50424C4E
    for interrupt in (False,) if using else (True, False):
        await write(master, "CONTROL", 3)
        while await read(master, "CONTROL") & 2:
            pass
        for name, value in (
            ("RING_BASE_LO", base),
            ("RING_SIZE", commands),
            ("MEMORY_SIZE_LO", memory.size),
            ("IRQ_ENABLE", 3),
            ("TAIL", count),
        ):
            await write(master, name, value)
        if interrupt:
            await ClockCycles(dut.clk, 900)
            continue
        await with_timeout(RisingEdge(dut.irq), 2_000_000, "ns")
    assert await read(master, "IRQ_STATUS") == IRQ_DONE
    assert await read(master, "HEAD") == count
    np.save(os.environ["CHIP_RESULT"], memory.content())
    if using:
        await with_timeout(using, 2_000_000, "ns")
