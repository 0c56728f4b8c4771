"""Damaged files of every kind that is read: each is refused in one line, or used; nothing hangs, takes all
memory or ends the process."""

import subprocess
import sys

import numpy as np
import pytest

from poblano_host.models import load_model
from tests import fuzz_worker

SCRIPT = """\
import runpy, sys
sys.path[:0] = {path}
sys.argv = {arguments}
runpy.run_module("tests.fuzz_worker", run_name="__main__")
"""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    fuzz_worker.write_seeds(folder)
    return folder


def failures(seeds, first, end):
    """Lines about the cases that did not end as they should. A process that ends is such a case, too; the
    next goes on behind it."""
    lines = []
    while first < end:
        arguments = ["fuzz_worker", str(seeds), str(first), str(end)]
        script = SCRIPT.format(path=sys.path, arguments=arguments)
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        output = result.stdout.splitlines()
        lines += [line for line in output if line.startswith("wrong: ")]
        begun = [int(line) for line in output if line.isdecimal()]
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or [""])[-1]
            lines.append(
                f"wrong: {max(begun, default=None)} ended the process: {result.returncode}, {reason}"
            )
        if not begun:
            return lines
        first = begun[-1] + 1
    return lines


@pytest.mark.slow
def test_damaged_files(seeds):
    assert failures(seeds, 0, 500) == []


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(1000, 11000, 1000))
def test_many_damaged_files(seeds, first):
    assert failures(seeds, first, first + 1000) == []


def test_what_is_wrong_is_seen(seeds, monkeypatch, tmp_path):
    """What raises, what prints more than a line, and what ends the process."""
    monkeypatch.setattr(fuzz_worker, "load_model", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fuzz_worker.model(seeds / "llama.gguf", np.random.default_rng(0))
    monkeypatch.setattr(fuzz_worker, "load_model", lambda name: load_model("none\n"))
    assert fuzz_worker.model(seeds / "llama.gguf", None).startswith("not one line that names the file: none")
    monkeypatch.setattr(fuzz_worker.cli, "main", lambda: print("Traceback", file=sys.stderr) or sys.exit(1))
    assert fuzz_worker.commanded("asm") == "exit code 1: 'Traceback\\n'"
    (tmp_path / "llama.gguf").mkdir()  # no seeds: the first case that reads one raises, the others too
    assert any("Error" in line for line in failures(tmp_path, 5, 6))
    assert failures(tmp_path / "none", 0, 9)[0].startswith("wrong: None ended the process: 1, ")
