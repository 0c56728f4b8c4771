"""The folders' README.md are those that ``scripts/readmes.py`` writes, and say all that they should."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def readmes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import readmes

    return readmes


def line(folder, name):
    lines = (ROOT / folder / "README.md").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(f"| `{name}` (")]
    return dict(zip(("name", "description", "latency", "tests", "proofs"), found.strip("| ").split(" | ")))


def test_current(readmes):
    stale = [str(path.relative_to(ROOT)) for path in readmes.stale()]
    assert not stale, f"run: {readmes.COMMAND}"


def test_all_is_stated(readmes):
    """Every line has a description, and that of every component a latency."""
    for package in readmes.Tables().folders():
        text = package.path.with_name("README.md").read_text()
        silent = [line.split(" | ")[0] for line in text.splitlines() if readmes.MISSING in line]
        assert not silent, f"{package.name}: state in the docstring what it is, and 'Latency: ..'"


def test_what_tables_say():
    pe = line("rtl/poblano/compute", "PE")
    assert "tests/test_compute_array.py" in pe["tests"] and "`pe`" in pe["proofs"]
    assert line("rtl/poblano/compute", "OperandDecoder")["latency"] == "combinational"
    assert line("rtl/poblano/compute", "ResultWriter")["tests"] == "through `MatmulUnit`"
    assert line("rtl/poblano/formats", "FloatAdd")["latency"] == "4 cycles"
    assert line("rtl/poblano/formats", "FloatAdd")["proofs"] == "none"  # `accumulator` replaces it
    assert line("tb/memory", "MemorySystem")["tests"] == "`tests/test_memory_system.py`"


def test_sentence(readmes):
    text = ":class:`~poblano.compute.pe.PE` and ``a | b``,\n    e.g. this. More.\n\nRest."
    assert readmes.sentence(text) == "`PE` and `a \\| b`, e.g. this"
    assert readmes.latency("A. Latency: 2 cycles,\nor 3. More.\n\nMembers", None) == "2 cycles, or 3"
    assert readmes.latency("Finds combinational\nloops.", None) == "none"
