"""Standard cells: area and time of the INT8 PE, netlist = RTL by proof, the
command ``poblano asic``."""

from dataclasses import replace
from functools import cache
import json
import re
import sys

import numpy as np
import pytest

from poblano.clock_gate import CLOCK_GATE, CLOCK_GATE_FILE
from poblano.compute.pe import PE
from poblano.config import ArrayConfig, ConfigError
from poblano.verilog import emit
from poblano_cli import main as cli
from poblano_flows.asic import tools
from poblano_flows.asic.clock_gates import gate_setup
from poblano_flows.asic.equivalence import check, mutated, prove
from poblano_flows.asic.flat import Flat
from poblano_flows.asic.flow import Design, Source, array_source
from poblano_flows.asic.liberty import Expression, load_library
from poblano_flows.asic.synthesis import elaborate, synthesise
from poblano_flows.asic.tools import AsicError
from tests.test_flows_area import VERILOG as BY_HAND
from tests.test_flows_netlist import gated

pytestmark = pytest.mark.usefixtures("standard_cells")

INT8 = ArrayConfig(rows=4, cols=4, formats=("int8",))
GATE = CLOCK_GATE_FILE.read_text()


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


def test_clock_of_a_peer():
    """It may be called clock, and its enables get gates."""
    verilog = re.sub(r"\bclk\b", "clock", BY_HAND)
    peer = Design.build(Source("peer", verilog, "pe", "peer.v", peer=True))
    peer.analyse()
    assert peer.gated()[0] == 3 and peer.timing["all"].fmax > 150


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


def test_gates():
    """Each of the PE's registers stands behind a clock gate; a gate's area is that of its cells, and its
    enable has to be early."""
    design = pe()
    assert design.gated() == (3, 36) and design.own(CLOCK_GATE)[:3] == (3, 16 + 56 + 32, 0)
    clocks = Flat(design.modules, "pe", design.library).flip_flops[:, 2]
    assert sorted(np.bincount(clocks)) == [0, 8, 8, 20]
    assert 0.1 < gate_setup(design.library) < 0.4
    verilog = GATE + (
        "module late(input clk, input [31:0] a, input [15:0] d, output reg [15:0] q); reg [31:0] x, y; "
        "always @(posedge clk) begin x <= a; y <= x; if (x * y == 77) q <= d; end endmodule"
    )
    late = Design.build(Source("late", verilog, "late", "late.v"))
    late.analyse()
    (path, *_) = late.timing["all"].paths
    arrival = path.steps[-1][2]
    assert path.steps[-1][0].endswith(CLOCK_GATE) and path.delay == pytest.approx(
        arrival + gate_setup(late.library), abs=0.01
    )


def test_proofs_of_gates():
    """Netlists with gates are equal to their RTL; a gate that opens too often or never, and one of the RTL
    with another enable, are found."""
    design = gated()
    assert {v.result for v in prove(design.modules, design.counts, design.library)} == {"proved"}
    for name in ("dut", "part"):
        module = design.modules[name]
        for n, instance in enumerate(module.instances):
            if instance.kind != CLOCK_GATE:
                continue
            for enable in ("0", "1", module.inputs["d"][0]):
                wrong = replace(instance, pins=instance.pins | {"en": [enable]})
                instances = [*module.instances[:n], wrong, *module.instances[n + 1 :]]
                changed = replace(module, instances=instances)
                assert check(changed, design.modules, design.library).result == "different", instance.name


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
    assert {v.module for v in verdicts} == {name for name in design.counts if name != CLOCK_GATE}
    assert [v for v in verdicts if v.result != "proved"] == []
    assert {v.module for v in verdicts if v.same_multiplier} == {"poblano_pe"}
    verilog = (
        "module multiply(input signed [7:0] a, input signed [7:0] b, output signed [15:0] o); "
        "assign o = a * b; endmodule"
    )
    modules = synthesise(elaborate(verilog, "multiply"), load_library())
    assert check(modules["multiply"], modules, load_library()).result == "proved"


TABLE = (
    "module {name}(input clk, input [1:0] a, output reg [7:0] o); reg [7:0] table_[0:3]; initial begin "
    "table_[0] = 3; table_[1] = 14; table_[2] = 15; table_[3] = 92; end "
    "always @(posedge clk) o <= table_[a]; endmodule\n"
)
ONE = TABLE.format(name="one") + (
    "module top(input clk, input [1:0] a, output [7:0] o); one part(.clk(clk), .a(a), .o(o)); endmodule"
)
TWO = (
    TABLE.format(name="before").replace("92", "65")
    + TABLE.format(name="two")
    + (
        "module top(input clk, input [1:0] a, output [7:0] o); wire [7:0] x, y; assign o = x + y; "
        "before part0(.clk(clk), .a(a), .o(x)); two part(.clk(clk), .a(a), .o(y)); endmodule"
    )
)


def test_kept(monkeypatch, tmp_path):
    """A module that two designs have under different names is made once, and is the same as one that is made
    for the second alone."""
    library = load_library()

    def made(folder, text):
        monkeypatch.setenv("POBLANO_CACHE", str(tmp_path / folder))
        modules = synthesise(elaborate(text, "top"), library)
        return modules, {path.name for path in (tmp_path / folder).rglob("*.pickle")}

    alone, files = made("alone", TWO)
    first, before = made("both", ONE)
    second, after = made("both", TWO)
    assert len(files) == 3 and len(before) == 2 and after == before | files and len(after) == 4
    assert second == alone == made("both", TWO)[0]
    assert replace(first["one"], name="two", rtl="") == replace(second["two"], rtl="")
    assert {i.kind for i in second["top"].instances} > {"before", "two"} and second["two"].name == "two"
    assert check(second["two"], second, library).result == "proved"


@pytest.mark.parametrize("seed", range(4))
def test_mutations_of_a_netlist(seed):
    """One wrong cell, anywhere, is found."""
    design = pe()
    wrong, what = mutated(design.modules["pe"], design.library, seed)
    assert check(wrong, design.modules, design.library, same_multiplier=True).result == "different", what


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
