"""The clock gate, proved."""

import pytest

from poblano.clock_gate import CLOCK_GATE_FILE
from poblano_flows.asic.synthesis import run_yosys

CHECKER = """
module edges (input clk, input en);
  wire gclk;
  poblano_clock_gate gate (.clk(clk), .en(en), .gclk(gclk));
  reg clk_before, en_before, gclk_before, started = 0;
  always @($global_clock) begin
    clk_before <= clk;
    en_before <= en;
    gclk_before <= gclk;
    started <= 1;
  end
  always @* if (started) begin
    // Any time after an edge en may change, and more than once, but it has settled when the clock rises.
    if (clk && !clk_before) assume (en == en_before);
    assert (clk || !gclk);
    if (clk && !clk_before) assert (gclk == en);
    if (clk && clk_before) assert (gclk == gclk_before);
  end
endmodule
"""
MUTATIONS = {
    "no latch": ("clk & open", "clk & en"),
    "open while the clock is high": ("if (!clk)", "if (clk)"),
    "or": ("clk & open", "clk | open"),
    "never": ("clk & open", "0"),
    "always": ("clk & open", "clk"),
}


def proved(gate, folder):
    """Whether every step of time is as it should be, by induction."""
    (folder / "gate.v").write_text(gate)
    (folder / "checker.v").write_text(CHECKER)
    commands = [
        "read_verilog -sv -formal gate.v checker.v",
        "prep -flatten -top edges",
        "clk2fflogic",
        "opt -fast",
        "chformal -lower",
        "tee -q -o log sat -prove-asserts -set-assumes -tempinduct -seq 1 -maxsteps 8 edges",
    ]
    run_yosys([commands], folder, "gate")
    log = (folder / "log").read_text()
    assert ("SUCCESS" in log) != ("FAIL" in log), log[-1000:]
    return "SUCCESS" in log


def test_gate(tmp_path):
    """gclk rises with clk exactly where en is 1, falls with it, and is still between."""
    assert proved(CLOCK_GATE_FILE.read_text(), tmp_path)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_gate_mutations(tmp_path, mutation):
    text = CLOCK_GATE_FILE.read_text()
    before, after = MUTATIONS[mutation]
    assert before in text
    assert not proved(text.replace(before, after), tmp_path)
