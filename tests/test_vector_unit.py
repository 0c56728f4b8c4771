"""The vector unit on Verilator."""

import pytest

from tb.bench import VECTOR, run

QUICK = ("nano", "four", "wide")
TESTS = 8


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.nightly) for n in VECTOR.configs]
)
def test_vector_unit(name):
    assert run(VECTOR, name) == TESTS


@pytest.mark.slow
@pytest.mark.parametrize("latency", ["1", "4"])
def test_read_latency(latency):
    """The unit does not depend on the latency of vector memory."""
    run(VECTOR, "nano", COUNT="4", LATENCY=latency)
