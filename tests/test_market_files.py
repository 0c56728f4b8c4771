"""The files of chips and models: what they hold, and one clear line for what is wrong."""

import pytest

from poblano_market.calibration import MEASUREMENTS, PointFile, calibrate
from poblano_market.chips import BITS, named, read_chips
from poblano_market.compare import DEFAULT_CHIPS
from poblano_market.cost import read_cost
from poblano_market.energy import read_energy
from poblano_market.errors import MarketError
from poblano_market.facts import facts_in, read
from poblano_market.shapes import read_shapes
from tests.market_files import edited


def test_chips():
    chips, sources = read_chips()
    assert set(DEFAULT_CHIPS) <= set(chips) and {"a100", "h200", "mi300x"} <= set(chips)
    used = {fact.source for chip in chips.values() for _, fact in facts_in(chip)}
    assert used == set(sources), "sources that nothing uses"
    guesses = [fact for chip in chips.values() for _, fact in facts_in(chip) if fact.source == "guess"]
    assert guesses and all(fact.status == "assumed" for fact in guesses)
    # Nothing of Jalapeño's speed, memory or power is confirmed, and all of it has a range.
    jalapeno = chips["jalapeno"]
    for fact in (
        *jalapeno.peak_tflops.values(),
        jalapeno.memory_gb,
        jalapeno.bandwidth_tb_s,
        jalapeno.power_w,
    ):
        assert fact.status != "confirmed" and fact.range.low < fact.range.high
    # Dense peaks: a format of half the bits has about twice the peak, three times where its maker says so.
    for key, chip in chips.items():
        peaks = {name: fact.value for name, fact in chip.peak_tflops.items()}
        if "fp4" in peaks:
            assert peaks["fp4"] <= (3.01 if key == "gb300" else 2.01) * peaks["fp8"], key


def test_corners():
    chips, _ = read_chips()
    low, mid, high = (chips["jalapeno"].at(corner) for corner in ("low", "mid", "high"))
    for name in ("bandwidth", "memory", "link"):
        assert getattr(low, name) <= getattr(mid, name) <= getattr(high, name)
    assert low.latency >= mid.latency >= high.latency and low.peak("fp8") == 10e15
    # A chip without FP4 multiplies in FP8, one without FP8 in INT8.
    assert chips["h100"].at("mid").peak("fp4") == chips["h100"].at("mid").peak("fp8")
    assert chips["a100"].at("mid").peak("fp8") == 624e12 and chips["a100"].engine("fp4") == "int8"


@pytest.mark.parametrize("model, shape", read_shapes().items())
def test_parameters(model, shape):
    """The shapes add up to what their makers say, within half a per cent."""
    assert shape.dense + shape.routed == pytest.approx(shape.parameters, rel=0.005)
    assert set(shape.formats) <= set(BITS)


def test_active():
    shapes = read_shapes()
    assert shapes["gpt-oss-120b"].active == pytest.approx(5.1e9, rel=0.02)
    assert shapes["deepseek-v3"].active == pytest.approx(37e9, rel=0.02)
    assert shapes["mixtral-8x7b"].active == pytest.approx(12.9e9, rel=0.02)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("[sources]", "[sources", "not TOML: "),
        ("name =", "title =", r"chips.one.name: field required"),
        ("vendor =", 'colour = "red"\nvendor =', r"chips.one.colour: extra inputs are not permitted"),
        ("value = 500", "value = -500", r"chips.one.peak_tflops.bf16.value: input should be greater than 0"),
        ("value = 500", "value = nan", r"peak_tflops.bf16.value: input should be a finite number"),
        ("value = 500", 'value = "500"', r"peak_tflops.bf16.value: input should be a valid number"),
        ("value = 500, ", "", r"peak_tflops.bf16.value: field required"),
        (
            '"confirmed"',
            '"sure"',
            r"peak_tflops.bf16.status: input should be 'confirmed', 'reported' or 'assumed'",
        ),
        ("low = 80", "low = 101", r"chips.one.memory_gb: value 100 is outside 101 to 120"),
        (
            'source = "maker"',
            'source = "aunt"',
            r"chips.one.peak_tflops.bf16: no source 'aunt' in \[sources\]",
        ),
        (
            "peak_tflops.bf16",
            "peak_tflops.fp9",
            r"chips.one.peak_tflops: unknown format 'fp9'; formats are bf16,",
        ),
        ("peak_tflops.bf16", "peak_tflops.fp4", r"chips.one.peak_tflops: bf16 is missing"),
        ("[chips.one]", "[chips]\n[other.one]", r": chips: dictionary should have at least 1 item"),
    ],
)
def test_broken(tmp_path, old, new, message):
    path = edited(tmp_path, old, new)
    with pytest.raises(MarketError, match=message) as error:
        read_chips(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_not_a_text(tmp_path):
    path = tmp_path / "chips.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MarketError, match="not a text"):
        read_chips(path)


def test_named():
    with pytest.raises(MarketError, match=r"no chip 'b20'; did you mean b200\?; there are b200, h100"):
        named("chip", "b20", {"b200": 1, "h100": 2})
    assert named("chip", "h100", {"h100": 2}) == 2


def test_other_files():
    """They are whole, and all that they name is there."""
    energy, cost = read_energy(), read_cost()
    for file in (energy, cost):
        used = {fact.source for _, fact in facts_in(file)}
        assert used == set(file.sources)
    nodes = {chip.node for chip in read_chips()[0].values()}
    assert nodes <= set(cost.wafer_usd)
    points = read(MEASUREMENTS, PointFile)
    assert {point.source for point in points.points} == set(points.sources)


def test_measurement_without_source(tmp_path):
    path = tmp_path / "measurements.toml"
    path.write_text(MEASUREMENTS.read_text().replace('source = "nim"', 'source = "nobody"', 1))
    with pytest.raises(MarketError, match=r"5000/500: no source 'nobody' in \[sources\]"):
        calibrate(path=path)
