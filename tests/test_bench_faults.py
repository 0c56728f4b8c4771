"""The campaigns of `scripts/bench_faults.py`: their figures, and, at night, all of them."""

from dataclasses import replace

import pytest

from poblano_host.faults.outcome import Outcome
from poblano_host.faults.summary import Summary
from poblano_host.models import load_model
from scripts.bench_faults import BARS, FULL, PROMPT, QUICK, figures, measure
from tests.models_tiny import tiny_model


def test_figures():
    """What is counted as wrong: silence, a hang, or a program after it that is not bit-exact."""
    outcome = lambda result, after=None: Outcome("sram", "", "", 0, result, next=after)
    flips = [outcome("silent"), outcome("masked"), outcome("corrected"), outcome("detected", False)]
    resets = [outcome("masked", True), outcome("masked", False)]
    axi = [outcome("detected", True), outcome("hang", True), outcome("silent")]
    found = figures({name: Summary(o, {}) for name, o in dict(flips=flips, resets=resets, axi=axi).items()})
    assert found == dict(
        flips=4,
        silent=1,
        hangs=0,
        corrected=1,
        flips_next_wrong=1,
        double_flips=0,
        double_wrong=0,
        resets=2,
        resets_wrong=1,
        axi_errors=3,
        axi_wrong=2,
    )
    assert set(BARS) < set(found)


@pytest.mark.slow
def test_quick():
    found, _ = measure(QUICK, tiny_model(layers=1), [3, 14, 15], jobs=2)
    assert found["flips"] == 60 and found["resets"] == found["axi_errors"] == 20
    assert {name: found[name] for name in BARS} == dict.fromkeys(BARS, 0)
    assert found["corrected"] > 5


@pytest.mark.nightly
@pytest.mark.timeout(6 * 3600)
def test_bars():
    model = load_model("default")
    found, _ = measure(FULL, model, model.framed(PROMPT), jobs=2)
    assert {name: found[name] for name in BARS} == dict.fromkeys(BARS, 0)
    assert found["flips"] >= 10_000 and found["resets"] >= 2000


@pytest.mark.nightly
def test_without_ecc_is_silent():
    """The bar can be missed: without codes flips are silent."""
    cases = {"flips": replace(FULL["without"], counts={"dram": 100, "sram": 200})}
    model = load_model("default")
    assert measure(cases, model, model.framed(PROMPT), jobs=2)[0]["silent"]
