"""What limits a prefill, as docs/reports.md finds it."""

import json
import re

import pytest

from tests.story import blocks

DOCUMENT, SECTION = "docs/reports.md", "What limits a prefill"


@pytest.mark.slow
def test_report(clone):
    out = clone.follow(DOCUMENT, SECTION)
    (shown,) = blocks(DOCUMENT, SECTION, "text")
    # The sentence of the document, with its figures: cycles are always the same.
    assert " ".join(shown.text.split()) in out
    said = re.search(
        r"^decode is limited by memory: .* arrays work in (.*?)%.* arrays do (.*?)% of", out, re.M
    )
    assert said and "they also work while weights enter them" in out
    assert f"work in {float(said[1]):.0f} % of the cycles and do {float(said[2]):.0f} % of the" in " ".join(
        (clone.root / DOCUMENT).read_text().split()
    )
    for path in ("build/report.html", "build/trace.json", "build/figures.json"):
        assert f"wrote {path}: " in out and (clone.root / path).stat().st_size
    assert "in which a microsecond is a cycle" in out
    figures = json.loads((clone.root / "build/figures.json").read_text())
    prefill, decode = figures["limits"]
    assert figures["units"]["tile0.vector"]["waiting"]["matmul"] > 0.5
    assert (prefill["limit"], decode["limit"]) == ("the arrays", "memory")
    page = (clone.root / "build/report.html").read_text()
    assert "prefill is limited by the arrays" in page and "the weight FIFO is full" in page
