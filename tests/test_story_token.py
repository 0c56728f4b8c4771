"""A token followed through code and hardware, with the command that docs/life-of-a-token.md gives."""

import re

import pytest

from tests.story import ROOT

PAGE = "docs/life-of-a-token.md"
COMMAND = re.compile(r"(dma|tile\d+\.\w+) [A-Z_]+ ")
"""A line of a program: tests/test_guides.py compares these, however they are written."""


@pytest.mark.slow
def test_story(clone):
    """The figures of the RTL that it prints are those of the page."""
    text = (ROOT / PAGE).read_text()
    printed = clone.follow(PAGE, "The life of a token").splitlines()
    stale = [line for line in printed if not COMMAND.match(line) and f"{line}\n" not in text]
    assert sum("|" in line for line in printed) > 20 and not stale, (
        "run .venv/bin/python scripts/token_timeline.py --write"
    )
