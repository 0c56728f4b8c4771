"""Fixtures of several test files."""

import sys

import pytest

from poblano_cli import main as cli
from poblano_flows.asic.liberty import load_library
from poblano_flows.asic.tools import AsicError, sta_program
from tests.explained import explain
from tests.story import Clone


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test begins with its block and its rule."""
    report = yield
    if report.failed and call.excinfo is not None:
        explain(item, call.excinfo.value, report)
    return report


@pytest.fixture(scope="session")
def standard_cells():
    """The library and OpenSTA, out of their packages."""
    try:
        load_library()
        sta_program()
    except AsicError as error:
        pytest.skip(str(error))


@pytest.fixture
def poblano(monkeypatch, capfd):
    """Runs the command; its exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["poblano", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capfd.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def clone(tmp_path):
    """The repository's files in a folder of their own, and commands typed there."""
    return Clone(tmp_path / "clone")
