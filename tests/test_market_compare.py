"""``poblano compare``: energy, cost, claims, the report, and the command."""

from dataclasses import replace
import json
import re

import pytest

from poblano_flows.asic.scaling import energy_factor
from poblano_market.claims import claims, remarks
from poblano_market.compare import Wanted, compare, formats_for, splits
from poblano_market.cost import Cost, die_yield, dies_per_wafer, read_cost, sensitivity
from poblano_market.energy import node_factor, own_mac, read_energy
from poblano_market.errors import MarketError
from poblano_market.report import as_json, html, sections
from poblano_market.shapes import read_shapes
from tests.market_files import ONE, edited
from tests.test_cli import fails


@pytest.fixture(scope="module")
def comparison():
    return compare(Wanted("llama-3.1-70b"))


def test_rows(comparison):
    assert len(comparison.rows) == 12 and not comparison.left_out
    assert [row.cost.mid for row in comparison.rows] == sorted(row.cost.mid for row in comparison.rows)
    for row in comparison.rows:
        for interval in (row.tokens, row.user, row.first_token, row.energy.sum, row.cost, row.utilisation):
            assert 0 < interval.low < interval.mid < interval.high
        assert row.utilisation.high <= 1 and row.user.mid >= 20
        # By operations it draws no more than its rating.
        assert row.watts.mid <= row.chip.power_w.range.high
        assert row.energy.full.mid == pytest.approx(row.chip.power_w.value / row.tokens.mid)


def test_b200_costs_what_others_say(comparison):
    """Epoch AI: 5,700 to 7,300 dollars to make, HBM the largest part; InferenceX: about 2 dollars an hour."""
    costs = comparison.row("b200").costs
    assert 5700 <= costs.package <= 7300 and costs.memory > costs.silicon
    assert 1.5 <= costs.hour <= 3


def test_yield():
    assert die_yield(100, 0.1, 3) == pytest.approx((1 + 0.1 / 3) ** -3)
    assert die_yield(800, 0.1, 1e9) == pytest.approx(2.718281828**-0.8, rel=1e-6)  # Poisson's
    assert 60 <= dies_per_wafer(814) <= 70  # H100


def test_sensitivity(comparison):
    """Each end is what a million tokens cost with that number alone at its end, the largest swing first."""
    file, row = read_cost(), comparison.row("jalapeno")
    found = sensitivity(file, row.chip, row.tokens)
    swings = [item.high - item.low for item in found]
    assert swings == sorted(swings, reverse=True) and found[0].name == "tokens a second"
    for item in found:
        assert item.low <= row.costs.million * 1.0001 and item.high >= row.costs.million * 0.9999
    (power,) = [item for item in found if item.name == "electricity"]
    cheap = replace(row.costs, usd_kwh=file.running.usd_kwh.range.low)
    assert power.low == pytest.approx(cheap.million)
    low, high = (Cost.of(file, row.chip, row.tokens, corner).million for corner in ("low", "high"))
    assert low < min(item.low for item in found) and high > max(item.high for item in found)


def test_energy(comparison):
    energy, row = read_energy(), comparison.row("b200")
    assert row.energy.sum.mid == pytest.approx(sum(part.mid for part in row.energy.parts.values()))
    dram = row.served["mid"].bytes_per_token * 31e-12
    assert row.energy.dram.mid == pytest.approx(dram)
    assert node_factor("7 nm").mid == 1 and node_factor("5 nm").mid == pytest.approx(0.7)
    assert node_factor("3 nm").low < node_factor("3 nm").high < node_factor("5 nm").low
    own = own_mac(energy, "7 nm")
    assert (own.high, own.low) == pytest.approx(tuple(28.2 / factor for factor in energy_factor("7 nm")))


def test_claims(comparison):
    found = {claim.title.split(" ")[0]: claim for claim in claims(comparison)}
    assert len(found) == len(claims(comparison)) == 6
    assert "20 to 43" in found["29"].verdict and "4.5 in FP8, 9 in FP4" in " ".join(found["29"].findings)
    assert "141.1 GB of 144; 2.9 GB hold" in found["144"].findings[0]
    assert re.search(r"ratio is \d\.\d\d", " ".join(found["cost"].findings))
    for claim in found.values():
        assert claim.verdict and claim.findings
    text = " ".join(remarks())
    assert (
        "16,384" in text and "101 MHz" in text and "3.3 million" in text and "814 arrays of 64 x 64" in text
    )


def test_what_would_make_it_hold(comparison):
    """The tokens a second at which half the cost is claimed to be reached do reach it."""
    (claim,) = [claim for claim in claims(comparison) if claim.title.startswith("cost")]
    needed = float(re.search(r"made ([\d,]+) tokens", " ".join(claim.findings))[1].replace(",", ""))
    ours, theirs = comparison.row("jalapeno"), comparison.row("b200")
    assert replace(ours.costs, tokens=needed).million == pytest.approx(theirs.costs.million / 2, rel=1e-3)


def test_report(comparison):
    page = html(comparison)
    assert page.count('src="data:image/png;base64,') == 7 and "http" not in re.sub(r"<li>.*?</li>", "", page)
    for section in sections(comparison):
        assert section.title in page and all(len(row) == len(section.columns) for row in section.rows)
    for row in comparison.rows:
        assert row.chip.name in page
    figures = as_json(comparison)
    assert json.loads(json.dumps(figures)) == figures and len(figures["chips"]) == 12
    assert figures["calibration"]["held_out_within"] >= 23
    assert all(point["source"] for point in figures["calibration"]["points"])


@pytest.mark.parametrize(
    "model", ["llama-3.1-8b", "gpt-oss-120b", "deepseek-v3", "mixtral-8x7b", "smollm2-135m"]
)
def test_models(model):
    found = compare(Wanted(model))
    assert len(found.rows) + len(found.left_out) == 12 and len(found.rows) >= 10
    for reason in found.left_out.values():
        assert "does not fit" in reason and "more than the" in reason


def test_given():
    """A split, a batch and formats that are given are taken as they are."""
    wanted = Wanted("llama-3.1-70b", weights="fp4", batch=7)
    found = compare(wanted, ("b200",))
    assert found.rows[0].batch == 7 and found.rows[0].deployment.formats.weights == "fp4"
    shapes = read_shapes()
    assert formats_for(Wanted("gpt-oss-120b"), shapes["gpt-oss-120b"]).compute == "fp8"
    chip = found.chips["b200"]
    assert {split.chips for split in splits(shapes["llama-3.1-8b"], chip)} == {1, 2, 4, 8}


@pytest.mark.parametrize(
    "wanted, message",
    [
        (Wanted("llama-3.1-70b", prompt=0), "prompt must be at least 1 token, not 0"),
        (Wanted("llama-3.1-70b", batch=0), "a batch is at least 1 request, not 0"),
        (Wanted("llama-3.1-70b", weights="int3"), "weights in bf16, fp8, fp4, not in 'int3'"),
        (Wanted("llama-3.1-70b", kv="fp4"), "keys and values are in bf16 or fp8, not in 'fp4'"),
        (Wanted("llama-3.1-70b", weights="bf16", batch=99999), "more than the .* that it has for them"),
    ],
)
def test_refused(wanted, message):
    with pytest.raises(MarketError, match=message):
        compare(wanted, ("b200",))


def test_other_node(tmp_path):
    with pytest.raises(MarketError, match="one: no price of a wafer of '2 nm'; there are 7 nm, 5 nm, 3 nm"):
        compare(Wanted("llama-3.1-8b"), ("one",), edited(tmp_path, '"3 nm"', '"2 nm"'))


def test_command(poblano, tmp_path):
    page, figures = tmp_path / "report.html", tmp_path / "figures.json"
    status, out, _ = poblano(
        "compare", "--model", "llama-3.1-8b", "--chips", "b200,jalapeno", "--html", page, "--json", figures
    )
    assert status == 0 and "NVIDIA B200" in out and "(estimates)" in out and "Claim: 29 TFLOPS/W" in out
    assert "814 arrays of 64 x 64" in out
    assert page.read_text().startswith("<!doctype html>")
    assert [row["chip"] for row in json.loads(figures.read_text())["chips"]]


def test_own_chips(poblano, tmp_path):
    """A chips file of one's own, in which nothing is claimed of."""
    path = tmp_path / "own.toml"
    path.write_text(ONE)
    status, out, _ = poblano("compare", "--model", "smollm2-135m", "--chips-file", path)
    assert status == 0 and "One" in out and "Claim:" not in out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--chips", "b2000"], r"no chip 'b2000'; did you mean b200\?; there are jalapeno,"),
        (["--model", "llama-4"], r"no model 'llama-4'; did you mean llama-"),
        (["--tensor", 5], "impossible split: 64 heads over tensor 5"),
        (["--weights", "bf16", "--chips", "h100", "--tensor", 1], "141.1 GB .* tensor 2 would"),
        (["--model", "deepseek-v3", "--chips", "h100"], "does not fit on 8 x NVIDIA H100: .* GB more than"),
        (["--chips-file", "nowhere.toml"], "nowhere.toml: No such file"),
        (["--html", "nowhere/report.html"], "nowhere/report.html: its folder does not exist"),
    ],
)
def test_bad_input(poblano, arguments, message):
    fails(poblano("compare", *arguments), message)
