"""Area of a processing element: the bars of INT8, no cost of formats that are off, and the table in
docs/area.md."""

from functools import cache
import json
from pathlib import Path
import re
import sys

from amaranth.hdl import Value
import pytest

from poblano.config import ConfigError
from poblano_cli import main as cli
from poblano_flows.area import FORMAT_SETS, TARGETS, count, markdown, measure, processing_element, synthesise

DOCUMENT = Path(__file__).parents[1] / "docs" / "area.md"

VERILOG = """
module pe(input clk, input rst, input en, input signed [7:0] i_a, input i_valid, input i_swap,
          input [7:0] i_w, input i_capture, input [7:0] i_left, input i_capture_left,
          input signed [19:0] i_sum, output reg signed [19:0] o_sum);
  reg signed [7:0] shadow, active;
  always @(posedge clk) if (en) begin
    if (i_valid) o_sum <= i_sum + i_a * active;
    if (i_capture | i_capture_left) shadow <= i_w & {8{i_capture}} | i_left & {8{i_capture_left}};
    if (i_swap) active <= shadow;
  end
endmodule
"""
"""An INT8 PE as one would write it by hand."""

measured = cache(measure)


@pytest.mark.parametrize("transpose", [False, True])
def test_int8_without_dsp(transpose):
    found = measured(("int8",), "ecp5", transpose=transpose)
    assert found.luts <= 170 and found.dsps == 0


@pytest.mark.parametrize("transpose", [False, True])
def test_int8_with_dsp(transpose):
    found = measured(("int8",), "ecp5-dsp", transpose=transpose)
    assert found.dsps == 1 and found.carries <= 10 and found.luts <= 31


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_int8_costs_no_more_than_by_hand(target):
    """Cells where the multiplier is a DSP block, else LUTs; a hundredth of the gates is the noise of logic
    optimisation."""
    by_hand, found = (
        count(("int8",), target, synthesise(VERILOG, target, verilog=True)),
        measured(("int8",), target),
    )
    assert found.flip_flops == by_hand.flip_flops and found.dsps == by_hand.dsps
    if target == "gates":
        assert found.nand2 <= 1.01 * by_hand.nand2
    else:
        assert found.luts <= by_hand.luts
    if target == "ecp5-dsp":
        assert sum(found.cells.values()) <= sum(by_hand.cells.values())


@pytest.mark.slow
@pytest.mark.parametrize("target", ["ecp5", "gates"])
def test_formats_cost_only_where_they_are(target):
    def size(*formats):
        found = measured(formats, target)
        return found.nand2 if target == "gates" else found.luts

    int8, many = size("int8"), size("int8", "int4", "mxint8", "mxfp4_e2m1", "mxfp8_e4m3")
    assert int8 == size("int8", "int4") == size("mxint8")
    assert int8 <= size("int8", "mxfp4_e2m1") < size("int8", "mxfp8_e4m3") <= many
    assert size("mxfp4_e2m1") < int8


def test_int8_hardware_is_that_of_int8_alone():
    """Neither exponents nor specials nor wider sums exist in it."""

    def bits(*formats):
        pe = processing_element(formats, "ecp5")
        pe._MustUse__used = True
        return {path[0]: len(Value.cast(value)) for path, _, value in pe.signature.flatten(pe)}

    int8 = bits("int8")
    assert int8["i_a"] == int8["i_w"] == 8 and int8["i_sum"] == 20
    assert int8 == bits("int8", "int4") == bits("mxint8") == bits("int8", "mxint8")
    assert bits("int8", "mxfp8_e4m3")["i_sum"] > 20


@pytest.mark.slow
def test_document():
    """The INT8 rows in the document are what the tool gives now."""
    lines = DOCUMENT.read_text().splitlines()
    for formats in ("int8",), ("int8", "int4"):
        table = markdown([measured(formats, target) for target in TARGETS])
        assert table[0] in lines and table[-1] in lines, table[-1]
    assert sum(line.startswith("| ") for line in lines) == 1 + len(FORMAT_SETS)


def run(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["poblano", "area", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capfd.readouterr()
    return left.value.code or 0, captured.out, captured.err


def test_command(monkeypatch, capfd, tmp_path):
    status, out, _ = run(
        monkeypatch, capfd, "--target", "ecp5-dsp", "--formats", "int8", "--json", tmp_path / "area.json"
    )
    assert status == 0 and re.search(r"int8 +\S ECP5, DSP", out)
    (figures,) = json.loads((tmp_path / "area.json").read_text())
    assert figures["formats"] == ["int8"] and figures["target"] == "ecp5-dsp" and figures["dsps"] == 1
    assert (
        figures["cells"]["MULT18X18D"] == 1
        and figures["luts"] == figures["cells"]["LUT4"] + 2 * figures["cells"]["CCU2C"]
    )


@pytest.mark.parametrize(
    "arguments,message",
    [
        (
            ("--target", "virtex"),
            r"unknown target 'virtex'; the targets are ice40, ecp5, ecp5-dsp, gowin, gates$",
        ),
        (("--formats", "int8,int9"), r"unknown format 'int9'; the formats are int8, .*$"),
        (("--formats", "int4"), r"formats int4 have none for activations$"),
        (("--json", "/nonexistent/area.json"), r"/nonexistent/area.json: its folder does not exist$"),
    ],
)
def test_bad_input(monkeypatch, capfd, arguments, message):
    status, out, error = run(monkeypatch, capfd, *arguments)
    assert status == 2 and not out and re.search("^poblano: " + message, error), error


def test_unknown_target():
    with pytest.raises(ConfigError, match="unknown target 'asic'"):
        measure(("int8",), "asic")
