"""A token followed through code and hardware, with the command that docs/life-of-a-token.md gives."""

import pytest

from tests.story import ROOT

PAGE = "docs/life-of-a-token.md"


@pytest.mark.slow
def test_story(clone):
    """What it prints, figures of the RTL included, is what the page shows."""
    text = (ROOT / PAGE).read_text()
    printed = clone.follow(PAGE, "The life of a token").splitlines()
    stale = [line for line in printed if f"{line}\n" not in text]
    assert printed and not stale, "run .venv/bin/python scripts/token_timeline.py --write"
