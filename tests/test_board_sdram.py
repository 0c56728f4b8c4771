"""The SDRAM's PHY: a controller's traffic with an SDRAM at the pins, and what is refused."""

from dataclasses import replace

import pytest

from poblano.board.sdram import SdramPhy
from poblano.config import ConfigError, preset
from poblano.dram.config import DramConfig
from tb.bench import SDRAM, run
from tb.dram.configs import CONFIGS


@pytest.mark.parametrize("name", [pytest.param("sdr_pins", marks=pytest.mark.slow), "sdr_slow"])
def test_traffic(name):
    """Random accesses with stalls at 100 MHz and at 30: the data, and nothing that the SDRAM forbids."""
    assert run(SDRAM, name) == 1


def test_mode():
    """The mode register of the data sheet: bursts of 2 in sequence, CAS latency 2."""
    assert SdramPhy(preset("ulx3s").memory.dram).mode == 0x21


def test_refusals():
    config = CONFIGS["sdr_pins"]
    with pytest.raises(ConfigError, match="take 1 cycle of a read: DRAM phy_read must say so, not 0"):
        SdramPhy(replace(config, phy_read=0))
    with pytest.raises(ConfigError, match="one command bus and one data rate, and HBM3-6.4 has not"):
        SdramPhy(DramConfig(phy_read=1))
    with pytest.raises(ValueError, match="DRAM phy_read must be at least 0 cycles, not -1"):
        replace(config, phy_read=-1)
