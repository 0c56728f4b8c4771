"""The DRAM controller with its DRAM: data, order, the DRAM's rules, waits, with random traffic and stalls."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from poblano.dram.address import AddressMap
from poblano_host.sim.controller import SimulatedController, Stalls
from poblano_host.sim.dram_rules import dram_times
from poblano_host.sim.errors import SimulationError
from poblano_host.sim.traffic import BURST, merged, random_bursts, random_chunks, sequential
from tests.dram_configs import CONFIGS

ROWS = 64
SMALL = {name: replace(config, rows=ROWS) for name, config in CONFIGS.items()}
SMALL["HBM3-6.4, all banks"] = replace(SMALL["HBM3-6.4"], bank_refresh=False)
SMALL["SDR-100 at 30 MHz"] = replace(SMALL["SDR-100"], clock_mhz=30, phy_read=1)  # most times: a cycle
HBM3 = SMALL["HBM3-6.4"]
MARKS = {"HBM3-6.4": [], "HBM3-6.4, all banks": pytest.mark.slow, "SDR-100 at 30 MHz": pytest.mark.slow}
NAMES = [pytest.param(name, marks=MARKS.get(name, pytest.mark.nightly)) for name in SMALL]


@cache
def contents(config):
    return np.random.default_rng(0).integers(0, 256, config.timing.bytes, np.uint8)


def loaded(config, **options):
    sim = SimulatedController(config, **options)
    sim.load(contents(config))
    return sim


def traffic(config, count, seed, **options):
    rng = np.random.default_rng(seed)
    return random_bursts(
        rng, count, beat=config.timing.burst_bytes, memory_bytes=config.timing.bytes, **options
    )


@pytest.mark.parametrize("name", NAMES)
def test_random_traffic(name):
    """What is read is what was written, whatever stalls; the DRAM holds it in the end; no rule is broken."""
    config = SMALL[name]
    sim = loaded(config)
    for seed, stall, options in (
        (0, 0.0, {}),
        (1, 0.3, dict(hot=0.9)),
        (2, 0.6, dict(longest=64, hot=0.0)),
        (3, 0.1, dict(idle=0.05, writes=0.6)),
        (4, 0.0, dict(longest=2, writes=0.1)),
    ):
        bursts = traffic(config, 1500, seed, **options)
        stalls = Stalls(read=stall, write=stall, response=stall)
        counts = sim.run(bursts, seed=seed, stalls=stalls, partial=0.3, max_cycles=1_000_000)
        written = bursts["write"] == 1
        assert counts.beats_read == bursts["beats"][~written].sum()
        assert counts.beats_written == bursts["beats"][written].sum()
        sim.drain()
        violations = sim.violations()
        assert not violations, str(violations)
    sim.idle(10 * config.cycles.interval)  # refreshes go on
    violations = sim.violations()
    assert not violations, str(violations)
    kind = "REFPB" if config.refreshes_banks else "REFAB"
    per_interval = config.timing.groups * config.timing.banks if config.refreshes_banks else 1
    refreshes = sim.commands[kind]
    assert refreshes >= (sim.cycle // config.cycles.interval - config.timing.postponed) * per_interval
    assert sim.beyond == 0
    sim.close()


@pytest.mark.nightly
@pytest.mark.parametrize("name", SMALL)
def test_ten_million_commands(name):
    config = SMALL[name]
    sim, seed = loaded(config), 100
    rng = np.random.default_rng(seed)
    while sum(sim.commands.values()) < 10_000_000:
        seed += 1
        options = dict(
            longest=int(rng.choice([1, 4, 16, 128])),
            hot=rng.random(),
            writes=rng.choice([0.0, 0.1, 0.5, 1.0]),
        )
        bursts = traffic(config, 20_000, seed, **options)
        stall = rng.choice([0.0, 0.0, 0.5])
        sim.run(bursts, seed=seed, stalls=Stalls(read=stall, write=stall), partial=0.2, max_cycles=10_000_000)
        sim.drain()
        violations = sim.violations()
        assert not violations, f"seed {seed}: {violations}"


def test_as_near_as_allowed():
    """The controller does not keep longer times than it has to: were they a cycle longer, it would break
    them. So the checker sees its commands, and is not blind."""
    ratio = HBM3.timing.ratio
    names = ("rcd_read", "rcd_write", "rp", "rtp", "wr", "ccd_l", "rrd_s", "faw", "rtw", "wtr_s", "wtr_l")
    for name in (*names, "rfc_bank"):
        sim = loaded(HBM3, checked={name: dram_times(HBM3)[name] + ratio})
        for bursts in (traffic(HBM3, 1500, 5), traffic(HBM3, 1000, 6, hot=0.0, longest=2, writes=0.0)):
            sim.run(bursts, max_cycles=1_000_000)
        violations = sim.violations()
        assert set(violations.counts) == {name}, str(violations)


def test_changed_memory_is_found():
    sim = loaded(HBM3)
    sim.memory[5000] ^= 1
    sim.run(sequential(0, 4096, beat=32), max_cycles=10_000)
    with pytest.raises(SimulationError, match="read of 128 beats at 0x1000, id 0, beat 28: other data"):
        sim.run(sequential(4096, 4096, beat=32), max_cycles=10_000)


def test_latency():
    """From an address to the first beat of an idle DRAM, its row closed, and open."""
    cycles = HBM3.cycles
    sim = loaded(HBM3)
    one = sequential(0, 32, beat=32)
    one["beats"] = 1
    sim.idle(50)
    closed = sim.run(one).longest_read
    opened = sim.run(one).longest_read
    assert opened == 6 + cycles.read_latency
    # A column command goes to banks found to be needed in the cycle before; an activation does not wait.
    assert closed == opened - 1 + cycles.act_to_read


def test_repeats():
    bursts = traffic(HBM3, 500, 7)
    runs = [loaded(HBM3).run(bursts, seed=1, stalls=Stalls(read=0.4), max_cycles=200_000) for _ in range(2)]
    assert runs[0] == runs[1]


def test_no_burst_starves():
    """One master reads an open row for ever, another one wants another row of the bank."""
    timing, count = HBM3.timing, 6000
    hits = np.zeros(count, BURST)
    hits["beats"], hits["id"] = 1, np.arange(count) % 8
    hits["address"] = timing.burst_bytes * (np.arange(count) % 64)
    other = np.zeros(1, BURST)
    other["beats"], other["id"] = 1, 9
    other["address"] = AddressMap(timing).join(group=0, column=0, bank=0, row=1)
    bursts = np.concatenate([hits[:100], other, hits[100:]])
    counts = loaded(HBM3).run(bursts, max_cycles=100_000)
    assert HBM3.oldest < counts.longest_read < HBM3.oldest + HBM3.reads * 60


@pytest.mark.slow
def test_streams_of_two_directions():
    """Reads and writes of 4 KiB at once: none waits longer than all in the queue before it may take."""
    size = 1 << 18
    streams = merged(*(sequential(n * size, size, beat=32, id=n, write=n == 2) for n in range(3)))
    sim = loaded(HBM3)
    counts = sim.run(streams, max_cycles=100_000)
    sim.drain()
    assert max(counts.longest_read, counts.longest_write) < HBM3.reads * (HBM3.oldest + 256)
    assert not sim.violations()


def test_chunks_of_many_ids():
    chunks = random_chunks(
        np.random.default_rng(8), 2000, size=64, beat=32, memory_bytes=HBM3.timing.bytes, write=False
    )
    sim = loaded(HBM3)
    counts = sim.run(chunks, max_cycles=100_000)
    assert counts.bursts_read == 2000 and not sim.violations()
