"""The array engine behind its UART in simulation: block sums of arrays of several shapes, and jobs that are
refused."""

import numpy as np
import pytest

from poblano.config import ArrayConfig, ConfigError
from poblano.engine.config import REGISTERS, EngineConfig, Fault
from poblano.engine.system import EngineSystem
from poblano.verilog import emit
from poblano_host.serial.bridge import BridgeClient, BridgeError
from poblano_host.serial.engine import EngineDevice
from poblano_host.sim.pins import SimulatedPort

CLOCK, BAUD = 24_000_000, 6_000_000
CONFIGS = {
    name: EngineConfig(array=ArrayConfig(rows=rows, cols=cols, formats=("int8",)), **options)
    for name, rows, cols, options in (
        ("4x4-spram", 4, 4, dict(ports=1, tokens=16, memory_bytes=8192)),
        ("4x4", 4, 4, dict(ports=2, tokens=4, memory_bytes=4096)),
        ("3x5", 3, 5, dict(ports=2, tokens=8, memory_bytes=4096)),
        ("12x12", 12, 12, dict(ports=2, tokens=32, memory_bytes=16384)),
        ("8x2", 8, 2, dict(ports=1, tokens=2, memory_bytes=4096)),
    )
}


def device(config):
    port = SimulatedPort(
        emit(EngineSystem(config, clock_hz=CLOCK, baud=BAUD), "pins"), clock_hz=CLOCK, baudrate=BAUD
    )
    return EngineDevice(BridgeClient(port))


def expected(a, w):
    a = np.maximum(a, -127).astype(np.int64)
    return np.stack([a[:, k : k + 32] @ w[k : k + 32] for k in range(0, a.shape[1], 32)])


@pytest.fixture(scope="module")
def spram():
    return device(CONFIGS["4x4-spram"])


@pytest.mark.parametrize(
    "name", [n if n in ("3x5", "4x4-spram") else pytest.param(n, marks=pytest.mark.nightly) for n in CONFIGS]
)
def test_block_sums(name):
    config = CONFIGS[name]
    engine = device(config)
    assert (engine.rows, engine.cols, engine.tokens, engine.memory) == (
        config.array.rows,
        config.array.cols,
        config.tokens,
        config.memory_bytes,
    )
    rng = np.random.default_rng(1)
    for m, k, n in (
        (1, 32, 1),
        (2, 64, config.array.cols + 1),
        (config.tokens + 1, 96, 2 * config.array.cols),
        (1, 160, 7),
    ):
        a, w = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
        before = engine.traffic.cycles
        assert np.array_equal(engine.block_sums(a, w), expected(a, w))
        groups, steps = -(-n // config.array.cols), k // 32
        least = groups * steps * config.array.passes * config.array.rows
        assert engine.traffic.cycles - before >= least
    extremes = np.array([-128, -127, 127]).repeat(32)[None]
    w = np.full((96, 4), -128)
    assert np.array_equal(engine.block_sums(extremes, w), expected(extremes, w))
    engine.client.close()


def test_cycles(spram):
    """With enough rows the array never waits: passes * rows a step, and what it takes to fill and to
    empty."""
    rng = np.random.default_rng(2)
    a, w = rng.integers(-127, 128, (16, 64)), rng.integers(-128, 128, (64, 32))
    before = spram.traffic.cycles
    assert np.array_equal(spram.block_sums(a, w), expected(a, w))
    assert spram.traffic.cycles - before <= 8 * 2 * 8 * 16 + 4 * 16 + 60


def test_refused(spram):
    """Jobs that can't be, addresses past the end, registers that are not there: an error each, and the next
    job is right."""
    client = spram.client
    memory = CONFIGS["4x4-spram"].memory_bytes

    def run(**values):
        for name, value in (
            dict(ROWS=1, K_BLOCKS=1, GROUPS=1, ACTIVATIONS=0, WEIGHTS=0, RESULTS=4096) | values
        ).items():
            client.write_register(REGISTERS[name], value)
        client.write_register(REGISTERS["CONTROL"], 1)
        status = client.read_register(REGISTERS["STATUS"])
        assert not status & 1
        return Fault(status >> 1)

    assert run() == Fault.NONE
    for bad in dict(ROWS=0), dict(ROWS=17), dict(K_BLOCKS=0), dict(GROUPS=0):
        assert run(**bad) == Fault.BAD_JOB
    canary = bytes(range(64))
    client.write_memory(memory, canary)
    # The last word of results, and what would be past it.
    for bad in dict(ROWS=2, RESULTS=memory - 16), dict(WEIGHTS=memory - 64), dict(ACTIVATIONS=memory - 4):
        assert run(**bad) == Fault.BAD_ADDRESS
        assert client.read_memory(memory, 64) == canary
    for name, value in (
        ("ROWS", 32),
        ("K_BLOCKS", 1024),
        ("GROUPS", 1 << 31),
        ("ACTIVATIONS", 2),
        ("RESULTS", memory),
        ("CONTROL", 2),
        ("ID", 0),
        ("STATUS", 0),
    ):
        with pytest.raises(BridgeError, match="slave error"):
            client.write_register(REGISTERS[name], value)
    with pytest.raises(BridgeError, match="slave error"):
        client.read_register(max(REGISTERS.values()) + 4)
    for access in (
        lambda: client.read_memory(2 * memory, 4),
        lambda: client.write_memory(2 * memory - 4, bytes(8)),
    ):
        with pytest.raises(BridgeError, match="decode error"):
            access()
    with pytest.raises(BridgeError, match="bad address"):
        client.read_memory(4 * memory, 4)
    a, w = np.ones((3, 32), int), np.full((32, 4), 2)
    spram._content.clear()
    assert np.array_equal(spram.block_sums(a, w), expected(a, w))
    assert not any(client.statistics().values())


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(array=ArrayConfig(rows=4, cols=4)), "formats int8"),
        (dict(array=ArrayConfig(rows=64, cols=4, formats=("int8",))), "at most 32 rows"),
        (
            dict(array=ArrayConfig(rows=4, cols=4, formats=("int8",)), tokens=3),
            "tokens must be a power of two .* not 3",
        ),
        (dict(array=ArrayConfig(rows=4, cols=4, formats=("int8",)), ports=3), "ports must be 1 or 2, not 3"),
        (
            dict(array=ArrayConfig(rows=12, cols=12, formats=("int8",)), tokens=32, memory_bytes=2048),
            "memory_bytes must be at least 2112 for a block",
        ),
        (dict(array=ArrayConfig(rows=4, cols=65, formats=("int8",))), "at most 64 cols, not 65"),
    ],
)
def test_bad_configuration(options, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(**options)


def test_wide_integers(spram):
    with pytest.raises(ValueError, match="integers of 8 bits, not 0 to 200"):
        spram.block_sums(np.array([[200] + [0] * 31]), np.zeros((32, 4), int))
