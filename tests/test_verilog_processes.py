"""The Verilog for other tools: equal to that for the simulations, by proof, and right from the start of a
simulation on."""

import shutil
import subprocess

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import pytest

from poblano.chip import Chip
from poblano.config import preset
from poblano.dram.config import DramConfig
from poblano.dram.controller import DramController
from poblano.verilog import emit, emit_modules, place
from poblano.verilog.processes import START, without_start
from poblano_flows.asic.synthesis import run_yosys
from poblano_flows.asic.tools import AsicError

READ = ("proc", "memory_dff", "memory_collect", "memory_map", "opt_clean")
BY_HAND = ("poblano_sram", "poblano_clock_gate", "poblano_delay_line")


def prove(modules, folder, names):
    """Of ``modules`` those of ``names`` have equal next values and outputs in both forms, whatever their
    registers hold and the modules in them answer; AsicError if not."""
    for module in modules:
        (folder / f"{module.name}.v").write_text(module.text)
        (folder / f"{module.name}.without.v").write_text(without_start(module.text))
    boxes = [f"read_verilog -lib {module.name}.v" for module in modules]
    script = [*boxes, "design -save boxes"]
    for name in names:
        script += ["design -load boxes", f"delete {name}"]
        for file, side in ((f"{name}.v", "with"), (f"{name}.without.v", "without")):
            script += [
                f"read_verilog {file}",
                f"select {name}",
                *READ,
                "select -clear",
                f"rename {name} {side}",
            ]
        script += ["expose -shared -evert-dff with without", "expose -shared -evert with without"]
        script += ["miter -equiv -flatten with without miter", "select miter"]
        script += ["opt_expr", "opt_merge", "opt_expr", "opt_merge", "opt_clean"]
        script += ["sat -verify -prove trigger 0", "select -clear"]
    run_yosys([script], folder, "the two forms")


@pytest.mark.slow
def test_equal(tmp_path):
    """Small modules with processes of more than registers, one a class."""
    modules = emit_modules(Chip(preset("nano")), "chip", loops=False)
    choices = lambda text: text.count(" ? ")
    names = {
        type(module.origin): module.name
        for module in modules
        if len(module.text) < 10_000 and choices(without_start(module.text)) > choices(module.text)
    }
    assert len(names) >= 6
    prove(modules, tmp_path, names.values())


@pytest.mark.nightly
@pytest.mark.parametrize(
    "design", [lambda: Chip(preset("nano")), lambda: DramController(DramConfig())], ids=("nano", "dram")
)
def test_all_equal(tmp_path, design):
    modules = emit_modules(design(), "top", loops=False)
    prove(modules, tmp_path, [module.name for module in modules if module.name not in BY_HAND])


TEXT = f"""module part(clk, rst, a, b, o);
  reg {START} = 0;
  input clk;
  input rst;
  input [3:0] a;
  input [3:0] b;
  output [3:0] o;
  reg [3:0] o;
  reg [3:0] count = 4'h0;
  reg [3:0] count_next;
  always @(posedge clk)
    count <= count_next;
  always @* begin
    if ({START}) begin end
    count_next = count;
    if (a[0]) begin
      count_next = b;
    end
    if (rst) begin
      count_next = 4'h0;
    end
  end
  always @* begin
    if ({START}) begin end
    {{ o[3], o[1:0] }} = 3'h5;
    o[2] = count[0];
    if (a[1]) begin
      o = {{ b[1:0], count[3:2] }};
    end else begin
      casez ({{ a[3], a[2] }})
        2'h0:
            o[1:0] = b[3:2];
        2'b1?:
            o[3] = b[0];
      endcase
    end
  end
endmodule
"""


class Text:
    """What :func:`prove` needs of a module."""

    name, text = "part", TEXT


def test_parts(tmp_path):
    """Parts of signals, values of several parts, and patterns with free bits."""
    prove([Text], tmp_path, ["part"])
    text = without_start(TEXT)
    assert "always @*" not in text and "_next" not in text and START not in text
    register = (
        "    if (a[0]) begin\n      count <= b;\n    end\n    if (rst) begin\n      count <= 4'h0;\n    end\n"
    )
    assert f"  always @(posedge clk) begin\n{register}  end\n" in text
    assert "  assign o[2] = a[1] ? b[0] : count[0];\n" in text


@pytest.mark.parametrize(
    "old, new", [("count <= b", "count <= a"), ("b[1] :", "b[0] :"), ("rst", "a[3]"), ("== 2'h0", "== 2'h1")]
)
def test_finds_difference(tmp_path, monkeypatch, old, new):
    """The proof fails if a form is not equal."""
    wrong = without_start(TEXT).replace(old, new)
    assert wrong != without_start(TEXT)
    monkeypatch.setattr("tests.test_verilog_processes.without_start", lambda text: wrong)
    with pytest.raises(AsicError):
        prove([Text], tmp_path, ["part"])


@pytest.mark.parametrize(
    "process",
    [
        "    o = o_before;\n    {p, q} = b;\n",  # of several signals
        "    if (a[0]) begin\n      o = b;\n    end\n",  # a latch
        "    for (i = 0; i < 4; i = i + 1) o[i] = a[i];\n",
        "    o = 4'bx;\n    o[0] = a[0];\n",
    ],
)
def test_another_form(process):
    """A process that is not understood stays as it is, and what makes it start stays too."""
    head, tail = TEXT.split("    { o[3]")[0], "  end\nendmodule\n"
    text = head + process + tail
    left = without_start(text)
    assert f"    if ({START}) begin end\n{process}{tail}" in left and f"reg {START} = 0;" in left
    assert "count_next" not in left


class Quiet(wiring.Component):
    """Values that depend on nothing that changes."""

    i: In(2)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(3)
        with m.If(self.i == 2):
            m.d.comb += self.o.eq(77)
        return m


class Top(wiring.Component):
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        quiet = place(m, "quiet", Quiet())
        m.d.comb += quiet.i.eq(2)
        m.d.sync += self.o.eq(quiet.o)
        return m


@pytest.mark.skipif(
    not shutil.which("iverilog"), reason="iverilog is not installed: apt-get install iverilog"
)
def test_from_the_start(tmp_path):
    """Icarus Verilog runs what no signal starts."""
    text = emit(Top(), "top", simulation=False)
    assert START not in text
    bench = """module bench;
  reg clk = 0; wire [7:0] o; top dut(.clk(clk), .rst(1'b0), .o(o));
  initial begin #1 clk = 1; #1 $display("%0d", o); end
endmodule
"""
    (tmp_path / "bench.v").write_text(text + bench)
    run = lambda *command: subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    run("iverilog", "-g2005", "-s", "bench", "-o", "bench", "bench.v")
    assert run("vvp", "-n", "bench").stdout == "77\n"
