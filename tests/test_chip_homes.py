"""A chip with two homes in simulation: transfers between them, a ring that lies in both, errors of each."""

from fractions import Fraction

import numpy as np
import pytest

from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind
from poblano_host.runtime.backend import open_backend
from poblano_host.runtime.errors import ChipError
from tests.models_tiny import chip

HOME = 1 << 16
RING = 64
CONFIG = chip(4, 4, lanes=2, tiles=2, data_width=64, vmem_lines=512, amem_blocks=128).with_memory(
    homes=2, home_bytes=HOME, bandwidth=Fraction(7), latency=31, outstanding=16, fetch_bursts=4
)
BOTH = HOME - 64 * RING // 2
"""A ring of which half is in each home."""


@pytest.fixture(scope="module")
def simulated():
    backend = open_backend("sim", CONFIG, 2 * HOME, (BOTH, RING))
    yield backend
    backend.close()


def load(address, line, lines, **changes):
    operands = dict(mem_addr=address, mem_stride=0, dst=line, dst_stride=0, rows=1, lines=lines, tiles=1)
    return Opcode.LOAD, operands | changes


def store(address, line, lines, **changes):
    operands = dict(mem_addr=address, mem_stride=0, src=line, src_stride=0, rows=1, lines=lines, tile=0)
    return Opcode.STORE, operands | changes


def program(*commands):
    """Commands of the DMA engine, which executes them in order."""
    return b"".join(Command(opcode, 0, operands).encode() for opcode, operands in commands)


def random_memory(backend):
    """All of memory but the ring, at random; what it is."""
    contents = np.random.default_rng(3).integers(0, 256, 2 * HOME, np.uint8)
    backend.write(0, contents[:BOTH].tobytes())
    backend.write(BOTH + 64 * RING, contents[BOTH + 64 * RING :].tobytes())
    return contents


def content(backend, address, size):
    return np.frombuffer(backend.read(address, size), np.uint8)


def test_ring_in_both_homes(simulated):
    """Laps of the ring, with transfers from each home to the other."""
    contents = random_memory(simulated)
    commands = []
    for n in range(100):
        source, target = 64 * n + n % 2 * (HOME + 8192), 16384 + 64 * n + (n + 1) % 2 * (HOME + 8192)
        commands += [load(source, 2 * n, 2), store(target, 2 * n, 2)]
        contents[target : target + 64] = contents[source : source + 64]
    result = simulated.run(program(*commands))
    assert result.commands == 200
    for first, last in ((0, BOTH), (BOTH + 64 * RING, 2 * HOME)):
        np.testing.assert_array_equal(content(simulated, first, last - first), contents[first:last])


def test_both_homes_at_once(simulated):
    """Rows of a LOAD in both homes, as far apart as these are: more beats than one port could give."""
    random_memory(simulated)
    lines, rows = 16, 2
    long = load(0, 0, lines, rows=rows, mem_stride=HOME + 16384, dst_stride=lines)
    result = simulated.run(program(*[long] * 80))
    assert result.cycles < 80 * rows * lines * 32 // 8 * Fraction(11, 10)  # of one home 8/7 at least
    spread = simulated.run(program(*[store(n % 2 * HOME + 4096, 0, 1) for n in range(50)]))
    assert spread.bytes_written == 50 * 32


@pytest.mark.parametrize("bad", [256, HOME + 16384 + 256])
def test_read_errors_are_the_right_command_s(simulated, bad):
    """A short read that fails after a long one of the other home, whose answers come later."""
    contents = random_memory(simulated)
    good = (HOME + 16384) * (bad < HOME)
    simulated.simulation.fault(bad, bad + 8)
    code = program(load(good, 0, 128), load(bad & ~255, 128, 16), store(good + 8192, 0, 4))
    with pytest.raises(ChipError, match=r"AXI_READ .* at command 1 \(dma\): dma LOAD") as error:
        simulated.run(code)
    assert error.value.index == 1
    simulated.simulation.fault(0, 0)
    simulated.run(program(store(good + 8192, 0, 128)))
    np.testing.assert_array_equal(content(simulated, good + 8192, 4096), contents[good : good + 4096])


@pytest.mark.parametrize("bad", [8192, HOME + 16384])
def test_write_errors_are_the_right_command_s(simulated, bad):
    contents = random_memory(simulated)
    good = (HOME + 16384) * (bad < HOME)
    simulated.run(program(load(good + 4096, 0, 128)))
    simulated.simulation.fault(bad, bad + 8)
    with pytest.raises(ChipError, match=r"AXI_WRITE .* at command 1 \(dma\): dma STORE"):
        simulated.run(program(store(good, 0, 128), store(bad, 0, 1), store(good + 8192, 4, 4)))
    simulated.simulation.fault(0, 0)
    np.testing.assert_array_equal(content(simulated, good, 4096), contents[good + 4096 : good + 8192])
    simulated.run(program(load(good + 4096, 0, 4)))


def test_fetch_error(simulated):
    """The first command in the second home cannot be fetched; those before it are executed."""
    random_memory(simulated)
    simulated.simulation.fault(HOME, HOME + 8)
    with pytest.raises(ChipError, match=r"FETCH .* at command 32"):
        simulated.run(program(*[load(0, n, 1) for n in range(60)]))
    simulated.simulation.fault(0, 0)
    simulated.run(program(*[load(0, n, 1) for n in range(60)]))


@pytest.mark.parametrize("tile", [0, 1])
def test_stream_errors(simulated, tile):
    unit = CONFIG.topology.unit(UnitKind.STREAM, tile)
    stream = lambda address: Command(
        Opcode.STREAM, unit, dict(mem_addr=address, mem_stride=0, row_bytes=256, rows=1)
    ).encode()
    with pytest.raises(ChipError, match=r"HOME .* at command 1 "):
        simulated.run(stream(tile * HOME) + stream((1 - tile) * HOME))
    simulated.simulation.fault(tile * HOME + 512, tile * HOME + 520)
    with pytest.raises(ChipError, match=r"AXI_READ .* at command 1 "):
        simulated.run(stream(tile * HOME) + stream(tile * HOME + 384))
    simulated.simulation.fault(0, 0)
    simulated.run(stream(tile * HOME))
