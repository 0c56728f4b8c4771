"""The simulation's memory and register access, with a stand-in for the chip: latency, bandwidth, strobes,
errors, AXI's rules."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from poblano.config import preset
from poblano_host.sim.build import build_library
from poblano_host.sim.errors import SimulationError
from poblano_host.sim.simulation import Simulation

SOURCE, TARGET, LENGTH, BURSTS, STROBES, START, FIRST, CYCLES, RESPONSES, WRONG = range(0, 40, 4)
READ, WRITE, WITHDRAW = 1, 2, 4
SIZE = 1 << 16
SLVERR, DECERR = 2, 3


def simulation(width=256, *, bandwidth=None, latency=10, size=SIZE):
    verilog = (Path(__file__).parent / "sim_chip.v").read_text().replace("`WIDTH", str(width))
    config = (
        preset("desk")
        .with_axi_ports()
        .with_memory(data_width=width, bandwidth=Fraction(bandwidth or width // 8), latency=latency)
    )
    sim = Simulation(config, size, verilog=verilog, build=build_library)
    sim.memory[:] = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    return sim


def transfer(sim, mode, *, source=0, target=0, beats=16, bursts=1, strobes=0xFFFFFFFF):
    """The cycles to the first R and to the end, and the responses."""
    for register, value in (
        (SOURCE, source),
        (TARGET, target),
        (LENGTH, beats - 1),
        (BURSTS, bursts),
        (STROBES, strobes),
        (START, mode),
    ):
        sim.write(register, value)
    sim.run(100000)
    assert sim.irq and sim.read(WRONG) == 0
    return sim.read(FIRST), sim.read(CYCLES), sim.read(RESPONSES)


@pytest.mark.parametrize("latency", [1, 7, 60])
def test_latency(latency):
    sim = simulation(latency=latency)
    first, cycles, responses = transfer(sim, READ)
    assert (first, responses) == (latency, 0)
    assert cycles == latency + 16  # beats back to back
    _, cycles, _ = transfer(sim, READ, bursts=8)
    assert cycles == latency + 8 * 16  # reads in flight at the same time
    _, cycles, _ = transfer(sim, WRITE)
    assert cycles == 16 + latency + 1


@pytest.mark.parametrize("width, bandwidth", [(256, "20"), (256, "1/3"), (256, "32"), (64, "5/2"), (32, "4")])
def test_bandwidth(width, bandwidth):
    sim = simulation(width, bandwidth=bandwidth)
    bytes_ = 256 * width // 8
    for mode, times in ((READ, 1), (WRITE, 1), (READ | WRITE, 2)):
        cycles = transfer(sim, mode, beats=16, bursts=16)[1]
        assert cycles == pytest.approx(
            times * bytes_ / Fraction(bandwidth), abs=10 + 2 * width / 8 / Fraction(bandwidth) + 4
        )


@pytest.mark.parametrize("width", [32, 64, 256])
def test_copy(width):
    """What is read is written; strobes keep the other bytes; traffic counts whole beats."""
    sim = simulation(width)
    beat = width // 8
    expected = sim.memory.copy()
    before = sim.traffic
    transfer(sim, READ, source=0x1000, beats=8, bursts=6)
    strobes = 0x5A5A33CC & (1 << beat) - 1
    transfer(sim, WRITE, target=0x8000, beats=8, bursts=6, strobes=strobes)
    chosen = np.tile([strobes >> n & 1 for n in range(beat)], 48).astype(bool)
    expected[0x8000 : 0x8000 + 48 * beat][chosen] = expected[0x1000 : 0x1000 + 48 * beat][chosen]
    np.testing.assert_array_equal(sim.memory, expected)
    assert np.subtract(sim.traffic, before).tolist() == [48 * beat, 48 * beat]


def test_errors():
    sim = simulation()
    expected = sim.memory.copy()
    assert transfer(sim, READ, source=SIZE - 512, beats=16)[2] == 0
    assert transfer(sim, READ, source=SIZE - 512, beats=16, bursts=2)[2] == DECERR
    assert transfer(sim, WRITE, target=SIZE + 4096, bursts=2)[2] == DECERR << 2
    sim.fault(0x2040, 0x2041)
    assert transfer(sim, READ, source=0x2060)[2] == 0
    assert transfer(sim, READ, source=0x2000)[2] == SLVERR
    np.testing.assert_array_equal(sim.memory, expected)
    transfer(sim, READ, source=0x1000)
    assert transfer(sim, WRITE, target=0x2000)[2] == SLVERR << 2
    expected[0x2000:0x2200] = expected[0x1000:0x1200]
    expected[0x2040:0x2060] = sim.memory[0x2040:0x2060]
    np.testing.assert_array_equal(sim.memory, expected)
    sim.fault(0, 0)
    assert transfer(sim, WRITE, target=0x2000)[2] == 0
    with pytest.raises(SimulationError, match="write of register 0x18: response 2"):
        sim.write(0x18, 0)
    with pytest.raises(SimulationError, match="read of register 0x30: response 2"):
        sim.read(0x30)


@pytest.mark.parametrize(
    "what, arguments",
    [
        ("burst crosses 4 KiB at 0xf00", dict(source=0xF00)),
        ("burst not aligned to the beat at 0x10", dict(source=16)),
        ("AR changed before it was taken at 0x[0-9a-f]+", dict(mode=READ | WITHDRAW, bursts=100, beats=1)),
    ],
)
def test_protocol(what, arguments):
    sim = simulation(bandwidth="1/8")
    with pytest.raises(SimulationError, match=f"AXI protocol: cycle [0-9]+: {what}$"):
        transfer(sim, arguments.pop("mode", READ), **arguments)
    sim.reset()
    assert transfer(sim, READ)[2] == 0


def test_events():
    sim = simulation()
    assert len(sim.take_events()) == 0
    start = sim.cycle
    transfer(sim, READ)
    assert (sim.started, sim.completed) == (2, 1)
    events = sim.take_events()
    assert events[["unit", "done"]].tolist() == [(0, 0), (2, 0), (2, 1)]
    assert start < events["cycle"][0] == events["cycle"][1] < events["cycle"][2] <= sim.cycle
    assert events["cycle"][2] - events["cycle"][1] == 10 + 16
    assert len(sim.take_events()) == 0
    sim.run(7)
    sim.reset()
    assert not sim.irq and sim.started == 0
    sim.close()
    sim.close()
