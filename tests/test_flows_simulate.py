"""The driver of a chip in simulation, compiled around a netlist instead of Verilator's model."""

import re

import pytest

from poblano.config import preset
from poblano_flows.asic.simulate import compile_netlist
from poblano_host.sim.build import is_whole
from poblano_host.sim.simulation import Simulation, chip_rtl


class PortsOnly:
    """What is asked of a flattened netlist before it runs: its ports, those of the module chip."""

    def __init__(self, verilog):
        module = re.search(r"^module chip\(.*?^endmodule$", verilog, re.MULTILINE | re.DOTALL)[0]
        ports = re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", module, re.MULTILINE)
        self.ports = {name: (way, int(high or 0) + 1, 2) for way, high, name in ports}

    def arrays(self):
        return b""


class CompiledError(Exception):
    """It compiled, which is all that is wanted here."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "desk"])
def test_driver(name):
    """With memories at AXI ports and with DRAMs; the gates themselves need a library of cells."""
    config = preset(name)
    flat = PortsOnly(chip_rtl(config))
    assert {"clk", "rst", "s_axil_araddr"} < set(flat.ports)

    def build(_, top, sources, **__):
        assert is_whole(compile_netlist(flat, top, sources))
        raise CompiledError

    with pytest.raises(CompiledError):
        Simulation(config, 1 << 16, verilog="", build=build)
