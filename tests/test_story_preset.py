"""A preset of one's own, as docs/presets.md has it."""

import re

import pytest

from tests.story import blocks

DOCUMENT, SECTION = "docs/presets.md", "A preset of your own"


@pytest.mark.slow
def test_preset(clone):
    out = clone.follow(DOCUMENT, SECTION)
    # The file that is shown and the one that is written are the same.
    (shown,) = blocks(DOCUMENT, SECTION, "toml")
    written = [line for line in (clone.root / "build/my.toml").read_text().splitlines() if line]
    assert written == [line for line in shown.text.splitlines() if line]
    assert 'name = "my"\ntiles = 2' in out and "3 commands on my (golden)" in out
    assert "poblano-1m on my" in out
    (message,) = blocks(DOCUMENT, SECTION, "text")
    assert message.text in out
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
    clone.follow(DOCUMENT, SECTION)
    out = clone.sh("poblano exec examples/hello.asm --preset build/my.toml --dump 0x2000:32")
    assert "3 commands on my (sim) in" in out and out.count("48656c6c") == 8
