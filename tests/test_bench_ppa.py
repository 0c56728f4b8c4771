"""The figures of `scripts/bench_ppa.py`: their names, their arithmetic, and the scaling to other nodes."""

import json

import pytest

from poblano.config import preset
from poblano_flows.asic import scaling
from poblano_flows.asic.activity import BlockPower, Power
from scripts import bench_ppa


def power():
    """One uJ in 1,000 cycles."""
    blocks = [BlockPower("nano", 600.0, 300.0, 100.0, 0.0)]
    return Power("a program", blocks, 1000, 4, 20_000, 500, 0.2, 100.0)


def test_energy():
    figures = bench_ppa.power_figures("nano", "prefill", power())
    assert figures["nano/prefill/clock_nj"] == 0.6 and figures["nano/prefill/pj_per_cycle"] == 1000
    assert figures["nano/prefill/pj_per_mac"] == 50 and figures["nano/prefill/pj_per_token"] == 250_000
    assert figures["nano/prefill/pj_per_byte"] == 2000
    # 40,000 operations for a uJ
    assert figures["nano/prefill/tops_per_watt"] == pytest.approx(0.04)
    least, most = figures["nano/prefill/tops_per_watt/7 nm"]
    assert (least, most) == tuple(0.04 * factor for factor in scaling.energy_factor("7 nm"))


def test_ratios(monkeypatch):
    """To what the same programs took before; the prefill's figures have short names too."""
    monkeypatch.setattr(bench_ppa, "measure_power", lambda design, workloads, report: [power(), power()])
    figures = bench_ppa.energy_figures("nano", preset("nano"), None)
    for program, before in bench_ppa.BASELINE_PJ.items():
        assert figures[f"nano/{program}/energy_ratio"] == pytest.approx(1e6 / before)
    for name in (
        "clock_nj",
        "energy_ratio",
        "pj_per_mac",
        "pj_per_token",
        "pj_per_byte",
        "tops_per_watt/3 nm",
    ):
        assert figures[f"nano/{name}"] == figures[f"nano/prefill/{name}"]


def test_scaling():
    """Each node needs less than the one before, by what its source says."""
    factors = [scaling.energy_factor(node) for node in scaling.NODES]
    assert all(least < most for least, most in factors)
    assert factors[0] == pytest.approx((87.5, 621), rel=0.01)
    assert factors[1][0] / factors[0][0] == pytest.approx(1 / 0.7)
    assert factors[2][0] / factors[1][0] == pytest.approx(1 / 0.75)
    assert factors[2][1] / factors[1][1] == pytest.approx(1 / 0.7)


@pytest.mark.parametrize("key,good,bad", [("nano/mhz", 190.0, 189.0), ("nano/energy_ratio", 0.33, 0.34)])
def test_bars(key, good, bad):
    assert bench_ppa.line(key, good).endswith(": met)") and bench_ppa.line(key, bad).endswith(": missed)")


@pytest.mark.nightly
def test_quick(tmp_path):
    bench_ppa.main(["--quick", "--json", str(tmp_path / "ppa.json")])
    figures = json.loads((tmp_path / "ppa.json").read_text())
    assert figures["pe/cells"] <= 620 and figures["pe/mhz"] > 215
    assert figures["nano/gated_flip_flops"] > 0.85 and "nano/clock_nj" not in figures
    assert figures["desk/gates_speedup_1_thread"] > 1.3
