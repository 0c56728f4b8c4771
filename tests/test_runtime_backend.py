"""Programs and jobs on the golden backend and on the RTL in simulation."""

from fractions import Fraction

import numpy as np
import pytest

from poblano.config import ConfigError
from poblano.isa.commands import Command, Opcode
from poblano_host.compiler import MatmulJob
from poblano_host.runtime.backend import GoldenBackend, open_backend, run_job
from poblano_host.runtime.errors import ChipError, DeviceError
from tests.programs import LOAD, SMALL, STORE, chip_errors, program


def test_golden_errors():
    chip_errors(GoldenBackend(SMALL, 1 << 16, (1 << 15, 64)))
    with pytest.raises(ConfigError, match="unknown backend 'fpga'; there are sim, golden"):
        open_backend("fpga", SMALL, 1 << 16, (1 << 15, 64))
    backend = GoldenBackend(SMALL, 1 << 16, (1 << 15, 64))
    with pytest.raises(ValueError, match="bytes 65535 to 65536 pass the memory of 65536 bytes"):
        backend.write(65535, b"ab")
    with pytest.raises(ValueError, match="bytes -1 to 0 pass"):
        backend.read(-1, 2)


@pytest.fixture(scope="module")
def simulated():
    """A small chip in simulation, with a small ring."""
    backend = open_backend("sim", SMALL, 1 << 16, (1 << 15, 8))
    yield backend
    backend.close()


def test_simulated_errors(simulated):
    chip_errors(simulated)
    simulated.simulation.fault(4096 + 64, 4096 + 65)
    with pytest.raises(ChipError, match=r"AXI_READ .* at command 1 \(dma\): dma LOAD mem_addr=0x1000"):
        simulated.run(program((Opcode.NOP, {}), (Opcode.LOAD, LOAD), (Opcode.STORE, STORE)))
    simulated.simulation.fault(8192, 8193)
    with pytest.raises(ChipError, match=r"AXI_WRITE .* at command 2 \(dma\): dma STORE"):
        simulated.run(program((Opcode.NOP, {}), (Opcode.LOAD, LOAD), (Opcode.STORE, STORE)))
    simulated.simulation.fault(0, 0)
    chip_errors(simulated)


def test_simulated_ring(simulated):
    """A program longer than the ring is fed; its events, counters and traffic are those of its commands."""
    data = np.random.default_rng(1).integers(0, 256, 128, np.uint8)
    simulated.write(4096, data.tobytes())
    commands = [(Opcode.LOAD, LOAD)] + [
        (Opcode.STORE, STORE | dict(mem_addr=8192 + 128 * n)) for n in range(60)
    ]
    seen = []
    result = simulated.run(program(*commands), progress=lambda *arguments: seen.append(arguments))
    np.testing.assert_array_equal(
        np.frombuffer(simulated.read(8192, 60 * 128), np.uint8).reshape(60, -1), np.tile(data, (60, 1))
    )
    assert result.commands == 61 and seen[-1][:2] == (61, 61) and result.counters[0]["COMPLETED"] == 61
    assert result.bytes_written == 60 * 128 and result.bytes_read == 128 + 61 * 64
    assert len(result.events) == 122 and result.events["cycle"][-1] + 1 == result.cycles
    assert 0 < result.counters[0]["BUSY"] <= result.cycles


def test_simulated_hang(simulated, monkeypatch):
    monkeypatch.setattr(simulated.device, "patience", 3000)
    with pytest.raises(
        DeviceError,
        match="the chip hangs: nothing completed in 3000 cycles; 1 of 1 commands are dispatched, and "
        "completed are dma 0, tile0.stream 0",
    ):
        simulated.run(Command(Opcode.NOP, 0, {}, ((1, 1),)).encode())
    chip_errors(simulated)


def test_simulated_product():
    generator = np.random.default_rng(2)
    a, b = (
        generator.normal(size=(9, 70)).astype(np.float32),
        generator.normal(size=(70, 40)).astype(np.float32),
    )
    job = MatmulJob(a, b, SMALL.with_memory(bandwidth=Fraction(5, 2)), format="q4_1")
    results = [
        run_job(job, open_backend(name, job.config, job.memory_bytes, job.ring)) for name in ("golden", "sim")
    ]
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][0].shape == (9, 40) and np.abs(results[0][0] - a @ b).max() < 5
    assert results[1][1].cycles > results[1][1].bytes_read / 2.5
