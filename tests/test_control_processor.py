"""The command processor on Verilator."""

import pytest

from tb.common.runner import run_bench
from tb.control.configs import CONFIGS
from tb.control.tops import ProcessorTop

NIGHTLY = ("many",)
LENGTH = {"many": "60"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly) if n in NIGHTLY else n for n in CONFIGS]
)
def test_processor(name):
    env = {"CONFIG": name, "LENGTH": LENGTH.get(name, "150")}
    assert (
        run_bench(ProcessorTop(CONFIGS[name]), name=f"processor_{name}", module="tb.control.bench", env=env)
        == 9
    )
