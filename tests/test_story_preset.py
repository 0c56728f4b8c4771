"""A preset of one's own, as docs/presets.md has it."""

import re

import pytest

from tests.story import blocks

DOCUMENT, SECTION = "docs/presets.md", "A preset of your own"


@pytest.mark.slow
def test_preset(clone):
    out = clone.follow(DOCUMENT, SECTION)
    (shown,) = blocks(DOCUMENT, SECTION, "toml")
    assert shown.text == (clone.root / "examples/two_tiles.toml").read_text()
    assert 'name = "two_tiles"\ntiles = 2' in out and "3 commands on two_tiles (golden)" in out
    assert "poblano-1m on two_tiles" in out
    (message,) = blocks(DOCUMENT, SECTION, "text")
    assert f"{message.text}exit code 2\n" in out
    # And on the RTL, of a chip that is compiled already: nano with another memory behind it.
    (clone.root / "build/fast.toml").write_text('base = "nano"\n[memory]\nbandwidth = 8\nlatency = 5\n')
    cycles = []
    for preset in ("nano", "build/fast.toml"):
        out = clone.sh(f"poblano exec examples/hello.asm --preset {preset} --dump 0x2000:32")
        assert out.count("48656c6c") == 8
        cycles.append(int(re.search(r"\(sim\) in (\d+) cycles", out)[1]))
    assert cycles[1] < cycles[0]


@pytest.mark.nightly
def test_new_rtl(clone):
    """The RTL of the document's preset, which is compiled for this alone."""
    out = clone.sh("poblano exec examples/hello.asm --preset examples/two_tiles.toml --dump 0x2000:32")
    assert "3 commands on two_tiles (sim) in" in out and out.count("48656c6c") == 8
