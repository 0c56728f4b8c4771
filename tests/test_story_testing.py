"""Stories of docs/testing.md: a bench with a seed and waves; a planted bug found from the message; a property
proved, broken, and its counterexample read."""

from pathlib import Path
import re

import pytest

from tb.common.runner import HEADERS
from tests.story import blocks

DOCUMENT = "docs/testing.md"
WAVES = "One bench, with a seed and waves"
FAILURE = "A failure, and how to read it"
PROPERTY = "A property, proved, broken, and its counterexample read"


def plant(clone, heading):
    """Makes the change that the section's diff shows."""
    lines = blocks(DOCUMENT, heading, "diff")[0].text.splitlines()
    side = lambda sign: "\n".join(line[1:] for line in lines if line.startswith(sign))
    clone.change("rtl/poblano/axi/reader.py", side("-"), side("+"))


@pytest.mark.slow
@pytest.mark.skipif(
    not all(Path("/usr/include", header).is_file() for header in HEADERS),
    reason=f"FST files need apt-get install {' '.join(HEADERS.values())}",
)
def test_a_bench_with_a_seed_and_waves(clone):
    """The benches are listed; the one that is run says its seed and leaves waves where it says."""
    told = clone.follow(DOCUMENT, WAVES)
    assert "CONFIG=narrow|" in told
    assert "\nbench   memory_narrow: tb.memory.bench, seed 3\n" in told
    assert re.search(r"^passed  3 tests, \d+ s$", told, re.MULTILINE)
    file = clone.root / re.search(r"^waves   (\S+)$", told, re.MULTILINE)[1]
    assert file.read_bytes()[0] == 0 and file.stat().st_size > 500_000  # a header block, and much behind it
    (folder,) = (clone.root / "build" / "tb").iterdir()
    assert folder.name.endswith("-waves")


@pytest.mark.slow
def test_a_planted_bug_from_the_message(clone):
    """The message names the block and what is wrong with it, as the document shows it."""
    (command,) = blocks(DOCUMENT, FAILURE, "sh")
    plant(clone, FAILURE)
    told = clone.sh(command.text, fails=True)
    shown = blocks(DOCUMENT, FAILURE, "text")[0].text.splitlines()
    assert shown[0].startswith("E   block") and shown[-1].endswith("credit left in credit")
    screen = told.splitlines()[:20]
    assert all(line in screen for line in shown), told


@pytest.mark.slow
def test_a_property_and_its_counterexample(clone):
    """It is proved; once broken the check, its line and the cycles are as the document shows them."""
    whole, proof = blocks(DOCUMENT, PROPERTY, "sh")
    told = clone.sh(whole.text)
    assert told.count(" caught ") == 6 and " proved " in told and " covered " in told
    plant(clone, PROPERTY)
    told = clone.sh(proof.text, fails=True)
    file, line = re.search(r'(formal/\w+\.py):(\d+): the check "none lost, none made" fails', told).groups()
    assert 'check("none lost, none made"' in (clone.root / file).read_text().splitlines()[int(line) - 1]
    shown = [line.split() for line in blocks(DOCUMENT, PROPERTY, "text")[1].text.splitlines()[3:]]
    got = {name: values for name, *values in (line.split() for line in told.splitlines() if line.strip())}
    for name, *values in shown[1:]:
        assert got[name] == values, f"{name} is {got[name]}; the document shows {values}"
    trace = (clone.root / re.search(r"trace: (\S+),", told)[1]).read_text()
    assert re.search(r"^dut\.give .*1", trace, re.MULTILINE)
