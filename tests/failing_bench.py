"""A cocotb bench of :class:`AXIReader` whose tests fail, each in its way; ``tests/test_bench.py`` runs it."""

import logging
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from tb.common.monitor import Monitor


async def start(dut):
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    monitor = Monitor(dut, cycles=500)
    dut.rst.value = 1
    for name in ("cmd__valid", "axi__ar__ready", "axi__r__valid", "o__ready", "flush"):
        getattr(dut, name).value = 0
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    return monitor


@cocotb.test()
async def passes(dut):
    monitor = await start(dut)
    await ClockCycles(dut.clk, 1000)
    monitor.check_idle()


@cocotb.test()
async def wrong(dut):
    """One and one
    are two."""
    await start(dut)
    logging.getLogger("cocotb.reader").info("a line of the bench")
    seed = int(os.environ["SEED"])
    assert 1 + 1 == 3, f"they are 2, not 3, with the seed {seed}"


@cocotb.test()
async def stuck(dut):
    """Each burst is accepted."""
    await start(dut)
    dut.cmd__payload.value = 8 << 16  # a row of 8 bytes
    dut.cmd__valid.value = 1
    await ClockCycles(dut.clk, 100_000)


@cocotb.test()
async def ends(dut):
    await start(dut)
    os._exit(3)
