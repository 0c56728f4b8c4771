"""``poblano verilog --block dram_controller``: the controller alone, lint-clean; bad input leaves nothing
behind."""

import shutil

import pytest

from tests.exported import elaborate, fails, lint


@pytest.mark.parametrize("kind, clock", [("HBM3-6.4", "800"), ("DDR3-1600", "200"), ("SDR-100", "100")])
def test_dram_controller(poblano, tmp_path, kind, clock):
    """The controller alone, at its full clock unless another is asked for."""
    top = "poblano_dram_controller"
    status, out, error = poblano("verilog", "--block", "dram_controller", "--dram", kind, "-o", tmp_path)
    assert status == 0 and f"DRAM controller for {kind} at {clock} MHz: " in out, error
    assert {path.name for path in tmp_path.iterdir()} == {
        *("rtl", f"{top}.f", f"{top}.vlt", f"{top}.sdc", f"{top}.core"),
        *("memories.csv", "librelane.json", "siliconcompiler_flow.py"),
    }
    text = (tmp_path / f"rtl/{top}.v").read_text()
    assert f"// config.kind = '{kind}'\n" in text and "input s_axi_awvalid;" in text, text[:4000]
    assert f"set period {1000 / float(clock):g}\n" in (tmp_path / f"{top}.sdc").read_text()
    lint(tmp_path, top)
    if shutil.which("iverilog"):
        elaborate(tmp_path, top)


def test_dram_controller_clock(poblano, tmp_path):
    command = ("verilog", "--block", "dram_controller", "--clock", "400", "-o", tmp_path)
    status, out, _ = poblano(*command)
    assert status == 0 and "for HBM3-6.4 at 400 MHz: " in out
    assert "set period 2.5\n" in (tmp_path / "poblano_dram_controller.sdc").read_text()
    assert poblano(*command, "--period", 2)[0] == 0
    assert "set period 2\n" in (tmp_path / "poblano_dram_controller.sdc").read_text()


def test_bad_input(poblano, tmp_path):
    command = lambda *arguments: poblano("verilog", *arguments, "-o", tmp_path / "out")
    block = lambda *arguments: command("--block", "dram_controller", *arguments)
    fails(command("--block", "tile"), "unknown block 'tile'; the only one is dram_controller$")
    fails(block("--dram", "DDR9"), "DRAM kind must be one of HBM3-6.4, .*, not 'DDR9'$")
    fails(block("--clock", "801"), "the clock must be above 0 and at most 800 MHz for HBM3-6.4, not 801$")
    fails(block("--clock", "0"), "the clock must be above 0 and at most 800 MHz for HBM3-6.4, not 0$")
    fails(block("--clock", "fast"), "the clock must be a number of MHz like 800 or 2400/7, not 'fast'$")
    fails(block("--tiles", 2), "--block is for a part: --preset, --array, --tiles and --formats can't go")
    fails(command("--clock", "100"), "--dram and --clock are for --block dram_controller$")
    assert not list(tmp_path.iterdir())
