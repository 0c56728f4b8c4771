"""The chip's RTL against the golden chip: all of memory, and all local memories, bit for bit."""

import random

import numpy as np
import pytest

from poblano.chip import Chip
from poblano.config import PRESETS, ArrayConfig, ChipConfig, MemoryConfig, TileConfig
from poblano_host.compiler import MatmulJob
from poblano_host.golden.chip import GoldenChip
from tb.common.runner import run_bench
from tests.test_chip_commands import RING, SETTINGS, program

SMALL = ChipConfig(
    name="small",
    tiles=2,
    tile=TileConfig(
        array=ArrayConfig(rows=8, cols=8), lanes=4, tokens=16, vmem_lines=512, amem_blocks=256, fifo_bytes=512
    ),
    memory=MemoryConfig(data_width=128, burst_beats=8, outstanding=4, bandwidth=16),
)


def memory_of(job):
    memory = np.zeros(job.memory_bytes, np.uint8)
    for address, data in job.image:
        memory[address : address + len(data)] = np.frombuffer(data, np.uint8)
    return memory


def bench(config, folder, ring, stall, **others):
    env = {"CHIP_IMAGE": str(folder / "image.npy"), "CHIP_RESULT": str(folder / "result.npy")}
    env |= {"CHIP_RING": ring, "CHIP_STALL": stall, **others}
    run_bench(Chip(config), name="chip", module="tb.chip.bench", testcase="ring", env=env)


@pytest.mark.parametrize("homes", [pytest.param(1, marks=pytest.mark.nightly), 2])
def test_homes_and_host(homes, tmp_path):
    """Random commands on a chip whose memories stall at random, while a host reads and writes memory through
    the chip."""
    config, data_bytes, _ = SETTINGS["two homes"]
    config = config.with_memory(homes=homes, host_port=True)
    size, rng = 2 * config.memory.home_bytes, random.Random(3)
    memory = np.frombuffer(rng.randbytes(size), np.uint8).copy()
    expected = memory.copy()
    golden = GoldenChip(config, expected)
    code, _ = program(rng, golden, data_bytes)
    memory[data_bytes : data_bytes + len(code)] = np.frombuffer(code, np.uint8)
    np.save(tmp_path / "image.npy", memory)
    scratch = data_bytes + 64 * RING, 4096
    bench(
        config,
        tmp_path,
        f"{data_bytes} {len(code) // 64} {RING}",
        "7",
        CHIP_HOME=str(config.memory.home_bytes) if homes > 1 else "",
        CHIP_SCRATCH=" ".join(map(str, scratch)),
    )
    golden.run(code)
    result = np.load(tmp_path / "result.npy")
    np.testing.assert_array_equal(result[:data_bytes], expected[:data_bytes])
    assert (expected != memory)[:data_bytes].any()


@pytest.mark.parametrize(
    "config, format, shape, seed",
    [
        (SMALL, "q4_1", (5, 64, 72), 3),
        (SMALL, "q8_0", (17, 40, 33), None),
        pytest.param(PRESETS["nano"], "q4_0", (3, 96, 20), 5, marks=pytest.mark.nightly),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_matmul_with_axi_ram(config, format, shape, seed, tmp_path):
    """A product on the chip with cocotbext-axi's memory and random stalls, after a reset of the queue in
    the middle."""
    rng = np.random.default_rng(1)
    rows, inner, cols = shape
    job = MatmulJob(
        rng.standard_normal((rows, inner)), rng.standard_normal((inner, cols)), config, format=format
    )
    memory = memory_of(job)
    code = job.program.encode()
    ring, size = job.ring
    memory[ring : ring + len(code)] = np.frombuffer(code, np.uint8)
    expected = memory.copy()
    GoldenChip(config, expected).run(code)
    np.save(tmp_path / "image.npy", memory)
    bench(config, tmp_path, f"{ring} {len(code) // 64} {size}", "" if seed is None else str(seed))
    np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), expected)
