"""The matmul unit on Verilator."""

import pytest

from tb.bench import MATMUL, SMALL, run


@pytest.mark.parametrize(
    "name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.nightly) for n in MATMUL.configs]
)
def test_matmul_unit(name):
    assert run(MATMUL, name) == 6


@pytest.mark.parametrize("latency", [1, 3])
def test_read_latency(latency):
    """The unit does not depend on the latency of activation memory."""
    run(MATMUL, "nano", COUNT="3", LATENCY=str(latency))
