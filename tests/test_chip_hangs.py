"""What never goes on on the chip: each is an error, a reset of the queue ends, and the next program's bits
are right."""

import numpy as np
import pytest

from poblano.isa.commands import Command, ErrorCode, Opcode
from poblano.isa.registers import NO_ERROR_UNIT
from poblano_host.compiler import MatmulJob
from poblano_host.runtime.backend import GoldenBackend, run_job
from poblano_host.runtime.errors import ChipError
from poblano_host.runtime.ring import Ring, Stopped, clear_commands, command_rows
from tests import meddled
from tests.meddled import CHANNELS, LIMIT, LOST, SILENT, TAKEN, meddle
from tests.test_first_light import dump

pytestmark = pytest.mark.slow
CONFIG = meddled.config(clear_at_reset=True)
DMA, STREAM, MATMUL, VECTOR = range(4)
RESET = LIMIT + 100
"""Most cycles of a reset."""


class Chip:
    """A chip, a product for it, and what is right."""

    def __init__(self):
        rng = np.random.default_rng(5)
        self.job = MatmulJob(
            rng.standard_normal((6, 96)), rng.standard_normal((96, 40)), CONFIG, format="q8_0"
        )
        golden = GoldenBackend(CONFIG, self.job.memory_bytes, self.job.ring)
        self.product, _ = run_job(self.job, golden)
        self.code = command_rows(self.job.program.encode())
        self.device = meddled.device(CONFIG, self.job.memory_bytes)
        self.simulation = self.device.simulation
        self.ring = Ring(CONFIG, self.device, *self.job.ring)
        for address, data in self.job.image + self.job.program.inputs:
            self.device.write_memory(address, data)

    def run(self):
        """The product is computed, and right; its cycles."""
        for first, rows, columns in self.job._parts:
            size = 4 * (rows.stop - rows.start) * (columns.stop - columns.start)
            self.device.write_memory(first, bytes(size))
        result = self.ring.run(self.code)
        np.testing.assert_array_equal(self.job.product(self.device.read_memory), self.product)
        return result.cycles

    def begin(self, cycles):
        """Start the product, and let it run so long."""
        self.ring.start()
        self.ring.issue(self.code)
        self.simulation.run(cycles)

    def stop(self):
        """The error that the program ends with, and the cycles that its end and the reset took."""
        before = self.simulation.cycle
        with pytest.raises(Stopped) as stop:
            self.ring.finish()
        return stop.value, self.simulation.cycle - before


@pytest.fixture(scope="module")
def chip():
    return Chip()


def test_no_hang(chip):
    assert chip.run() == chip.run() < LIMIT * 4


@pytest.mark.parametrize("channel", CHANNELS)
def test_memory_is_silent(chip, channel):
    """Any channel, from any cycle on: SILENT, also of the next program; all is well when memory answers."""
    length, rng = chip.run(), np.random.default_rng(CHANNELS.index(channel))
    units = set()
    for cycles in sorted(rng.integers(0, length * 9 // 10, 8)):
        chip.begin(int(cycles))
        meddle(chip.simulation, SILENT, 1 << CHANNELS.index(channel))
        stop, took = chip.stop()
        assert stop.code is ErrorCode.SILENT and took < length + LIMIT + RESET + 10_000
        units.add(stop.unit)
        if channel in ("ar", "r"):
            with pytest.raises(Stopped) as again:
                chip.begin(0)
                chip.ring.finish()
            assert (again.value.code, again.value.unit, again.value.index) == (
                ErrorCode.SILENT,
                NO_ERROR_UNIT,
                0,
            )
        meddle(chip.simulation, SILENT, 0)
        chip.run()
    assert units <= ({DMA, STREAM, NO_ERROR_UNIT} if channel in ("ar", "r") else {DMA})


@pytest.mark.parametrize("at", [TAKEN, LOST], ids=["takes", "loses"])
@pytest.mark.parametrize("unit", [DMA, STREAM, MATMUL, VECTOR])
def test_unit_hangs(chip, unit, at):
    chip.run()
    for cycles in (0, 20):
        chip.begin(cycles)
        meddle(chip.simulation, at, 1 << unit)
        stop, took = chip.stop()
        assert stop.code is ErrorCode.TIMEOUT and stop.unit == unit, (stop.code, stop.unit)
        assert chip.code[stop.index][1] == unit and stop.completed[unit] == _place(chip.code, stop.index)
        meddle(chip.simulation, at, 0)
        chip.run()


def _place(code, index):
    """The number of a command in its unit."""
    return sum(int(row[1]) == int(code[index][1]) for row in code[:index])


def command(opcode, unit, waits=(), **operands):
    return Command(opcode, unit, operands, waits).encode()


STREAMED = dict(mem_addr=0, row_bytes=128, rows=1)
PRODUCT = dict(rows=1, k_blocks=1, groups=1, tiles=1, scale=0)  # takes 128 bytes


@pytest.mark.parametrize(
    "program, index, unit",
    [
        ([command(Opcode.NOP, VECTOR, ((DMA, 1),))], 0, VECTOR),
        ([command(Opcode.NOP, DMA, ((VECTOR, 2),)), command(Opcode.NOP, VECTOR, ((DMA, 1),))], 0, DMA),
        ([command(Opcode.STREAM, STREAM, **STREAMED | dict(rows=9))], 0, STREAM),
        ([command(Opcode.MATMUL, MATMUL, **PRODUCT)], 0, MATMUL),
    ],
    ids=["no such command", "a circle", "nothing drains the FIFO", "no weights"],
)
def test_program_never_ends(chip, program, index, unit):
    with pytest.raises(Stopped) as stop:
        chip.ring.start()
        chip.ring.issue(command_rows(b"".join(program)))
        chip.ring.finish()
    assert (stop.value.code, stop.value.index, stop.value.unit) == (ErrorCode.TIMEOUT, index, unit)
    chip.run()


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.nightly)])
def test_resets(chip, count):
    """At any time, of the queue, with and without silent memory, and of the chip: the next run is right."""
    length, rng = chip.run(), np.random.default_rng(count)
    for n in range(count):
        chip.begin(int(rng.integers(length)))
        if n % 3 == 2:
            chip.simulation.reset()
            chip.ring = Ring(CONFIG, chip.device, *chip.job.ring)
        if n % 3 == 1:
            meddle(chip.simulation, SILENT, int(rng.integers(1, 32)))
            chip.simulation.run(int(rng.integers(100)))
        before = chip.simulation.cycle
        chip.ring._reset(0)
        assert chip.simulation.cycle - before < RESET
        if n % 3 == 1:
            meddle(chip.simulation, SILENT, 0)
        chip.run()


def test_errors_stay_small(chip):
    """What does not depend on the unit that fails completes, also behind it, as on the golden chip."""
    at = chip.job.memory_bytes - 4096
    word = lambda n, *waits: command(
        Opcode.STORE_WORD, DMA, waits, mem_addr=at + 4 * n, mem_stride=4, rows=1, value=n + 1
    )
    stream = lambda size: command(Opcode.STREAM, STREAM, mem_addr=0, row_bytes=size, rows=1)
    product = command(Opcode.MATMUL, MATMUL, **PRODUCT)
    for sizes in ((128, 136, 128), (128, 120, 128), (136, 128, 128)):
        program = b"".join(
            [
                word(0),
                *map(stream, sizes),
                product,
                product,
                product,
                word(1, (MATMUL, 0)),
                word(2, (STREAM, 1)),
            ]
            + [command(Opcode.CLEAR, VECTOR), word(3, (VECTOR, 1))]
            + [word(4, (MATMUL, 1)), word(5, (MATMUL, 2)), word(6)]
        )
        golden, found = GoldenBackend(CONFIG, chip.job.memory_bytes, chip.job.ring), []
        chip.device.write_memory(at, bytes(64))
        for backend, read in ((golden, golden.read), (chip.ring, chip.device.read_memory)):
            with pytest.raises(ChipError) as error:
                backend.run(program)
            found.append((error.value.code, error.value.index, error.value.unit, read(at, 64)))
        assert found[0] == found[1]
        assert found[0][0] is ErrorCode.LENGTH and np.frombuffer(found[0][3], np.uint32)[:4].all()
    chip.run()


@pytest.mark.parametrize("unit", [DMA, STREAM, VECTOR])
def test_hangs_before_a_refused_command(chip, unit):
    """A unit that hangs when there is an error already: the host does not wait for what it seems to do."""
    program = {
        DMA: command(Opcode.STORE_WORD, DMA, mem_addr=0, mem_stride=4, rows=1, value=0),
        STREAM: command(Opcode.STREAM, STREAM, **STREAMED),
        VECTOR: command(Opcode.CLEAR, VECTOR),
    }[unit]
    kept = chip.device.read_memory(0, 64)
    meddle(chip.simulation, LOST, 1 << unit)
    chip.ring.start()
    chip.ring.issue(command_rows(program + bytes([255]) * 64))
    stop, took = chip.stop()
    assert (stop.code, stop.index) == (ErrorCode.OPCODE, 1) and took < 2 * LIMIT + RESET + 10_000
    meddle(chip.simulation, LOST, 0)
    chip.device.write_memory(0, kept)
    chip.run()


def local_memories(chip):
    """Whether there is anything in the chip's local memories, and whether its queue goes on."""
    at = chip.job.memory_bytes - (1 << 17)
    code, end = dump(CONFIG, at)
    chip.ring.run(code)
    return np.frombuffer(chip.device.read_memory(at, end - at), np.uint8).any()


def test_clear(chip):
    """Local memories keep what is in them over a reset of the queue, and nothing when they are cleared."""
    chip.run()
    assert local_memories(chip)
    chip.ring.clear_local()
    assert not local_memories(chip)
    length = chip.ring.run(clear_commands(CONFIG)).cycles
    rows = CONFIG.tile.vmem_rows // CONFIG.tile.vmem_banks
    assert length - max(rows, CONFIG.tile.amem_blocks) < 150
    chip.run()
    assert local_memories(chip)
    # A reset while they are being cleared: the next time they are.
    chip.ring.start()
    chip.ring.issue(command_rows(clear_commands(CONFIG)))
    chip.simulation.run(200)
    chip.ring.clear_local()
    assert not local_memories(chip)
    chip.run()


def test_clear_memory(chip):
    """A beat a cycle, and not a byte more."""
    size = 16384
    chip.device.write_memory(0, bytes([7]) * (2 * size))
    rows = dict(mem_stride=4, rows=size // 4, value=0)
    cycles = chip.ring.run(command(Opcode.STORE_WORD, DMA, mem_addr=size // 2, **rows)).cycles
    found = np.frombuffer(chip.device.read_memory(0, 2 * size), np.uint8)
    assert (found == 0).sum() == size and not found[size // 2 : size * 3 // 2].any()
    assert cycles < size // CONFIG.memory.data_bytes * 1.1 + 200
    for address, data in chip.job.image + chip.job.program.inputs:
        chip.device.write_memory(address, data)
    chip.run()


def test_clear_at_reset(chip):
    """Of the chip; commands wait until all is zero."""
    for wait in (0, 50, 400):
        chip.run()
        chip.simulation.reset()
        chip.simulation.run(wait)
        chip.ring = Ring(CONFIG, chip.device, *chip.job.ring)
        assert not local_memories(chip)
    chip.run()
