"""The model of a DRAM against one in numpy: data, strobes, sidebands, latencies, places of addresses."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.dram.address import AddressMap
from poblano.dram.signature import ColumnOp, RowOp
from poblano_host.sim.dram import SimulatedDram
from poblano_host.sim.dram_rules import COMMANDS
from tests.dram_commands import CYCLES, ROWS, random_commands
from tests.dram_configs import CONFIGS, with_ecc


class Model:
    """A DRAM as a dict of bursts by their places."""

    def __init__(self, config, memory):
        self.config, self.timing, self.cycles = config, config.timing, config.cycles
        self.map = AddressMap(self.timing)
        self.memory = memory.copy()
        self.sidebands = {}
        self.open = {}

    def address(self, command):
        place = {name: int(command[f"column_{name}"]) for name in ("group", "bank")}
        row = self.open[tuple(place.values())]
        return self.map.join(**place, row=row, column=int(command["column"]))

    def row(self, command):
        bank = int(command["row_group"]), int(command["row_bank"])
        match RowOp(int(command["row_op"])):
            case RowOp.ACTIVATE:
                self.open[bank] = int(command["row"])
            case RowOp.PRECHARGE:
                self.open.pop(bank, None)
            case RowOp.PRECHARGE_ALL:
                self.open.clear()

    def run(self, commands, data, strb, sideband):
        """(cycle, data, sideband) of what is read."""
        burst, read = self.cycles.burst, []
        beat = self.timing.burst_bytes // burst
        writes = {}
        for cycle, command in enumerate(commands):
            self.row(command)
            op = ColumnOp(int(command["column_op"]))
            if op is ColumnOp.READ:
                at = self.address(command)
                for n in range(burst):
                    part = self.memory[at + n * beat : at + (n + 1) * beat].copy()
                    read.append((cycle + self.cycles.read_latency + n, part, self.sidebands.get(at, 0)))
            elif op is ColumnOp.WRITE:
                for n in range(burst):
                    writes[cycle + self.cycles.write_latency + n] = self.address(command), n
            if cycle in writes:
                at, n = writes[cycle]
                chosen = np.array([int(strb[cycle]) >> k & 1 for k in range(beat)], bool)
                self.memory[at + n * beat : at + (n + 1) * beat][chosen] = data[cycle][chosen]
                if chosen.any() and self.timing.sideband_bits:
                    self.sidebands[at] = int(sideband[cycle]) & (1 << self.timing.sideband_bits) - 1
        return read


@pytest.mark.parametrize("kind", CONFIGS)
def test_random(kind):
    config = replace(CONFIGS[kind], rows=ROWS)
    rng = np.random.default_rng(1)
    dram = SimulatedDram(config, config.timing.bytes)
    dram.memory[:] = rng.integers(0, 256, len(dram.memory), np.uint8)
    model = Model(config, dram.memory)
    beat = config.timing.burst_bytes // config.cycles.burst
    full = (1 << beat) - 1
    for _ in range(2):
        commands = random_commands(config, rng)
        data = rng.integers(0, 256, (CYCLES, beat), np.uint8)
        strb = rng.choice([0, full, 0x5A5A33CC & full, 1], CYCLES).astype(np.uint64)
        sideband = rng.integers(0, 1 << 16, CYCLES).astype(np.uint64)
        read, read_sideband = dram.run(commands, data, strb, sideband)
        expected = model.run(commands, data, strb, sideband)
        assert len(expected) > 500
        quiet = np.ones(CYCLES, bool)
        for cycle, part, bits in expected:
            np.testing.assert_array_equal(read[cycle], part)
            assert read_sideband[cycle] == bits
            quiet[cycle] = False
        assert (read[quiet] == 0xA5).all() and not read_sideband[quiet].any()
        np.testing.assert_array_equal(dram.memory, model.memory)
        for address, bits in model.sidebands.items():
            assert dram.sideband(address) == bits
    assert dram.beyond == 0 and dram.misplaced == 0


def commands_of(*commands, length=100):
    array = np.zeros(length, COMMANDS)
    for cycle, fields in commands:
        for name, value in fields.items():
            array[cycle][name] = value
    return array


def test_beyond_and_closed():
    """Bursts beyond the memory read 0 and are counted, as are column commands to closed banks."""
    config = CONFIGS["HBM3-6.4"]
    latency = config.cycles.read_latency
    dram = SimulatedDram(config, 4096)
    dram.memory[:] = 1
    read, _ = dram.run(
        commands_of(
            (0, dict(row_op=1, row=0)),
            (1, dict(column_op=1, column=3)),
            (2, dict(row_op=1, row=1)),
            (3, dict(column_op=1, column=3)),
            (4, dict(column_op=2, column=3)),
            (5, dict(column_op=1, column_bank=2)),
        ),
        strb=np.full(100, 0xFFFFFFFF, np.uint64),
    )
    assert (read[1 + latency] == 1).all()
    assert not read[3 + latency].any() and not read[5 + latency].any()
    assert (dram.beyond, dram.misplaced) == (2, 1)
    assert (dram.memory == 1).all()


def test_reset_and_sideband():
    config = CONFIGS["HBM3-6.4"]
    latency = config.cycles.read_latency
    dram = SimulatedDram(config, 8192)
    assert dram.sideband(64) == 0
    dram.set_sideband(64, 0xBEEF)
    assert [dram.sideband(address) for address in (32, 64, 95, 96)] == [0, 0xBEEF, 0xBEEF, 0]
    reading = commands_of((0, dict(row_op=1)), (1, dict(column_op=1, column=1)), length=5)
    dram.run(reading)
    dram.reset()
    read, sideband = dram.run(np.zeros(100, COMMANDS))
    assert (read == 0xA5).all() and not sideband.any()
    dram.run(reading[1:])
    assert dram.misplaced == 1
    again = commands_of(
        *((cycle, {name: reading[cycle][name] for name in COMMANDS.names}) for cycle in (0, 1))
    )
    assert dram.run(again)[1][1 + latency] == 0xBEEF
    dram.close()
    dram.close()


def parity_of(config, address):
    place = AddressMap(config.timing).split(address)
    return sum(place[name].bit_count() for name in ("group", "column", "bank", "row")) & 1


def read_first(dram):
    """What the DRAM drives for its first burst: data, sideband."""
    dram.reset()
    commands = commands_of((0, dict(row_op=1)), (1, dict(column_op=1)), length=30)
    data, sideband = dram.run(commands)
    at = 1 + dram.config.cycles.read_latency
    return data[at].tobytes(), int(sideband[at])


@pytest.mark.parametrize("channels", [1, 2])
def test_code(channels):
    """With ecc a burst has the sideband of its code, wherever it is and whoever wrote it."""
    config = with_ecc("HBM3-6.4", rows=ROWS, channels=channels)
    rng, size = np.random.default_rng(3), config.timing.burst_bytes
    dram = SimulatedDram(config, config.timing.bytes)
    dram.memory[:] = rng.integers(0, 256, len(dram.memory), np.uint8)
    for address in rng.integers(0, len(dram.memory) // size, 50) * size:
        burst = dram.memory[address : address + size]
        expected = config.code.encode(burst, parity=parity_of(config, int(address)))
        assert dram.sideband(address) == expected
    assert dram.different == []


def test_flips():
    """Flipped bits are read until somebody writes; the memory is what was meant."""
    config = with_ecc("HBM3-6.4", rows=ROWS)
    dram = SimulatedDram(config, config.timing.bytes)
    dram.memory[:32] = np.arange(32)
    written = bytes(range(32)), config.code.encode(range(32), parity=0)
    assert read_first(dram) == written
    dram.flip(0, 9)
    dram.flip(31, 256 + 3)
    assert read_first(dram) == (bytes([0, 3, *range(2, 32)]), written[1] ^ 8)
    assert (dram.memory[:32] == np.arange(32)).all() and dram.different == [0]
    dram.flip(0, 9)
    assert read_first(dram) == (written[0], written[1] ^ 8)
    dram.flip(0, 256 + 3)
    assert read_first(dram) == written and dram.different == []

    dram.flip(0, 0)
    dram.memory[5] = 99  # a host writes the burst
    assert dram.different == []
    burst = bytes([*range(5), 99, *range(6, 32)])
    assert read_first(dram) == (burst, config.code.encode(burst, parity=0))

    dram.flip(0, 0)
    dram.reset()
    commands = commands_of((0, dict(row_op=1)), (1, dict(column_op=2)), length=30)
    data, poisoned = np.full((30, 32), 7, np.uint8), config.code.encode(bytes([7] * 32), parity=0, poison=1)
    dram.run(commands, data, np.full(30, 0xFFFFFFFF, np.uint64), np.full(30, poisoned, np.uint64))
    assert read_first(dram) == (bytes([7] * 32), poisoned) and dram.different == [0]
    with pytest.raises(ValueError, match="a burst of HBM3-6.4 has 272 bits, there is no bit 272"):
        dram.flip(0, 272)
    with pytest.raises(ValueError, match="address must be below 0x40000, not 0x40000"):
        dram.flip(0x40000, 0)


def test_flips_without_code():
    """Without a code a flipped bit of the data is one of the memory."""
    dram = SimulatedDram(replace(CONFIGS["DDR3-1600"], rows=ROWS), 4096)
    dram.flip(16, 1)
    assert dram.memory[16] == 2 and dram.different == []
