"""Layout, lint and types of all Python, as ``make lint`` and the pre-commit hooks check them."""

from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {"format": "ruff format --check --diff .", "lint": "ruff check .", "types": "mypy"}


@pytest.mark.parametrize("check", CHECKS)
def test_style(check):
    command = [sys.executable, "-m", *CHECKS[check].split()]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"make lint shows this too:\n{(result.stdout + result.stderr)[-6000:]}"
