"""Configurations of the DRAM benches: few rows, every kind of pins."""

from dataclasses import replace

from poblano.dram.config import DramConfig
from poblano.dram.timing import TIMING_SETS

__all__ = ["CONFIGS", "MEMORY_BITS"]

MEMORY_BITS = 16
"""Of the DRAM's bytes so many are there, as a power of two."""


def _config(kind, **others):
    timing = TIMING_SETS[kind]
    rows = 8 * (1 << MEMORY_BITS) // (timing.groups * timing.banks * timing.page_bytes)
    return DramConfig(kind=kind, clock_mhz=1000 / timing.clock_ns / timing.ratio, rows=rows, **others)


_HBM3 = _config("HBM3-6.4")
CONFIGS = {
    "hbm3": _HBM3,
    "hbm3_all_banks": replace(_HBM3, bank_refresh=False),
    "ddr3": _config("DDR3-1600"),
    "sdr": _config("SDR-100", reads=4, writes=2, write_beats=32, write_batch=8, id_width=2),
}
CONFIGS["sdr_pins"] = replace(CONFIGS["sdr"], phy_read=1)
CONFIGS["sdr_slow"] = replace(CONFIGS["sdr_pins"], clock_mhz=30)
