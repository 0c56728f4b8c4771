"""cocotb bench of :class:`CommandChecker`: the codes of random and changed commands against the golden
chip's."""

from collections import Counter
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from poblano.isa.errors import CommandError, ErrorCode
from poblano_host.golden.commands import ENCODED_BYTES, NAMES
from poblano_host.golden.rules import check
from tb.control.configs import CHECKED
from tb.control.random_commands import mutated, page_tables, valid_command

COUNT = int(os.environ.get("COUNT", "10000"))
SEED = os.environ.get("SEED", "1")
CODES = {code.value: code.name for code in ErrorCode}
SIZES = (1 << 16, 40960, 12345678, 1 << 30, (1 << 40) - 64, 1 << 40)


def expected(data, config, memory_bytes):
    try:
        check(data, config, memory_bytes, page_tables(config, memory_bytes))
    except CommandError as error:
        return error.code
    return ErrorCode.NONE


def command(rng, memory_bytes):
    if rng.random() < 0.1:
        data = bytearray(rng.randbytes(ENCODED_BYTES))
        if rng.random() < 0.8:
            data[0] = rng.choice(list(NAMES))
        return bytes(data)
    opcode = rng.choice((None, None, "MATMUL", "VECTOR", "VECTOR"))  # they have the rules about overlaps
    data = valid_command(rng, rng.choice(CHECKED), memory_bytes, opcode).encode()
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        data = mutated(rng, data)
    return data


@cocotb.test()
async def codes(dut):
    """Every command gets the code of the first rule that it breaks, or none."""
    rng = random.Random(SEED)
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    dut.rst.value, dut.i_valid.value, dut.o_ready.value = 1, 0, 0
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    seen, slowest = Counter(), 0
    for _n in range(COUNT):
        memory_bytes = rng.choice(SIZES)
        data = command(rng, memory_bytes)
        for _ in range(rng.choice((0, 0, 0, 3))):
            await RisingEdge(dut.clk)
        dut.memory_size.value = memory_bytes
        dut.i.value, dut.i_valid.value = int.from_bytes(data, "little"), 1
        dut.o_ready.value = early = rng.randrange(2)
        await RisingEdge(dut.clk)  # the checker is idle: it takes the command
        while not dut.i_ready.value:
            await RisingEdge(dut.clk)
        dut.i_valid.value, dut.i.value = 0, 0
        cycles = 0
        while True:
            await RisingEdge(dut.clk)
            cycles += 1
            if dut.o_valid.value:
                break
        slowest = max(slowest, cycles)
        assert int(dut.o.value).to_bytes(ENCODED_BYTES, "little") == data
        got = int(dut.code.value)
        for k, config in enumerate(CHECKED):
            want = expected(data, config, memory_bytes)
            code = got >> 4 * k & 15
            assert code == want, (
                f"checker of {config.name}: {CODES.get(code, code)}, but the first rule that fails has "
                f"{want.name}; {NAMES.get(data[0], 'no opcode')} {data.hex()}, {memory_bytes} bytes of memory"
            )
            seen[want] += 1
        if not early:
            for _ in range(rng.randrange(3)):
                await RisingEdge(dut.clk)
                assert dut.o_valid.value and int(dut.code.value) == got
            dut.o_ready.value = 1
            await RisingEdge(dut.clk)
        dut.o_ready.value = 0
    dut._log.info("codes %s, at most %d cycles", dict(seen), slowest)
    assert slowest <= 11
    assert seen[ErrorCode.HOME] >= COUNT // 1000, "too few commands with HOME"  # of one configuration
    for code in ("NONE", "OPCODE", "UNIT", "FIELD", "LOCAL_RANGE", "MEMORY_RANGE", "ALIGNMENT", "OVERLAP"):
        assert seen[ErrorCode[code]] >= COUNT // 100, f"only {seen[ErrorCode[code]]} commands with {code}"
