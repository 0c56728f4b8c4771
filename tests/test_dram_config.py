"""Timing sets in a controller's cycles, configurations that are refused, and the tables of the document."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
import random

import bandwidths
import document
import pytest

from poblano.config import ConfigError, MemoryConfig, preset
from poblano.dram.address import AddressMap
from poblano.dram.config import OPEN, DramConfig
from poblano.dram.documents import BEGIN, END, timing_table
from poblano.dram.timing import TIMING_SETS

PAGE = Path(__file__).parents[1] / "docs" / "dram.md"


def test_document_is_current():
    lines = PAGE.read_text().split(BEGIN)[1].split(END)[0].splitlines()
    assert lines == timing_table(), "run: python -m poblano.dram.documents docs"


def test_bandwidths_are_current():
    lines = document.lines_of(bandwidths.PAGE, bandwidths.NAME)
    assert lines == bandwidths.table(), f"run: python {bandwidths.NAME}"


def test_slower_clock():
    """Times in nanoseconds take fewer cycles of a slower clock; a refresh comes as often in seconds."""
    fast, slow = (DramConfig(kind="SDR-100", clock_mhz=Fraction(mhz)).cycles for mhz in (100, 25))
    assert (fast.act_to_act, slow.act_to_act) == (7, OPEN)  # 70 ns; the controller itself takes OPEN
    assert (fast.interval, slow.interval) == (781, 195)  # 7.81 us
    assert fast.read_latency == slow.read_latency == 2  # clocks


@pytest.mark.parametrize("name", TIMING_SETS)
def test_address_map(name):
    """Places are those of the address's bits, the set turned by the row, and join() undoes split()."""
    timing = TIMING_SETS[name]
    places, rng = AddressMap(timing), random.Random(name)
    for _ in range(200):
        address = rng.randrange(timing.bytes)
        fields = places.split(address)
        rest, byte = divmod(address, timing.burst_bytes)
        rest, way = divmod(rest, timing.ways)
        rest, column = divmod(rest, timing.columns)
        row, place = divmod(rest, timing.sets)
        place = (place + row - row // timing.sets + row // timing.sets**2) % timing.sets
        bank, group = divmod(place * timing.ways + way, timing.groups)
        assert fields == dict(byte=byte, group=group, column=column, bank=bank, row=row)
        assert places.join(**fields) == address
        assert places.set_of(address) == place


def test_channels():
    """Side by side: beats, rows and capacity are twice as large, times the same."""
    one, two = DramConfig(), DramConfig(channels=2)
    assert two.cycles == one.cycles
    assert two.timing.bytes == 2 * one.timing.bytes and two.peak == 2 * one.peak == 64
    assert two.axi.data_width == 512


def test_bandwidth():
    """With refreshes of all banks, what they leave of the peak."""
    assert DramConfig().bandwidth == 32
    share = DramConfig(bank_refresh=False).bandwidth / 32
    assert float(share) == pytest.approx(1 - (5 + 13 + 280 + 16) / 3120)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            dict(kind="HBM9"),
            "DRAM kind must be one of HBM3-6.4, HBM3E-9.6, HBM2E-3.2, DDR3-1600, SDR-100, not 'HBM9'",
        ),
        (
            dict(clock_mhz=Fraction(900)),
            "the clock must be above 0 and at most 800 MHz for HBM3-6.4, not 900",
        ),
        (dict(clock_mhz=Fraction(0)), "the clock must be above 0 and at most 800 MHz for HBM3-6.4, not 0"),
        (dict(reads=1), "DRAM reads must be at least 2, not 1"),
        (dict(scrub_interval=0), "DRAM scrub_interval must be at least 1 cycle, not 0"),
        (
            dict(kind="SDR-100", clock_mhz=100, ecc=True),
            "ecc needs 9 sideband bits for each 4 bytes, SDR-100 has 0",
        ),
        (dict(write_batch=200), "write_batch 200 is above the 128 write_beats"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError) as error:
        DramConfig(**options)
    assert str(error.value) == message


def test_memory_refused():
    """A chip's port has to have the DRAM's beats and its addresses."""
    MemoryConfig(data_width=256, addr_width=29, dram=DramConfig())
    with pytest.raises(ConfigError, match="beats of 32 bytes, and a memory data_width of 512 does not"):
        MemoryConfig(data_width=512, addr_width=29, dram=DramConfig())
    with pytest.raises(ConfigError, match="the DRAM has 536870912 bytes"):
        MemoryConfig(data_width=256, addr_width=32, dram=DramConfig())
    assert replace(MemoryConfig(data_width=256, addr_width=29, dram=DramConfig()), latency=1).latency > 1


def test_ecc_refused():
    """A chip with ecc has a DRAM with sidebands."""
    with pytest.raises(ConfigError, match="ecc needs 9 sideband bits for each 4 bytes, SDR-100 has 0"):
        replace(preset("ulx3s"), ecc=True, clear_at_reset=None)
    assert replace(preset("desk"), ecc=True, clear_at_reset=None).memory.dram == DramConfig()
