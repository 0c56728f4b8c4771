"""The steps that `scripts/bench_speed.py` measures, where a layer is enough: not below their bars."""

import pytest

from poblano_host.models import load_model
from scripts.bench_speed import CASES, measure

LAYERS = {name: case for name, case in CASES.items() if case.layers is not None}


@pytest.mark.nightly
@pytest.mark.parametrize("name", LAYERS)
def test_bar(name):
    """Counters of the RTL, the same on every machine; memory as the golden model leaves it."""
    case = LAYERS[name]
    assert measure(case, load_model("smollm2"), check=True).roofline_fraction >= case.bar
