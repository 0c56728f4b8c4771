"""DMA engine, stream units, arbiter, bus and local memories together, on Verilator with cocotbext-axi's
memory."""

import pytest

from tb.bench import MEMORY, run

SLOW = ("least", "desk", "wide", "mixed")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly) if n in SLOW else n for n in MEMORY.configs]
)
def test_memory_system(name):
    assert run(MEMORY, name) == 3
