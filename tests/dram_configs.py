"""DRAMs of all kinds for tests, each at its full clock."""

from dataclasses import replace

from poblano.dram.config import DramConfig
from poblano.dram.timing import TIMING_SETS

__all__ = ["CONFIGS"]

CONFIGS = {
    kind: DramConfig(kind=kind, clock_mhz=1000 / timing.clock_ns / timing.ratio)
    for kind, timing in TIMING_SETS.items()
}
CONFIGS["SDR-100 at 30 MHz"] = replace(CONFIGS["SDR-100"], clock_mhz=30, phy_read=1)
"""By the timing set's name; a slow one, of which most times are a cycle, behind a PHY."""
