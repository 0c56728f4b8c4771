"""The vector unit on Verilator."""

import pytest

from tb.common.runner import run_bench
from tb.common.units import vector_unit
from tb.compute.configs import CONFIGS

NAMES = ("nano", "desk", "four", "mx", "tall", "wide", "tile64")
"""2, 8, 2, 4, 4, 16 and 32 lanes; the own tile alone, two and five tiles; "four" has every number format,
"mx" no INT8."""
QUICK = ("nano", "four", "wide")
TESTS = 8


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.nightly) for n in NAMES]
)
def test_vector_unit(name):
    assert (
        run_bench(
            vector_unit(CONFIGS[name]), name=f"vector_{name}", module="tb.vector.bench", env={"CONFIG": name}
        )
        == TESTS
    )


@pytest.mark.slow
@pytest.mark.parametrize("latency", ["1", "4"])
def test_read_latency(latency):
    """The unit does not depend on the latency of vector memory."""
    run_bench(
        vector_unit(CONFIGS["nano"]),
        name="vector_nano",
        module="tb.vector.bench",
        env={"CONFIG": "nano", "COUNT": "4", "LATENCY": latency},
    )
