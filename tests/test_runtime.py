"""The runtime: sessions and jobs on the golden backend, sampling, errors, and the same on the RTL."""

from fractions import Fraction

import numpy as np
import pytest

from poblano.config import ConfigError
from poblano.isa.commands import Command, ErrorCode, Opcode
from poblano_host.compiler import CompileError, MatmulJob
from poblano_host.models import FloatModel
from poblano_host.runtime.backend import BACKENDS, GoldenBackend, open_backend, run_job
from poblano_host.runtime.errors import ChipError, DeviceError, Mismatch
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session, Step
from tests.models_tiny import chip, tiny_model

SMALL = chip(4, 4, lanes=2, tiles=1, data_width=64)
PROMPT = [3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9, 3, 23, 8, 46, 2, 64, 33, 8, 32]
LOAD = dict(mem_addr=4096, mem_stride=64, dst=0, dst_stride=2, rows=2, lines=2, tiles=1)
STORE = dict(mem_addr=8192, mem_stride=64, src=0, src_stride=2, rows=2, lines=2, tile=0)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def program(*commands):
    return b"".join(Command(opcode, 0, operands).encode() for opcode, operands in commands)


def test_generate(model):
    """A prompt of several steps, then tokens: the float model's, from an argmax that agrees with the
    logits."""
    seen = []
    session = Session(model, chip(), backend="golden", progress=lambda *arguments: seen.append(arguments))
    steps = list(session.generate(PROMPT, 5))
    assert [(step.phase, step.position, step.count) for step, _ in steps] == [
        ("prefill", 0, 16),
        ("prefill", 16, 4),
        ("decode", 20, 1),
        ("decode", 21, 1),
        ("decode", 22, 1),
        ("decode", 23, 1),
    ]
    tokens = [token for _, token in steps]
    assert tokens[0] is None and steps[0][0].logits is None and None not in tokens[1:]
    assert all(step.best == step.logits.argmax() == token for step, token in steps[1:])
    expected = FloatModel(model).forward(PROMPT + tokens[1:-1])[len(PROMPT) - 1 :]
    for row, (step, _) in zip(expected, steps[1:]):
        assert np.abs(row - step.logits).mean() < 0.15
    phase, done, total, cycles = seen[-1]
    assert (phase, done, cycles) == ("decode", total, 0)
    assert session.position == 24


def test_generate_ends(model):
    run = lambda count, **options: [
        token
        for _, token in Session(model, chip(), backend="golden", context=22).generate(
            PROMPT, count, **options
        )
        if token is not None
    ]
    free = run(10)
    assert len(free) == 3  # the last is no longer run
    assert run(10, stop={free[0]}) == free[:1]
    assert run(1) == free[:1]


def test_sampler():
    generator = np.random.default_rng(5)
    step = lambda position: Step(
        "decode", position, 1, None, None, 7, generator.normal(size=50).astype(np.float32)
    )
    steps = [step(position) for position in range(400)]
    assert all(Sampler().choose(s) == 7 for s in steps)
    chosen = [Sampler(1.0, 3, 1).choose(s) for s in steps]
    assert (
        chosen
        == [Sampler(1.0, 3, 1).choose(s) for s in steps]
        != [Sampler(1.0, 3, 2).choose(s) for s in steps]
    )
    assert all(token in np.argsort(-s.logits)[:3] for token, s in zip(chosen, steps))
    assert {Sampler(0.01, 0).choose(s) == s.logits.argmax() for s in steps[:20]} == {True}
    spread = [Sampler(100.0, 0, 3).choose(s) for s in steps]
    assert len(set(spread)) > 40
    with pytest.raises(ConfigError, match="temperature must be at least 0, not -1"):
        Sampler(-1.0)
    with pytest.raises(ConfigError, match="top-k must be at least 0, not -2"):
        Sampler(1.0, -2)


def test_check(model, monkeypatch):
    """A backend whose chip errs in one bit of a cache, or of a logit, is found out."""

    class Wrong(GoldenBackend):
        where = None

        def run(self, commands, *, progress=None):
            result = super().run(commands, progress=progress)
            self.memory[self.where] ^= 1
            return result

    monkeypatch.setitem(BACKENDS, "wrong", Wrong)
    session = Session(model, chip(), backend="golden", check=True)
    assert len(list(session.generate(PROMPT, 2))) == 3
    Wrong.where = session.compiled.layers[1].values + 5
    with pytest.raises(
        Mismatch, match=f"positions 0 on: memory differs .* the first byte is at 0x{Wrong.where:x}$"
    ):
        list(Session(model, chip(), backend="wrong", check=True).generate(PROMPT[:3], 2))
    Wrong.where = session.compiled.logits + 4 * 9
    with pytest.raises(
        Mismatch,
        match="positions 0 on: 1 logits differ .* the first for token 9: bits 0x[0-9a-f]{8}, golden 0x",
    ):
        list(Session(model, chip(), backend="wrong", check=True).generate(PROMPT[:3], 2))


def chip_errors(backend):
    """A refused command is named; what came before is done; the backend goes on after it."""
    data = np.arange(128, dtype=np.uint8)
    backend.write(4096, data.tobytes())
    good = [(Opcode.LOAD, LOAD), (Opcode.STORE, STORE)]
    assert backend.run(program(*good)).commands == 2
    assert backend.read(8192, 128) == data.tobytes()
    with pytest.raises(ChipError) as caught:
        backend.run(
            program(
                good[0],
                (Opcode.STORE, STORE | dict(mem_addr=12288)),
                (Opcode.LOAD, LOAD | dict(dst=2048)),
                good[1],
            )
        )
    error = caught.value
    assert (error.code, error.index, error.unit) == (ErrorCode.LOCAL_RANGE, 2, 0)
    assert (
        "LOCAL_RANGE (local memory address out of range) at command 2 (dma): dma LOAD mem_addr=0x1000"
        in str(error)
    )
    backend.write(8192, bytes(128))
    assert backend.run(program(*good)).commands == 2
    assert backend.read(8192, 128) == data.tobytes()
    with pytest.raises(ChipError, match=r"OPCODE \(unknown opcode\) at command 0 \(dma\): ff000000 "):
        backend.run(b"\xff" + bytes(3) + program((Opcode.NOP, {}))[4:])
    assert backend.run(program(*good)).commands == 2
    assert backend.run(b"").commands == 0


def test_golden_errors():
    chip_errors(GoldenBackend(SMALL, 1 << 16, (1 << 15, 64)))
    with pytest.raises(ConfigError, match="unknown backend 'fpga'; there are sim, golden"):
        open_backend("fpga", SMALL, 1 << 16, (1 << 15, 64))
    backend = GoldenBackend(SMALL, 1 << 16, (1 << 15, 64))
    with pytest.raises(ValueError, match="bytes 65535 to 65536 pass the memory of 65536 bytes"):
        backend.write(65535, b"ab")
    with pytest.raises(ValueError, match="bytes -1 to 0 pass"):
        backend.read(-1, 2)


def test_context(model):
    with pytest.raises(CompileError, match="positions 16 to 19 pass the context of 18"):
        list(Session(model, chip(), backend="golden", context=18).generate(PROMPT, 1))


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


def test_simulated_session(model):
    """The small model on the RTL: every token, logit and cache as the golden model's."""
    session = Session(model, SMALL, context=24, check=True)
    tokens = [token for _, token in session.generate(PROMPT[:18], 3) if token is not None]
    assert len(tokens) == 3
