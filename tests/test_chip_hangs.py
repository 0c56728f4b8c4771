"""What never goes on on the chip: each is an error, a reset of the queue ends, and the next program's bits
are right."""

import numpy as np
import pytest

from poblano.isa.commands import Command, ErrorCode, Opcode
from poblano.isa.registers import NO_ERROR_UNIT
from poblano_host.compiler import MatmulJob
from poblano_host.runtime.backend import GoldenBackend, run_job
from poblano_host.runtime.ring import Ring, Stopped, command_rows
from tests import meddled
from tests.meddled import CHANNELS, LIMIT, LOST, SILENT, TAKEN, meddle

CONFIG = meddled.config()
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
        at, size = self.job.result, None
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
    """Any channel, from any cycle on: SILENT, also of the next program; and all is well when memory answers."""
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
    length = chip.run()
    for cycles in (0, length // 2):
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


def test_resets(chip):
    """Of the queue in any cycle, of the chip too, with and without silent memory: the next program is right."""
    length, rng = chip.run(), np.random.default_rng(1)
    for n in range(60):
        chip.begin(int(rng.integers(length)))
        if n % 3 == 1:
            meddle(chip.simulation, SILENT, int(rng.integers(1, 32)))
            chip.simulation.run(int(rng.integers(100)))
        before = chip.simulation.cycle
        chip.ring._reset(0)
        assert chip.simulation.cycle - before < RESET
        if n % 3 == 1:
            meddle(chip.simulation, SILENT, 0)
        chip.run()
