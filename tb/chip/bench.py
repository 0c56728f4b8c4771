"""The whole chip with cocotbext-axi's memory and register master: runs a ring and leaves the memory in a
file.

Environment: CHIP_IMAGE (.npy of the memory), CHIP_RING (address, commands, ring size), CHIP_RESULT (.npy to
write), CHIP_STALL (seed of random stalls on the memory's channels, or empty).
"""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
import numpy as np

from poblano.isa.registers import address

IRQ_DONE, IRQ_ERROR = 1, 2


def stalls(seed):
    generator = random.Random(seed)
    while True:
        yield generator.random() < 0.4


async def start(dut):
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
    dut.rst.value = 1
    image = np.load(os.environ["CHIP_IMAGE"])
    memory = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=len(image))
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    memory.write(0, image.tobytes())
    if os.environ.get("CHIP_STALL"):
        seed = int(os.environ["CHIP_STALL"])
        for n, channel in enumerate(
            (
                memory.write_if.aw_channel,
                memory.write_if.w_channel,
                memory.write_if.b_channel,
                memory.read_if.ar_channel,
                memory.read_if.r_channel,
            )
        ):
            channel.set_pause_generator(stalls(seed + n))
    await ClockCycles(dut.clk, 10)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 5)
    return memory, master, len(image)


async def write(master, name, value):
    assert (await master.write(address(name), value.to_bytes(4, "little"))).resp == 0


async def read(master, name):
    return int.from_bytes((await master.read(address(name), 4)).data, "little")


@cocotb.test()
async def ring(dut):
    """Runs the ring; twice, the second time after a reset of the queue that interrupts the first."""
    memory, master, size = await start(dut)
    base, count, commands = (int(n) for n in os.environ["CHIP_RING"].split())
    assert await read(master, "ID") == 0x50424C4E
    for interrupt in (True, False):
        await write(master, "CONTROL", 3)
        while await read(master, "CONTROL") & 2:
            pass
        for name, value in (
            ("RING_BASE_LO", base),
            ("RING_SIZE", commands),
            ("MEMORY_SIZE_LO", size),
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
    np.save(os.environ["CHIP_RESULT"], np.frombuffer(memory.read(0, size), np.uint8))
