"""Checks of what ``poblano verilog`` writes."""

import re
import subprocess

from poblano_host.sim.verilator import verilator_command

__all__ = ["elaborate", "fails", "lint"]


def lint(folder, top):
    result = subprocess.run(
        [*verilator_command(), "--lint-only", "-Wall", "--top-module", top, f"{top}.vlt", "-f", f"{top}.f"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and "%" not in result.stderr, result.stderr[-2000:]


def elaborate(folder, top):
    """Icarus accepts it as Verilog-2005."""
    result = subprocess.run(
        ["iverilog", "-g2005", "-Wall", "-t", "null", "-s", top, "-f", f"{top}.f"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and not result.stderr, result.stderr[-2000:]


def fails(result, message):
    """One line on standard error, no trace back."""
    status, _, error = result
    assert status == 2 and error.startswith("poblano: ") and error.count("\n") == 1
    assert re.search(message, error), error
