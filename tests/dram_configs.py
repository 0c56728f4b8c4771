"""DRAMs of all kinds for tests, each at its full clock."""

from dataclasses import replace

from poblano.dram.config import DramConfig
from poblano.dram.timing import TIMING_SETS

__all__ = ["CONFIGS", "with_ecc"]

CONFIGS = {
    kind: DramConfig(kind=kind, clock_mhz=1000 / timing.clock_ns / timing.ratio)
    for kind, timing in TIMING_SETS.items()
}
"""By the timing set's name."""


def with_ecc(kind, **changes):
    return replace(CONFIGS[kind], ecc=True, **changes)
