"""The matmul unit on Verilator."""

import pytest

from tb.common.runner import run_bench
from tb.common.units import matmul_unit
from tb.compute.configs import CONFIGS, REPEATED

ARGUMENTS = ("--no-public-flat-rw",)
"""Only ports are visible in the bench: the rest is optimised and compiles ten times faster."""
QUICK = {"nano": "6", "mx": "8", "eight": "8"}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.nightly) for n in CONFIGS]
)
def test_matmul_unit(name):
    env = {"CONFIG": name, "COUNT": QUICK.get(name, "8")}
    assert (
        run_bench(
            matmul_unit(CONFIGS[name]),
            name=f"matmul_{name}",
            module="tb.compute.bench",
            env=env,
            build_args=ARGUMENTS,
            no_inline=() if name in QUICK else REPEATED,
        )
        == 5
    )


@pytest.mark.parametrize("latency", [1, 3])
def test_read_latency(latency):
    """The unit does not depend on the latency of activation memory."""
    env = {"CONFIG": "nano", "COUNT": "3", "LATENCY": str(latency)}
    run_bench(
        matmul_unit(CONFIGS["nano"]),
        name="matmul_nano",
        module="tb.compute.bench",
        env=env,
        build_args=ARGUMENTS,
    )
