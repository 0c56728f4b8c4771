"""The command processor on Verilator."""

import pytest

from tb.bench import PROCESSOR, run

NIGHTLY = ("many",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly) if n in NIGHTLY else n for n in PROCESSOR.configs]
)
def test_processor(name):
    assert run(PROCESSOR, name) == 10
