"""Faults in a simulation, with a stand-in for the chip: flipped bits, beats with errors, silent channels."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from poblano.config import preset
from poblano_host.sim.build import build_library
from poblano_host.sim.faults import Channel, FaultySimulation, Response, registers_of
from tests.test_sim_memory import LENGTH, READ, WRITE, transfer

VERILOG = (Path(__file__).parent / "sim_chip.v").read_text().replace("`WIDTH", "256")


@pytest.fixture(scope="module")
def sim():
    config = preset("desk").with_axi_ports(bandwidth=32, latency=10)
    build = partial(build_library, visible=registers_of(VERILOG))
    found = FaultySimulation(config, 1 << 16, verilog=VERILOG, build=build)
    found.memory[:] = np.random.default_rng(1).integers(0, 256, 1 << 16, np.uint8)
    return found


def register(sim, name):
    (found,) = [register for register in sim.registers if register.name == name]
    return found


def test_registers_of():
    """What a clocked process assigns: not wires, memories that nothing writes, or combinational processes."""
    verilog = """
module a(clk, o);
  reg [3:0] one;
  reg [7:0] table_ [3:0];
  reg two = 1'h0;
  reg other;
  always @(posedge clk)
    one <= other;
  always @* begin
    other = one <= 4'h3;
  end
  assign o = two <= one;
endmodule
module b(clk);
  reg [7:0] words [0:3];
  always @(posedge clk) begin
    if (en[1]) words[at][4 +: 4] <= i;
    two[3:1] <= 1;
  end
  reg [3:0] two;
endmodule
"""
    assert registers_of(verilog) == [("a", "one"), ("b", "two"), ("b", "words")]


def test_flip(sim):
    """Every bit of a memory's word, as the chip sees it; a register's flip is seen at the next edge."""
    found = register(sim, "regs")
    assert (found.width, found.depth, found.bits) == (32, 16, 512)
    sim.write(LENGTH, 0x12345678)
    for bit in range(32):
        sim.flip(found, LENGTH // 4, bit)
        assert sim.read(LENGTH) == 0x12345678 ^ 1 << bit
        sim.flip(found, LENGTH // 4, bit)
    with pytest.raises(ValueError, match="regs has 16 words of 32 bits: no bit 32 of 3"):
        sim.flip(found, 3, 32)
    assert not sim.irq
    sim.flip(register(sim, "finished"), 0, 0)
    assert sim.irq  # of an output, already before that edge
    sim.flip(register(sim, "finished"), 0, 0)
    wide = register(sim, "buffer")
    transfer(sim, READ, beats=1)
    sim.flip(wide, 0, 255)
    sim.memory[64:96] = 0
    transfer(sim, WRITE, target=64, beats=1)
    assert sim.memory[64:95].tobytes() == sim.memory[:31].tobytes()
    assert sim.memory[95] == sim.memory[31] ^ 128


@pytest.mark.parametrize("response", Response)
@pytest.mark.parametrize("write", [False, True])
def test_fail_beat(sim, write, response):
    """The beat, and no other; its data are none."""
    mode, shift = (WRITE, 2) if write else (READ, 0)
    sim.fail_beat(write=write, number=5, response=response)
    assert transfer(sim, mode, beats=1, bursts=5, target=4096)[2] == 0
    assert transfer(sim, mode, beats=1, bursts=1, target=4096)[2] == response << shift
    assert transfer(sim, mode, beats=1, bursts=8, target=4096)[2] == 0


@pytest.mark.parametrize("channel", Channel)
def test_silence(sim, channel):
    """A transfer that needs the channel waits for its end, and one that does not goes on; what is offered
    stays, which the simulation checks."""
    reads = channel in (Channel.AR, Channel.R)
    for mode, waits in ((READ, reads), (WRITE, not reads)):
        usual = transfer(sim, mode, bursts=2, beats=4, target=4096)[1]
        sim.silence(channel, 3000)
        found = transfer(sim, mode, bursts=2, beats=4, target=4096)[1]
        assert found > 2500 if waits else found == usual
        sim.run(4000 * (not sim.irq))
        sim.silence(0, 0)


def test_silent_for_ever(sim):
    sim.silence(Channel.R, (1 << 64) - 1)
    for address, value in ((LENGTH, 0), (12, 1), (20, READ)):
        sim.write(address, value)
    sim.run(20000)
    assert not sim.irq
    sim.silence(0, 0)
    sim.run(100)
    assert sim.irq
