"""Gate-level simulation of netlists: against numpy, the RTL and the golden model, and the power that it
gives."""

from functools import cache

import numpy as np
import pytest

from poblano.clock_gate import CLOCK_GATE, CLOCK_GATE_FILE
from poblano.compute.array import GROUP, ActivationLayout, SystolicArray, WeightItemLayout
from poblano.compute.pe import PE
from poblano.config import ArrayConfig, preset
from poblano_flows.asic.activity import decode, measure_power, module_powers, prefill
from poblano_flows.asic.equivalence import prove
from poblano_flows.asic.flat import Flat
from poblano_flows.asic.flow import Design, Source, chip_source
from poblano_flows.asic.liberty import load_library
from poblano_flows.asic.power import GatePower
from poblano_flows.asic.simulate import netlist_library
from poblano_flows.asic.synthesis import elaborate, synthesise
from poblano_flows.asic.tools import AsicError
from poblano_host.sim.build import build_library
from tb.common.bulk import Bulk, _harness, build

pytestmark = pytest.mark.usefixtures("standard_cells")

INT8 = ArrayConfig(rows=4, cols=4, formats=("int8",))
GATED = (
    CLOCK_GATE_FILE.read_text()
    + """
module part(input clk, input rst, input add, input [15:0] d, output reg [15:0] q, output reg [7:0] n);
  always @(posedge clk) begin
    if (add) q <= q ^ d;
    n <= n + 1;
    if (rst) begin q <= 0; n <= 0; end
  end
endmodule
module dut(input clk, input rst, input run, input add, input [15:0] d,
           output [15:0] q, output [7:0] n, output reg [15:0] s);
  wire gclk;
  poblano_clock_gate gate(.clk(clk), .en(run | rst), .gclk(gclk));
  part part(.clk(gclk), .rst(rst), .add(add), .d(d), .q(q), .n(n));
  always @(posedge clk)
    if (rst) s <= 0; else if (add) s <= s + q;
endmodule
"""
)


@cache
def gated():
    """A module behind a gate of the RTL, in which and beside which synthesis finds more."""
    return Design.build(Source("gated", GATED, "dut", "gated.v"))


def test_gates_of_the_rtl():
    """In every cycle the netlist does what the RTL does; a part behind a gate that does not open stands
    still, and its clock pins take nothing."""
    rng = np.random.default_rng(3)
    inputs, outputs = {"run": 1, "add": 1, "d": 16}, {"q": 16, "n": 8, "s": 16}
    harness = _harness(inputs, outputs, clocked=True, resets=True)
    libraries = [make(GATED, "dut", {"harness.cpp": harness}) for make in (build_library, netlist_library)]
    count = 2000
    data = {
        "run": (rng.random(count) < 0.3).astype("u1"),
        "add": (rng.random(count) < 0.5).astype("u1"),
        "d": rng.integers(0, 1 << 16, count).astype("u2"),
    }
    rtl, netlist = [Bulk(library, inputs, outputs, 0)(**data) for library in libraries]
    assert all(np.array_equal(rtl[name], netlist[name]) for name in outputs)
    assert rtl["n"][-1] == data["run"][:-1].sum() % 256 and len(set(rtl["s"])) > 500
    design = gated()
    assert design.counts[CLOCK_GATE] == 3 and "part" in design.counts
    flat = Flat(design.modules, "dut", design.library)
    assert {clock.module for clock in flat.clocks[1:]} == {"dut", "part"} and sorted(
        clock.parent > 0 for clock in flat.clocks[1:]
    ) == [False, False, True]
    changes, ticks = np.zeros(flat.size, int), np.array([100, *(0 for _ in flat.clocks[1:])])
    gate, own = GatePower(design.library), module_powers(design, flat, changes, ticks)
    assert own["part"].clock == 0 and own["dut"].clock == pytest.approx(200 * gate.clock)


def test_products_of_a_netlist():
    """All products of the PE's netlist, with random sums."""
    dut = build(PE(arithmetic=INT8.arithmetic, transpose=False), latency=0, compiled=netlist_library)
    rng = np.random.default_rng(1)
    a, w = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij")
    w, a = w.T.ravel(), a.T.ravel()  # each weight with all activations
    count = len(a)
    begins = np.concatenate([[True], w[1:] != w[:-1]])
    sums = rng.integers(-(1 << 18), 1 << 18, count)
    # A weight is captured two cycles before its first activation, and swapped in one cycle before.
    after = lambda values, cycles: np.concatenate([np.zeros(cycles, int), values, np.zeros(3 - cycles, int)])
    ports = {"i_w": after(w, 0), "i_capture": after(begins, 0), "i_swap": after(begins, 1)}
    ports |= {"i_a": after(a, 2), "i_valid": after(np.ones(count, int), 2), "i_sum": after(sums, 2)}
    size = dict.fromkeys(ports, "u1") | {"i_sum": "u4"}
    out = dut(
        **{
            name: (values & (0xFFFFFFFF if size[name] == "u4" else 0xFF)).astype(size[name])
            for name, values in ports.items()
        }
    )
    got = out["o_sum"][3 : 3 + count].astype(np.int64)
    got = np.where(got >= 1 << 19, got - (1 << 20), got)
    assert np.array_equal(got, sums + a * w)


@cache
def array_traces():
    """A 4x4 array's RTL and netlist with the same ports in every cycle: weights and activations that follow
    closely, then anything."""
    rng = np.random.default_rng(2)
    tiles, rows, cols = 40, INT8.rows, INT8.cols
    weights, activations = (
        rng.integers(-128, 128, (tiles, rows, cols)),
        rng.integers(-128, 128, (tiles, rows, rows)),
    )
    weights[0], activations[0] = -128, -128
    item, lane = WeightItemLayout(INT8), ActivationLayout(INT8)
    significand = lambda value: {"significand": int(value), "exponent": 0, "special": 0}
    w = [
        item.const({"data": [[significand(x) for x in row]], "transpose": 0}).as_bits()
        for tile in weights
        for row in tile
    ]
    a = [
        lane.const({"data": [significand(x) for x in vector], "first": int(n == 0)}).as_bits()
        for tile in activations
        for n, vector in enumerate(tile)
    ]
    quiet = rows + -(-cols // GROUP) + 2
    directed = {
        "w__payload": w + [0] * (rows + quiet),
        "w__valid": [1] * len(w) + [0] * (rows + quiet),
        "a__payload": [0] * rows + a + [0] * quiet,
        "a__valid": [0] * rows + [1] * len(a) + [0] * quiet,
    }
    count = 4000
    noise = {
        "w__payload": [
            int(x) << 1 | int(t) for x, t in zip(rng.integers(0, 1 << 31, count), rng.integers(0, 2, count))
        ],
        "w__valid": list(rng.integers(0, 2, count)),
        "a__valid": list(rng.integers(0, 2, count)),
        "a__payload": [
            int(x) | int(f) << 32
            for x, f in zip(rng.integers(0, 1 << 32, count), rng.integers(0, 8, count) == 0)
        ],
    }
    ports = {name: directed[name] + noise[name] for name in directed}
    ports["o__ready"] = [1] * len(directed["w__valid"]) + list(rng.integers(0, 4, count) > 0)
    traces = []
    for compiled in (None, netlist_library):
        dut = build(SystolicArray(INT8), latency=0, compiled=compiled)
        arrays = {}
        for name, values in ports.items():
            width = dut._inputs[name]
            arrays[name] = np.array(
                [int(v) & (1 << width) - 1 for v in values],
                object if width > 64 else next(f"u{size}" for size in (1, 2, 4, 8) if width <= 8 * size),
            )
        traces.append(dut(**arrays))
    return traces, weights, activations


def test_array_of_a_netlist():
    """The netlist of an array multiplies as numpy does, and in every cycle does what the RTL does, with
    gaps and stalls."""
    (rtl, netlist), weights, activations = array_traces()
    for name in rtl:
        assert np.array_equal(rtl[name], netlist[name]), name
    rows, cols, width = INT8.rows, INT8.cols, INT8.sum_width
    first = rows + rows + -(-cols // GROUP)
    sums = [int(x) for x in netlist["o__payload"][first : first + len(weights) * rows]]
    assert netlist["o__valid"][first : first + len(sums)].all()
    columns = [[(word >> width * c & (1 << width) - 1) for c in range(cols)] for word in sums]
    got = np.array(columns)
    got = np.where(got >= 1 << width - 1, got - (1 << width), got).reshape(len(weights), rows, cols)
    assert np.array_equal(got, activations @ weights)


@pytest.mark.nightly
def test_chip_of_a_netlist():
    """A layer of the default model on the netlist of nano leaves the memory that the golden model does;
    each module is proved but the 24-bit multipliers."""
    design = Design.build(chip_source(preset("nano")))
    design.analyse(blocks=False)
    config = design.source.config
    programs = prefill(config, tokens=4), decode(config, tokens=4, layers=1)
    for power in measure_power(design, programs):
        assert 0 < power.blocks[0].clock < power.energy < 3000 and 0 < power.running < 0.3
        assert power.cycles > 10_000 and power.macs > 100_000 and power.bytes > 100_000
    hard = [v for v in prove(design.modules, design.counts, design.library) if v.result != "proved"]
    assert all(v.result == "unknown" and "multiply" in v.module for v in hard), hard


def test_loop():
    text = (
        "module loop(input a, output o); wire x, y; "
        "assign x = ~(y & a); assign y = ~(x & o); assign o = x; endmodule"
    )
    modules = synthesise(elaborate(text, "loop"), load_library())
    with pytest.raises(AsicError, match="loop: a combinational loop"):
        Flat(modules, "loop", load_library())
