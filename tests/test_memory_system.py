"""DMA engine, stream units, arbiter, bus and local memories together, on Verilator with cocotbext-axi's
memory."""

import pytest

from tb.common.runner import run_bench
from tb.memory.configs import CONFIGS
from tb.memory.system import MemorySystem

SLOW = ("least", "desk", "wide", "mixed")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly) if n in SLOW else n for n in CONFIGS]
)
def test_memory_system(name):
    # Only the ports: thousands of visible signals take the compiler minutes.
    assert (
        run_bench(
            MemorySystem(CONFIGS[name]),
            name=f"memory_{name}",
            module="tb.memory.bench",
            env={"CONFIG": name},
            build_args=("--no-public-flat-rw",),
        )
        == 3
    )
