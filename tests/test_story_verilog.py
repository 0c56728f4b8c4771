"""Story: export and lint `nano`, by the commands of docs/verilog.md."""

import re

import pytest

from tests.story import blocks

DOCUMENT = "docs/verilog.md"


@pytest.mark.slow
def test_export_and_lint(clone):
    """The lint passes, and says what is wrong with a file that someone broke."""
    out = clone.follow(DOCUMENT, "Export and lint nano")
    assert re.search(r"^nano: \d+ modules, top poblano_chip, ", out, re.MULTILINE)
    assert "V e r i l a t i o n" in out and "%" not in out
    files = {path.name: path.read_text() for path in (clone.root / "build/nano/rtl").iterdir()}
    (shown,) = blocks(DOCUMENT, "The files", "verilog")
    numbered = lambda text: re.sub(r"\b_\d+_\b", "_", text)
    assert numbered(shown.text) in numbered(files["poblano_skid.v"])
    (shown,) = blocks(DOCUMENT, "Memories", "text")
    memories = (clone.root / "build/nano/memories.csv").read_text().splitlines()
    assert shown.text and set(shown.text.splitlines()) <= set(memories)
    clone.change("build/nano/rtl/poblano_skid.v", "assign i__ready = ~ waits;", "assign i__ready = ~ waited;")
    (block,) = blocks(DOCUMENT, "Export and lint nano", "sh")
    broken = clone.sh("\n".join(block.text.splitlines()[1:]), fails=True)
    assert "%Error: rtl/poblano_skid.v:" in broken and "waited" in broken


@pytest.mark.slow
def test_fusesoc(clone):
    """The core file's lint target, with the virtual environment's tools."""
    out = clone.follow(DOCUMENT, "The same with FuseSoC")
    assert "V e r i l a t i o n" in out and "%" not in out and "ERROR" not in out


@pytest.mark.nightly
def test_other_designs(clone):
    out = clone.follow(DOCUMENT, "Other designs")
    assert re.findall(r"top (\w+),", out) == ["poblano_chip", "poblano_array", "poblano_dram_controller"]
