"""The DRAM controller with check bits: flipped bits corrected, found and repaired, parts of bursts merged."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from poblano.dram.address import AddressMap
from poblano.dram.config import DramConfig
from poblano.dram.controller import DramController
from poblano.verilog import emit
from poblano_host.sim.controller import SimulatedController, Stalls
from poblano_host.sim.traffic import BURST, random_bursts, sequential
from tests.dram_configs import with_ecc

ROWS = 4
KIND = "HBM3-6.4"
CONFIG = with_ecc(KIND, rows=ROWS, scrub_interval=64)
QUIET = replace(CONFIG, scrub_interval=1 << 30)
"""No patrol, for what is counted."""
BURST_BITS, CHECKS = 256, 10
CODE_BITS = BURST_BITS + CHECKS + 2
MOST = 1_000_000


@cache
def contents(size):
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


@cache
def verilog(config):
    return emit(DramController(config), "dram_controller")


def loaded(config):
    sim = SimulatedController(config, verilog=verilog(config))
    sim.load(contents(config.timing.bytes))
    return sim


def bursts_of(*listed):
    """Of (address, write) or (address, write, beats)."""
    array = np.zeros(len(listed), BURST)
    for burst, (address, write, *beats) in zip(array, listed):
        burst["address"], burst["write"], burst["beats"] = address, write, beats[0] if beats else 1
    return array


def counts(found):
    return {name: int(found[name].sum()) for name in ("corrected", "failed", "scrubbed")}


def parity_of(config, address):
    place = AddressMap(config.timing).split(address)
    return sum(place[name].bit_count() for name in ("group", "column", "bank", "row")) & 1


@pytest.mark.parametrize(
    "channels", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.nightly)]
)
def test_random(channels):
    """Random traffic with random strobes and stalls, flips at random times, words with two flips: all is read
    as it was written, or with an error where it must be; no rule of the DRAM is broken."""
    config = replace(CONFIG, channels=channels)
    sim, rng, size = loaded(config), np.random.default_rng(channels), config.timing.burst_bytes
    words = config.code.words
    for seed, stall, partial, options in (
        (0, 0.0, 0.3, dict(hot=0.9)),
        (1, 0.3, 0.5, dict(longest=64)),
        (2, 0.6, 1.0, dict(longest=2, hot=0.7)),
        (3, 0.0, 0.1, dict(writes=0.1)),
    ):
        traffic = random_bursts(rng, 1200, beat=size, memory_bytes=config.timing.bytes, **options)
        starts = [int(burst["address"]) + size * int(rng.integers(burst["beats"])) for burst in traffic[:100]]
        for address in set(starts) - set(sim.different):
            word = int(rng.integers(words))
            data, sideband = BURST_BITS * word, BURST_BITS * words + config.code.sideband_bits * word
            bits = [*range(data, data + BURST_BITS), *range(sideband, sideband + CHECKS + 2)]
            sim.spoil(address, *(int(bit) for bit in rng.choice(bits, 2, replace=False)))
        stalls = Stalls(read=stall, write=stall, response=stall)
        sim.run(traffic, seed=seed, stalls=stalls, partial=partial, flips=0.02, max_cycles=MOST)
        sim.drain()
        found = sim.take_found()
        assert min(counts(found).values()) > 10
        assert set(found["address"] % size) == {0} and found["address"].max() < config.timing.bytes
    violations = sim.violations()
    assert not violations, str(violations)


def test_every_bit():
    """Each bit of a word and of its sideband, flipped alone: read right, told, and repaired, once."""
    sim = loaded(QUIET)
    for bit in range(CODE_BITS):
        address = 32 * bit
        sim.flip(address, bit)
        sim.run(bursts_of((address, 0)), max_cycles=1000)
    sim.idle(500)
    found = sim.take_found()
    assert counts(found) == dict(corrected=CODE_BITS, failed=0, scrubbed=CODE_BITS)
    for name in ("corrected", "scrubbed"):
        assert found["address"][found[name] == 1].tolist() == [32 * bit for bit in range(CODE_BITS)]
    assert sim.different == []
    sim.flip(0, BURST_BITS + CHECKS + 2)  # an unused bit
    sim.run(bursts_of((0, 0)), max_cycles=1000)
    assert len(sim.take_found()) == 0


def test_two_flips():
    """Random pairs of a word's bits: an error, told once; the word becomes poison, which is still one; a
    write of all of it heals it, a write of a part does not."""
    sim, rng = loaded(QUIET), np.random.default_rng(4)
    addresses = [32 * n for n in range(200)]
    for address in addresses:
        sim.spoil(address, *(int(bit) for bit in rng.choice(CODE_BITS, 2, replace=False)))
    reads = bursts_of(*((address, 0) for address in addresses))
    sim.run(reads, outstanding=1, max_cycles=MOST)
    sim.idle(500)
    found = sim.take_found()
    assert counts(found) == dict(corrected=0, failed=200, scrubbed=200)
    for address in addresses:
        burst = sim.memory[address : address + 32]
        sideband = sim.sideband(address)
        assert sideband >> CHECKS & 1 and sideband != sim.config.code.encode(
            burst, parity=parity_of(QUIET, address)
        )
    sim.run(reads, max_cycles=MOST)
    sim.run(bursts_of(*((address, 1) for address in addresses)), partial=0.5, seed=1, max_cycles=MOST)
    sim.run(reads, max_cycles=MOST)
    found = sim.take_found()
    assert 250 < counts(found)["failed"] < 450 and counts(found)["scrubbed"] == 0
    sim.run(bursts_of(*((address, 1) for address in addresses)), max_cycles=MOST)
    sim.take_found()
    sim.run(reads, max_cycles=MOST)
    assert len(sim.take_found()) == 0
    sim.drain()
    assert sim.different == []


def test_wrong_address():
    """A word that belongs elsewhere, or whose poison was written, is an error though its check bits fit; it
    is left as it is."""
    sim = loaded(QUIET)
    for address, poison in ((64, 0), (32, 1)):
        parity = parity_of(QUIET, address) ^ 1 ^ poison
        burst = sim.memory[address : address + 32]
        sim.spoil(address, 0, 0)
        sim.set_sideband(address, QUIET.code.encode(burst, parity=parity, poison=poison))
    before = [sim.sideband(address) for address in (64, 32)]
    sim.run(bursts_of((64, 0), (32, 0)), max_cycles=1000)
    sim.idle(500)
    assert counts(sim.take_found()) == dict(corrected=0, failed=2, scrubbed=0)
    assert [sim.sideband(address) for address in (64, 32)] == before


def test_patrol():
    """Nobody reads: the patrol finds all flips, and a second flip in each of the words is corrected too."""
    sim, rng = loaded(CONFIG), np.random.default_rng(5)
    bursts = CONFIG.timing.bytes // 32
    addresses = [32 * int(n) for n in rng.choice(bursts, 50, replace=False)]
    for _ in range(2):
        for address in addresses:
            sim.flip(address, int(rng.integers(CODE_BITS)))
        sim.idle(2 * bursts * CONFIG.scrub_interval)  # refreshes delay some
        found = sim.take_found()
        assert counts(found) == dict(corrected=50, failed=0, scrubbed=50)
        assert sim.different == []
    sim.run(sequential(0, CONFIG.timing.bytes, beat=32), max_cycles=MOST)
    assert len(sim.take_found()) == 0 and not sim.violations()


def test_patrol_of_a_busy_memory():
    """The patrol goes on while a stream keeps the memory busy."""
    sim = loaded(CONFIG)
    half, address = CONFIG.timing.bytes // 2, 32 * 10  # the stream reads the other half
    sim.flip(address, 3)
    sim.run(np.concatenate([sequential(half, half, beat=32)] * 4), max_cycles=MOST)
    found = sim.take_found()
    assert set(found["address"]) == {address} and counts(found) == dict(corrected=1, failed=0, scrubbed=1)
    assert sim.different == [] and not sim.violations()


def test_latency():
    cycles, sim = QUIET.cycles, loaded(QUIET)
    sim.idle(50)
    read = bursts_of((0, 0))
    closed = sim.run(read).longest_read
    opened = sim.run(read).longest_read
    assert opened == 8 + cycles.read_latency and closed == opened - 1 + cycles.act_to_read
    assert QUIET.latency == DramConfig().latency + 2


def test_partial_writes_wait_for_reads_only():
    """A write of a part takes a read longer than another one; eight of them hardly more; and one at the place
    of a write before does not wait until writes are due."""
    sim, time = loaded(QUIET), QUIET.latency
    sim.idle(50)
    whole = sim.run(bursts_of((0, 1))).longest_write
    one = sim.run(bursts_of((4096, 1)), partial=1.0).longest_write
    assert one < whole + time + 10
    eight = sim.run(bursts_of(*((32 * n, 1) for n in range(8))), partial=1.0).longest_write
    assert eight < one + 8 * 4
    reads = sequential(0, 1 << 16, beat=32)
    writes = bursts_of(*((1 << 14, 1) for _ in range(4)))
    both = sim.run(np.concatenate([reads[:4], writes, reads[4:]]), partial=1.0, max_cycles=MOST)
    assert both.longest_write < 2 * (QUIET.write_wait + 60)


def test_writes_do_not_wait_for_reads_that_nobody_takes():
    """While reads with rows in all banks wait for AXI, parts of bursts in other rows are written."""
    sim = loaded(QUIET)
    reads = sequential(0, 1 << 15, beat=32)  # rows 0 and 1 of all banks
    reads = np.concatenate([reads, reads, reads])
    reads["beats"] = 6
    writes = bursts_of(*(((1 << 15) + 1056 * n, 1) for n in range(30)))
    stalls = Stalls(read=0.999)
    counts = sim.run(np.concatenate([reads, writes]), stalls=stalls, partial=1.0, max_cycles=MOST)
    assert counts.cycles > 100_000 and counts.longest_write < 2000
    assert not sim.violations()


def test_off_is_free():
    """Without ecc there is nothing of it."""
    text = verilog(DramConfig())
    for name in ("partial", "scrub", "corrector", "encoder", "own_reads", "released", "hurry"):
        assert name not in text and name in verilog(QUIET)
