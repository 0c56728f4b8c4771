"""No burst waits longer in the DRAM controller than the formula says, whatever the traffic."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poblano.dram.address import AddressMap
from poblano.dram.config import DramConfig
from poblano.dram.timing import TIMING_SETS, Limit
from poblano.dram.wait import Wait
from poblano_host.sim.controller import SimulatedController, Stalls
from poblano_host.sim.traffic import BURST
from tests.dram_configs import CONFIGS

NAMES = [pytest.param(name, marks=() if name == "HBM3-6.4" else pytest.mark.nightly) for name in CONFIGS]
THROUGH = 100
"""Cycles at the most that a burst spends in the controller before and after the queue, with data taken at
once."""


def loaded(name):
    return SimulatedController(replace(CONFIGS[name], rows=64))


def bursts(config, places, *, beats, ids, write=False):
    """Bursts at places (set, row)."""
    timing = config.timing
    at = lambda place: AddressMap(timing).join(group=0, column=0, bank=place[0], row=place[1])
    result = np.zeros(len(places), BURST)
    result["address"] = [at(place) for place in places]
    result["beats"], result["id"], result["write"] = beats, ids, write
    return result


def hostile(config):
    """By name: traffic that makes bursts wait for others."""
    rng, count = np.random.default_rng(0), 4000
    banks, timing = config.timing.banks, config.timing
    numbers = np.arange(count)
    granule = min(timing.ways * timing.columns, 4096 // timing.burst_bytes)
    one_bank = [(0, int(row)) for row in rng.integers(0, 64, count)]
    two_rows = [(0, int(n % 2)) for n in numbers]
    all_banks = [(int(rng.integers(banks)), int(rng.integers(64))) for _ in numbers]
    hits = bursts(config, [(0, 0)] * count, beats=1, ids=0)
    victims = bursts(config, [(0, 1)] * 20, beats=1, ids=1 + np.arange(20))
    return {
        "rows of one bank": bursts(config, one_bank, beats=1, ids=numbers % 32, write=numbers % 3 == 0),
        "long bursts, one set": bursts(
            config, two_rows, beats=granule, ids=numbers % 32, write=numbers % 4 == 0
        ),
        "long bursts, all sets": bursts(
            config, all_banks, beats=granule, ids=numbers % 32, write=numbers % 2
        ),
        "an open row for ever": np.concatenate([hits[:100], victims, hits[100:]]),
    }


@pytest.mark.parametrize("name", NAMES)
def test_waits_are_bounded(name):
    sim = loaded(name)
    wait = Wait(sim.config)
    longest = []
    for traffic in hostile(sim.config).values():
        counts = sim.run(traffic, max_cycles=5_000_000)
        assert counts.longest_read <= wait.read + THROUGH
        assert counts.longest_write <= wait.write + THROUGH
        longest.append(counts.longest_read)
    assert max(longest) > sim.config.oldest  # the traffic lets some get old
    assert not sim.violations()


def test_a_slot_is_not_passed_on():
    """A stream of short reads of one bank does not go before others of its row because its next burst gets
    the slot of the one before."""
    sim = loaded("HBM3-6.4")
    hits = bursts(sim.config, [(0, 0)] * 4000, beats=1, ids=0)
    hits["id"][:16] = 16 + np.arange(16)
    counts = sim.run(hits, max_cycles=100_000)
    assert counts.longest_read < 200


def test_writes_do_not_wait_for_reads_that_nobody_takes():
    sim = loaded("HBM3-6.4")
    config = sim.config
    reads = bursts(config, [(n % 4, 0) for n in range(12)], beats=16, ids=np.arange(12))
    writes = bursts(config, [(n % 4, 1) for n in range(40)], beats=16, ids=0, write=True)
    writes["earliest"] = 5 * config.oldest  # the oldest read is aged
    counts = sim.run(np.concatenate([reads, writes]), stalls=Stalls(read=0.999), max_cycles=1_000_000)
    assert counts.cycles > 50_000 and counts.longest_write < 2 * config.oldest


def test_the_example_of_the_document():
    text = (Path(__file__).resolve().parents[1] / "docs" / "dram.md").read_text()
    assert f"a read of HBM3 with the sizes above waits for at most {Wait(DramConfig()).read:,} cycles" in text


def test_a_longer_time_makes_a_longer_wait():
    """The formula has all that a burst can wait for: it grows with each time of the DRAM."""
    config = CONFIGS["HBM3-6.4"]
    timing = TIMING_SETS["HBM3-6.4"]
    names = ("rcd_read", "rcd_write", "wr", "ccd_l", "rrd_l", "faw", "rtw", "wtr_l", "rfc_bank", "rrefd")
    for name in names:
        longer = replace(timing, **{name: Limit(clocks=getattr(timing, name).at(timing.clock_ns) + 40)})
        slower = Wait(replace(config, kind=longer))
        assert slower.read > Wait(config).read and slower.write > Wait(config).write, name
    often = replace(timing, refi=Limit(ns=timing.refi.ns / 100))
    with pytest.raises(ValueError, match="HBM3-6.4 is refreshed so often that no bound of a wait is known"):
        print(Wait(replace(config, kind=often)).aged)
