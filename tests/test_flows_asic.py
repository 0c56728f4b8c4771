"""Standard cells: area and time of the INT8 PE, netlist = RTL by proof and by gate-level simulation, the
command ``poblano asic``."""

from functools import cache
import json
import re
import sys

import numpy as np
import pytest

from poblano.compute.array import GROUP, ActivationLayout, SystolicArray, WeightItemLayout
from poblano.compute.pe import PE
from poblano.config import ArrayConfig, ConfigError, preset
from poblano.verilog import emit
from poblano_cli import main as cli
from poblano_flows.asic import tools
from poblano_flows.asic.activity import gate_level, measure_power
from poblano_flows.asic.equivalence import check, mutated, prove
from poblano_flows.asic.flow import Design, Source, array_source, chip_source
from poblano_flows.asic.liberty import Expression, load_library
from poblano_flows.asic.simulate import behavioural
from poblano_flows.asic.synthesis import elaborate, synthesise
from poblano_flows.asic.tools import AsicError, sta_program
from tb.common.bulk import build
from tb.common.runner import run_bench
from tb.common.units import matmul_unit
from tb.compute.configs import CONFIGS
from tests.test_flows_area import VERILOG as BY_HAND

INT8 = ArrayConfig(rows=4, cols=4, formats=("int8",))


@pytest.fixture(scope="module", autouse=True)
def needed():
    """The library and OpenSTA, out of their packages."""
    try:
        load_library()
        sta_program()
    except AsicError as error:
        pytest.skip(str(error))


@cache
def pe():
    verilog = emit(PE(arithmetic=INT8.arithmetic, transpose=True), "pe")
    design = Design.build(Source("PE", verilog, "pe", "pe.v"))
    design.analyse()
    return design


@cache
def array():
    return Design.build(array_source(4, 4, ("int8",)))


@pytest.mark.parametrize(
    "text,verilog,ones",
    [
        ("(!(A B))", "~(A & B)", 3),
        ("A+B C", "(A | (B & C))", 5),
        ("A^B'", "(A ^ ~B)", 2),
        ("(!((S A) + (!S B)))", "~((S & A) | (~S & B))", 4),
    ],
)
def test_functions(text, verilog, ones):
    function = Expression(text)
    assert function.verilog({pin: pin for pin in "ABCS"}) == verilog and len(function.minterms()) == ones


def test_library():
    library = load_library()
    assert library.corner == "typical, 1.8 V, 25 C" and [b.name for b in library.buffers] == [
        "BUFX2",
        "BUFX4",
    ]
    nand, flop = library.cells["NAND2X1"], library.cells["DFFPOSX1"]
    assert nand.area == 24 and nand.functions["Y"].verilog({"A": "a", "B": "b"}) == "~(a & b)"
    assert flop.state[0].tree == "D" and flop.state[1].tree == "CLK" and not library.cells["DFFSR"].state
    assert nand.switch_energy("Y", 0.025, 0.06) == pytest.approx(
        np.mean([0.009041, 0.045658, 0.008958, 0.033477]), rel=0.1
    )


def test_pe():
    """What docs/asic.md says of the INT8 PE, and no worse than one written by hand, to the noise of logic
    optimisation."""
    total, timing = pe().total, pe().timing["all"]
    assert total.flip_flops == 36 and total.area < 24_000 and timing.fmax > 225
    hand = Design.build(Source("by hand", BY_HAND, "pe", "hand.v"))
    assert hand.total.flip_flops == 36 and total.area < 1.06 * hand.total.area
    path = timing.paths[0]
    assert (
        path.steps[0][0] == path.steps[-1][0] == "DFFPOSX1"
        and path.steps[-1][2] < path.delay
        and not path.macros
    )


def test_array():
    """Sixteen PEs, synthesised once, and all that is around them."""
    design = array()
    assert design.counts["poblano_pe"] == 16
    assert design.whole["systolic_array"][2] == 16 * 36 + sum(
        design.counts[name] * design.own(name)[2] for name in design.counts if name != "poblano_pe"
    )
    assert sum(block.cells for block in design.blocks() if block.depth == 1) <= design.total.cells


def test_buffers():
    """No net but the clock's has more to drive than a buffer may, counting pins of submodules."""
    design = array()
    for name, module in design.modules.items():
        load = {}
        for instance in module.instances:
            cell = design.library.cells.get(instance.kind)
            for pin, bits in instance.pins.items():
                loads = (
                    design.loads[instance.kind].get(pin) if cell is None else [cell.capacitance.get(pin, 0.0)]
                )
                for bit, value in zip(bits, loads or ()):
                    if pin not in ("CLK", "clk"):
                        load[bit] = load.get(bit, 0.0) + value
        assert all(value <= 0.31 for bit, value in load.items() if isinstance(bit, int)), name


def test_proofs():
    """Every module of an array, and the multiplier by all its values."""
    design = array()
    verdicts = prove(design.modules, design.counts, design.library)
    assert {v.module for v in verdicts} == {name for name in design.counts if not design.modules[name].macro}
    assert [v for v in verdicts if v.result != "proved"] == []
    assert {v.module for v in verdicts if v.same_multiplier} == {"poblano_pe"}
    verilog = (
        "module multiply(input signed [7:0] a, input signed [7:0] b, output signed [15:0] o); "
        "assign o = a * b; endmodule"
    )
    modules = synthesise(elaborate(verilog, "multiply"), load_library())
    assert check(modules["multiply"], modules, load_library()).result == "proved"


@pytest.mark.parametrize("seed", range(4))
def test_mutations_of_a_netlist(seed):
    """One wrong cell, anywhere, is found."""
    design = pe()
    wrong, what = mutated(design.modules["pe"], design.library, seed)
    assert check(wrong, design.modules, design.library, same_multiplier=True).result == "different", what


def test_products_of_a_netlist():
    """All products of the PE's netlist, with random sums."""
    dut = build(PE(arithmetic=INT8.arithmetic, transpose=False), latency=0, transform=gate_level)
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
    for transform in (None, gate_level):
        dut = build(SystolicArray(INT8), latency=0, transform=transform)
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
def test_matmul_unit_of_a_netlist():
    """The whole matmul unit of nano, array and accumulator, passes the RTL's bench."""
    env = {"CONFIG": "nano", "COUNT": "6"}
    assert (
        run_bench(
            matmul_unit(CONFIGS["nano"]),
            name="matmul_gates",
            module="tb.compute.bench",
            env=env,
            transform=gate_level,
        )
        == 5
    )


@pytest.mark.nightly
def test_chip_of_a_netlist():
    """A layer of the default model on the netlist of nano leaves the memory that the golden model does;
    each module is proved but the 24-bit multipliers."""
    design = Design.build(chip_source(preset("nano")))
    design.analyse(blocks=False)
    power = measure_power(design, tokens=4)
    assert 0 < power.energy < 1e6 and power.cycles > 1000
    hard = [v for v in prove(design.modules, design.counts, design.library) if v.result != "proved"]
    assert all(v.result == "unknown" and "multiply" in v.module for v in hard), hard


def test_loop():
    text = (
        "module loop(input a, output o); wire x, y; "
        "assign x = ~(y & a); assign y = ~(x & o); assign o = x; endmodule"
    )
    modules = synthesise(elaborate(text, "loop"), load_library())
    with pytest.raises(AsicError, match="loop: a combinational loop"):
        behavioural(modules, ["loop"], load_library())


def run(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["poblano", "asic", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capfd.readouterr()
    return left.value.code or 0, captured.out, captured.err


def test_command(monkeypatch, capfd, tmp_path):
    """An array beside someone's PE; figures, plots and the netlist."""
    peer = tmp_path / "peer.v"
    peer.write_text(BY_HAND)
    status, out, error = run(
        monkeypatch,
        capfd,
        "--array",
        "4x4",
        "--peer",
        peer,
        "--top",
        "pe",
        "--no-power",
        "--check",
        "--json",
        tmp_path / "asic.json",
        "--report",
        tmp_path / "asic.html",
        "--netlist",
        tmp_path / "gates.v",
    )
    assert status == 0, error
    assert "qflow-tech-osu018; corner typical, 1.8 V, 25 C" in out and "Side by side" in out
    content = json.loads((tmp_path / "asic.json").read_text())
    ours, theirs = content["designs"]
    assert ours["modules"]["poblano_pe"]["count"] == 16 and ours["total"]["cells"] == array().total.cells
    assert theirs["total"]["flip_flops"] == 36 and theirs["timing"]["all"]["fmax_mhz"] > 150
    assert {v["result"] for v in content["equivalence"]} == {"proved"}
    assert "data:image/png" in (tmp_path / "asic.html").read_text()
    assert re.search(r"^module systolic_array\(", (tmp_path / "gates.v").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("--preset", "mega"), "unknown preset 'mega'; the presets are nano, "),
        (("--array", "16by16"), "an array is rows x columns, as 16x16, not '16by16'$"),
        (("--array", "33x4"), "array rows must be below 32 or a multiple of it, not 33$"),
        (("--array", "4x4", "--formats", "int9"), "unknown format 'int9'; the formats are int8, "),
        (("--library", "sky130", "--array", "4x4"), "unknown library 'sky130'; the libraries are osu018$"),
        (("--peer", "none.v", "--top", "pe"), "none.v: No such file or directory$"),
        (("--peer", "none.v"), "each --peer needs its --top: 1 and 0 were given$"),
        (
            ("--array", "4x4", "--json", "/nonexistent/a.json"),
            "/nonexistent/a.json: its folder does not exist$",
        ),
    ],
)
def test_bad_input(monkeypatch, capfd, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, error = run(monkeypatch, capfd, *arguments)
    assert (
        status == 2
        and not out
        and re.search("^poblano: " + message, error, re.MULTILINE)
        and len(error.splitlines()) == 1
    ), error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text,top,message",
    [
        ("module pe(input a; endmodule", "pe", r"peer.v:1: syntax error.*"),
        ("module pe(input a); endmodule", "pea", "peer.v: there is no module 'pea'"),
        ("module pe(input a); part p(.a(a)); endmodule", "pe", ".*part.*"),
        ("\xff", "pe", "peer.v.*"),
    ],
)
def test_bad_peer(monkeypatch, capfd, tmp_path, text, top, message):
    peer = tmp_path / "peer.v"
    peer.write_text(text, encoding="latin-1")
    status, out, error = run(
        monkeypatch, capfd, "--peer", peer, "--top", top, "--json", tmp_path / "asic.json"
    )
    assert (
        status == 2
        and not out
        and re.fullmatch(f"poblano: {message}\n", error.replace(str(tmp_path) + "/", ""))
    ), error
    assert list(tmp_path.iterdir()) == [peer]


def test_missing_packages(monkeypatch, tmp_path):
    """A library that is neither installed nor can be fetched; nothing is left in the cache."""
    monkeypatch.setenv("POBLANO_CACHE", str(tmp_path))
    monkeypatch.setattr(tools, "_installed", lambda path: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(
        AsicError,
        match="the Debian package qflow-tech-osu018 is not installed, and can't be fetched without apt-get$",
    ):
        tools.library_file()
    with pytest.raises(AsicError, match="the Debian package opensta is not installed"):
        tools.sta_program()
    tool = tmp_path / "bin"
    tool.mkdir()
    for name in ("apt-get", "dpkg-deb"):
        (tool / name).write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
        (tool / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool}:/usr/bin:/bin")
    with pytest.raises(
        AsicError,
        match=r"can't be fetched \(Unable to locate package\): apt-get update && apt-get install "
        r"qflow-tech-osu018$",
    ):
        tools.library_file()
    assert list(tmp_path.iterdir()) == [tool]


def test_unknown_library():
    with pytest.raises(ConfigError, match="unknown library"):
        load_library("none")
