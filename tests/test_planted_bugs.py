"""Ten bugs are planted in a copy of the repository, one a block: the first screen of the block's test names
the block and the rule that is broken."""

import pytest

from tests.planted import BUGS, SCREEN, table
from tests.story import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.name, marks=[] if bug.quick else pytest.mark.nightly) for bug in BUGS]
)
def test_first_screen(bug, clone):
    """The first screen names block and rule."""
    clone.change(bug.file, bug.old, bug.new)
    told = clone.sh(bug.command, fails=True)
    screen = "\n".join(told.splitlines()[:SCREEN])
    assert bug.block in screen, f"the block is not named:\n{screen}"
    assert bug.rule in screen, f"the rule is not named:\n{screen}"


def test_one_a_block():
    assert len(BUGS) == 10 and len({bug.file for bug in BUGS}) == 10
    assert len([bug for bug in BUGS if bug.quick]) == 2


def test_each_fits_its_source():
    """What a bug replaces stands once in its file."""
    for bug in BUGS:
        assert (ROOT / bug.file).read_text().count(bug.old) == 1, bug.name


def test_table():
    """The document lists them as they are."""
    assert table() in (ROOT / "docs" / "testing.md").read_text()
