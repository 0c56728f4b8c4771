"""``poblano verilog``: the files are whole, lint-clean and agree with the source; bad input leaves nothing
behind."""

from collections import Counter
import csv
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest
from systemrdl import RDLCompiler
from systemrdl.node import RegNode

from poblano.clock_gate import CLOCK_GATE, CLOCK_GATE_FILE, clock_gate_pass
from poblano.compute.array import SystolicArray
from poblano.config import PRESETS, ArrayConfig, preset
from poblano.isa.registers import COUNTERS, REGISTERS, Control, Irq, Status, address, registers_of, resets
from poblano.verilog import emit
from poblano_flows import export
from poblano_flows.asic.synthesis import run_yosys
from tests.exported import elaborate, fails, lint


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "nano"
    export.export(export.chip_design(preset("nano")), folder, period=12.5)
    return folder


needs_icarus = pytest.mark.skipif(
    not shutil.which("iverilog"), reason="iverilog is not installed: apt-get install iverilog"
)


def test_modules(nano):
    """A file for each module, of its name, with its class and parameters; names that need no escapes; each
    module is used."""
    listed = (nano / "poblano_chip.f").read_text().split()
    assert sorted(listed) == sorted(f"rtl/{path.name}" for path in (nano / "rtl").iterdir())
    texts = {Path(name).stem: (nano / name).read_text() for name in listed}
    for name, text in texts.items():
        assert re.findall(r"^module (\w+)", text, re.MULTILINE) == [name]
        assert "\\" not in text and "$auto" not in text
        assert text.startswith("// Poblano nano")
    assert "// poblano.tile.Tile: Three units" in texts["poblano_tile"]
    assert "// config.tile.array.rows = 4\n" in texts["poblano_chip"]
    assert "// transpose = True\n" in texts["poblano_pe"]
    assert "poblano_tile tile0 (" in texts["poblano_chip"]
    assert "poblano_array_row row3 (" in texts["poblano_array_segment"]
    instances = set(re.findall(r"^  (poblano_\w+) ", "\n".join(texts.values()), re.MULTILINE))
    assert instances == texts.keys() - {"poblano_chip"}


def instances(text):
    """Of a module: name, module and parameters of each instance in its Verilog."""
    found = re.findall(r"^  (poblano_\w+) (?:#\((.*?)\) )?(\w+) \(", text, re.MULTILINE | re.DOTALL)
    return [
        (name, module, {k: int(v) for k, v in re.findall(r"\.(\w+)\(32'd(\d+)\)", parameters)})
        for module, parameters, name in found
    ]


def check_memories(folder, top):
    """``memories.csv`` is what the Verilog has, counted from the top down; its rows."""
    inside = {path.stem: instances(path.read_text()) for path in (folder / "rtl").iterdir()}
    expected = Counter()

    def count(module, copies):
        for name, kind, sizes in inside[module]:
            if kind == "poblano_sram":
                assert sizes["DEPTH"] <= 1 << sizes["ADDR"]
                row = (f"{module}.{name}", sizes["WIDTH"], sizes["DEPTH"], sizes["GRANULARITY"])
                expected[row] += copies
            else:
                count(kind, copies)

    count(top, 1)
    rows = list(csv.DictReader((folder / "memories.csv").open()))
    sizes = lambda row: tuple(int(row[name]) for name in ("width", "depth", "granularity"))
    assert {(row["instance"], *sizes(row)): int(row["count"]) for row in rows} == expected
    assert len(rows) == len(expected) and {row["ports"] for row in rows} <= {"1 read 1 write"}
    return rows


def test_memories(nano):
    """Whatever is large is a poblano_sram: no other module has an array of more than 1,024 bits. Of the
    smaller memories, which are flip-flops, two are one."""
    for path in (nano / "rtl").iterdir():
        for width, depth in re.findall(
            r"^  reg (?:\[(\d+):0\] )?\w+ \[(\d+):0\]", path.read_text(), re.MULTILINE
        ):
            assert (int(width or 0) + 1) * (int(depth) + 1) <= 1024 or path.stem.startswith(
                "poblano_special_function"
            ), path
    assert "poblano_sram #(" in (nano / "rtl/poblano_block_sums.v").read_text()
    rows = check_memories(nano, "poblano_chip")
    small = {row["instance"] for row in rows if int(row["width"]) * int(row["depth"]) < 1024}
    assert small == {f"poblano_weight_loader.{name}_store" for name in ("scale", "minimum")}


def test_no_simulation(nano):
    """What only a simulation needs is not in the files, and each register is one process."""
    for path in (nano / "rtl").iterdir():
        text = path.read_text()
        assert "simulation_start" not in text and "always @* begin" not in text, path
    text = (nano / "rtl/poblano_axi_read_arbiter.v").read_text()
    assert re.search(r"^  always @\(posedge clk\) begin\n    if \(\w+\) begin\n", text, re.MULTILINE)
    assert not re.search(r"\w_next\b", text)


def test_lint(nano):
    lint(nano, "poblano_chip")


@needs_icarus
def test_icarus(nano):
    elaborate(nano, "poblano_chip")


def test_constraints(nano):
    """Every port but the clock has a delay; the period is the one asked for."""
    text = (nano / "poblano_chip.sdc").read_text()
    assert "set period 12.5\n" in text
    constrained = {}
    for direction, ports in re.findall(r"set_(input|output)_delay .*\[get_ports \{([^}]*)\}\]", text):
        constrained |= {name.removesuffix("[*]"): (direction, name.endswith("[*]")) for name in ports.split()}
    declared = re.findall(
        r"^  (input|output) (\[.*\] )?(\w+);", (nano / "rtl/poblano_chip.v").read_text(), re.MULTILINE
    )
    assert constrained == {
        name: (direction, bool(vector)) for direction, vector, name in declared if name != "clk"
    }


def test_flows(nano, tmp_path):
    """LibreLane and SiliconCompiler are given all files; FuseSoC understands its core file."""
    listed = (nano / "poblano_chip.f").read_text().split()
    librelane = json.loads((nano / "librelane.json").read_text())
    assert librelane["VERILOG_FILES"] == [f"dir::{name}" for name in listed]
    assert (librelane["DESIGN_NAME"], librelane["CLOCK_PORT"], librelane["CLOCK_PERIOD"]) == (
        "poblano_chip",
        "clk",
        12.5,
    )
    for value in librelane.values():
        if isinstance(value, str) and value.startswith("dir::"):
            assert (nano / value.removeprefix("dir::")).is_file()
    script = (nano / "siliconcompiler_flow.py").read_text()
    compile(script, "siliconcompiler_flow.py", "exec")
    assert re.findall(r"^    '(rtl/\w+\.v)',$", script, re.MULTILINE) == listed
    result = subprocess.run(
        [
            Path(sys.executable).with_name("fusesoc"),
            "--cores-root",
            nano,
            "run",
            "--setup",
            "--target",
            "lint",
            "poblano:chip:nano",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (script,) = tmp_path.rglob("*.vc")
    assert all(name in script.read_text() for name in listed) and "poblano_chip.vlt" in script.read_text()


def expected_registers(config):
    """Addresses and reset values by name, from the table."""
    registers = {name: (address(name), resets(config).get(name, 0)) for name in registers_of(config)}
    return registers | {
        f"unit[{n}].{name}": (address(name, n), 0) for n in range(config.units) for name in COUNTERS
    }


def test_systemrdl(nano):
    compiler = RDLCompiler()
    compiler.compile_file(str(nano / "registers/poblano_registers.rdl"))
    top = compiler.elaborate().top
    found, fields = {}, {}
    for node in top.descendants(unroll=True):
        if isinstance(node, RegNode):
            reset = sum((field.get_property("reset") or 0) << field.low for field in node.fields())
            found[node.get_path().split(".", 1)[1]] = node.absolute_address, reset
            fields |= {
                (node.inst_name, field.inst_name): (1 << field.width) - 1 << field.low
                for field in node.fields()
            }
            access = REGISTERS[node.inst_name].access if node.inst_name in REGISTERS else "ro"
            assert all(field.is_sw_writable == (access != "ro") for field in node.fields())
    assert found == expected_registers(preset("nano"))
    for register, bits in (
        ("CONTROL", Control),
        ("STATUS", Status),
        ("IRQ_ENABLE", Irq),
        ("IRQ_STATUS", Irq),
    ):
        assert {field: mask for (name, field), mask in fields.items() if name == register} == {
            name: value for name, value in vars(bits).items() if name.isupper()
        }


def test_c_header(nano, tmp_path):
    """The compiler places every register where the table says."""
    checks = [
        f'static_assert(offsetof(poblano_registers_t, {name}) == {place:#x}, "{name}");'
        for name, (place, _) in expected_registers(preset("nano")).items()
    ]
    checks += [
        f'static_assert(POBLANO_REGISTERS__CONTROL__{name}_bm == {value}, "{name}");'
        for name, value in vars(Control).items()
        if name.isupper()
    ]
    (tmp_path / "check.cpp").write_text(
        '#include <cstddef>\n#include "poblano_registers.h"\n' + "\n".join(checks) + "\n"
    )
    result = subprocess.run(
        ["g++", "-fsyntax-only", "-std=c++17", "-I", nano / "registers", tmp_path / "check.cpp"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert (nano / "registers/html/index.html").is_file()


def test_array(poblano, tmp_path):
    """A bare array, into a folder that has other files and an older export."""
    folder = tmp_path / "a" / "b"
    status, out, _ = poblano("verilog", "--array", "4x8", "-o", folder)
    assert status == 0 and "array 4x8: 5 modules, top poblano_array" in out
    lint(folder, "poblano_array")
    (folder / "notes").write_text("mine")
    (folder / "rtl/poblano_old.v").write_text("module poblano_old; endmodule")
    assert poblano("verilog", "--array", "4x4", "--formats", "mxfp4_e2m1", "-o", folder)[0] == 0
    assert (folder / "notes").read_text() == "mine" and not (folder / "rtl/poblano_old.v").exists()
    assert not (folder / "registers").exists()
    assert {path.name for path in folder.iterdir()} == {
        "notes",
        "rtl",
        "poblano_array.f",
        "poblano_array.vlt",
        "poblano_array.sdc",
        "poblano_array.core",
        "memories.csv",
        "librelane.json",
        "siliconcompiler_flow.py",
    }
    lint(folder, "poblano_array")
    assert not check_memories(folder, "poblano_array")


def test_same_twice():
    """Neither names nor their order depend on anything but the design."""
    texts = {emit(SystolicArray(ArrayConfig(rows=4, cols=2)), "array") for _ in range(2)}
    assert len(texts) == 1


def test_bad_input(poblano, tmp_path):
    folder = tmp_path / "out"
    command = lambda *arguments: poblano("verilog", *arguments, "-o", folder)
    fails(command("--preset", "tile65"), f"unknown preset 'tile65'; the presets are {', '.join(PRESETS)}$")
    fails(command("--array", "128"), "an array is rows x columns, as 128x128, not '128'$")
    fails(command("--array", "33x4"), "array rows must be below 32 or a multiple of it, not 33$")
    fails(command("--array", "0x4"), "array rows must be below 32 or a multiple of it, not 0$")
    fails(command("--array", "1024x4"), "an array has at most 512 rows and columns, not 1024x4$")
    fails(
        command("--array", "4x4", "--preset", "nano"),
        "--array is for a bare array: --preset and --tiles can't go with it$",
    )
    fails(command("--array", "4x4", "--formats", "int9"), "unknown format 'int9'")
    fails(command("--tiles", 40), "tiles must be 1 to 32, not 40$")
    fails(command("--array", "4x4", "--period", 0), "the clock's period must be 0.01 to 1000000 ns, not 0$")
    assert poblano("verilog", "--preset", "nano")[0] == 2  # no folder
    (tmp_path / "file").write_text("mine")
    fails(poblano("verilog", "--preset", "nano", "-o", tmp_path / "file"), "file: is not a folder$")
    fails(poblano("verilog", "--preset", "nano", "-o", tmp_path / "file/a"), "file/a: Not a directory$")
    fails(
        poblano("verilog", "--preset", "nano", "-o", "/proc/poblano/a"),
        "/proc/poblano/a: No such file or directory$",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (
        tmp_path / "file"
    ).read_text() == "mine"


@pytest.mark.parametrize(
    "where, present",
    [
        ("emit_modules", False),
        ("emit_modules", True),
        ("_librelane", False),
        ("_librelane", True),
        ("_replace", True),
    ],
)
def test_nothing_half_written(poblano, tmp_path, monkeypatch, where, present):
    """Whatever fails, the folder is as it was."""
    folder = tmp_path / "a/b"
    if present:
        (folder / "rtl").mkdir(parents=True)
        (folder / "rtl/mine.v").write_text("mine")

    def full(*_, **__):
        raise OSError(28, "No space left on device", "x.v")

    if where == "_replace":
        monkeypatch.setattr(
            Path,
            "rename",
            lambda self, target, rename=Path.rename: (
                full() if target == folder / "rtl" and self.parent.name != ".old" else rename(self, target)
            ),
        )
    else:
        monkeypatch.setattr(export, where, full)
    fails(poblano("verilog", "--array", "2x2", "-o", folder), "x.v: No space left on device$")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == (["a", "a/b", "a/b/rtl", "a/b/rtl/mine.v"] if present else [])


BENCH = """
module bench;
  reg clk = 0, rst = 1;
  reg w_valid = 0, a_valid = 0, o_ready = 0;
  reg [WEIGHTS-1:0] w = 0;
  reg [ACTIVATIONS-1:0] a = 0;
  wire [3:0] flags, gated_flags;
  wire [SUMS-1:0] o, gated_o;
  integer n, seed = 1, sums = 0;
  array dut (.clk(clk), .rst(rst), .w__valid(w_valid), .w__payload(w), .w__ready(flags[0]),
    .a__valid(a_valid), .a__payload(a),
    .a__ready(flags[1]), .o__valid(flags[2]), .o__payload(o), .o__ready(o_ready), .loaded(flags[3]));
  gated copy (.clk(clk), .rst(rst), .w__valid(w_valid), .w__payload(w), .w__ready(gated_flags[0]),
    .a__valid(a_valid), .a__payload(a), .a__ready(gated_flags[1]), .o__valid(gated_flags[2]),
    .o__payload(gated_o), .o__ready(o_ready), .loaded(gated_flags[3]));
  initial begin
    for (n = 0; n < 3000; n = n + 1) begin
      #1 rst = n < 3; w_valid = $random(seed); a_valid = $random(seed); o_ready = $random(seed);
      w = {4{$random(seed)}}; w[WEIGHTS-1] = n / 64; a = {4{$random(seed)}};
      #1 if (n > 3 && flags !== gated_flags) begin $display("differs at %0d", n); $finish; end
      if (n > 3 && flags[2]) begin
        sums = sums + 1;
        if (sums > 8 && o !== gated_o) begin $display("sums differ at %0d", n); $finish; end
      end
      #1 clk = 1;
      #1 clk = 0;
    end
    $display("same, %0d sums", sums);
    $finish;
  end
endmodule
"""


@needs_icarus
def test_clock_gate(tmp_path):
    """Synthesis can gate almost all flip-flops of an array by their enables, and the array does what it
    did."""
    array = SystolicArray(ArrayConfig(rows=2, cols=2))
    text = emit(array, "array")
    (tmp_path / "array.v").write_text(text)
    flops = "dfflegalize -cell $_DFF_P_ 01 -cell $_DFFE_PP_ 01 -cell $_SDFF_PP0_ 01 -cell $_SDFFE_PP0P_ 01"
    commands = [
        "read_verilog array.v",
        "hierarchy -top array",
        "proc",
        "flatten",
        "opt",
        "opt_dff",
        "simplemap",
        flops,
        "opt_clean",
        "tee -q -o before.json stat -json",
        clock_gate_pass(),
        "tee -q -o after.json stat -json",
        "rename array gated",
        "write_verilog -noattr gated.v",
    ]
    run_yosys([commands], tmp_path, "array")
    counts = [
        json.loads(re.search(r"\{.*", (tmp_path / name).read_text(), re.DOTALL)[0])["design"][
            "num_cells_by_type"
        ]
        for name in ("before.json", "after.json")
    ]
    flip_flops = sum(number for kind, number in counts[0].items() if "DFF" in kind)
    assert counts[1]["$_DFF_P_"] > 0.85 * flip_flops and counts[1][CLOCK_GATE] < flip_flops / 16
    sizes = {"WEIGHTS": array.w.payload, "ACTIVATIONS": array.a.payload, "SUMS": array.o.payload}
    bench = BENCH
    for name, value in sizes.items():
        bench = bench.replace(name, str(len(value.as_value())))
    (tmp_path / "bench.v").write_text(bench)
    (tmp_path / "gate.v").write_text(CLOCK_GATE_FILE.read_text())
    run = lambda *command: subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (
        result := run(
            "iverilog", "-g2005", "-s", "bench", "-o", "bench", "bench.v", "array.v", "gated.v", "gate.v"
        )
    ).returncode == 0, result.stderr
    assert re.match(r"same, \d{3,} sums", (result := run("vvp", "-n", "bench")).stdout), result.stdout


def empty(path):
    """Leave only its ports of the module in a file, outputs 0."""
    text = path.read_text()
    ports = re.search(r"^module .*?;\n", text, re.MULTILINE | re.DOTALL)[0] + "".join(
        re.findall(r"^  (?:in|out)put .*\n", text, re.MULTILINE)
    )
    zeros = "".join(
        f"  assign {name} = 0;\n" for name in re.findall(r"^  output .*?(\w+);\n", text, re.MULTILINE)
    )
    path.write_text(
        "/* verilator lint_off WIDTHEXPAND */\n/* verilator lint_off UNUSEDSIGNAL "
        f"*/\n{ports}{zeros}endmodule\n"
    )


@pytest.mark.nightly
@pytest.mark.parametrize(
    "arguments", [*(("--preset", name) for name in PRESETS), ("--array", "128x128")], ids=" ".join
)
def test_lint_of_all(poblano, tmp_path, arguments):
    """The tools keep every instance apart. So of a large design a row of an array and a tile are looked at
    on their own, and what has them around their ports."""
    assert poblano("verilog", *arguments, "-o", tmp_path)[0] == 0
    whole = "poblano_array" if arguments[0] == "--array" else "poblano_chip"
    check_memories(tmp_path, whole)
    assert not any("simulation_start" in path.read_text() for path in (tmp_path / "rtl").iterdir())
    parts = {
        "tile64": ["poblano_array_row"],
        "flagship": ["poblano_array_row", "poblano_tile"],
        "128x128": ["poblano_array_row"],
    }
    for top in (*parts.get(arguments[1], []), whole):
        if top != whole:
            for suffix in "f", "vlt":
                shutil.copy(tmp_path / f"{whole}.{suffix}", tmp_path / f"{top}.{suffix}")
        lint(tmp_path, top)
        if shutil.which("iverilog"):
            elaborate(tmp_path, top)
        empty(tmp_path / f"rtl/{top}.v")
