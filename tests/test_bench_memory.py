"""The traffic that `scripts/bench_memory.py` measures: its bars, and the schedulers beside the RTL."""

import pytest

from scripts.bench_memory import CASES, Controllers, all_bank_bound, config_of, measure, references

BARS = [name for name, case in CASES.items() if case.bar]


@pytest.fixture(scope="module")
def controllers():
    return Controllers(lambda line: None)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BARS)
def test_bar(name, controllers):
    """Cycles of the RTL, the same on every machine."""
    case = CASES[name]
    assert measure(case, controllers[case.config])[""] >= case.bar


def test_schedulers():
    """Rules kept, order matters, and refreshes of all banks cost what they must."""
    config = config_of("hbm3")
    assert all_bank_bound(config) == pytest.approx(0.9, abs=0.001)
    case = CASES["hbm3/sequential"]
    found = references(config, case.bursts(config, case.beats))
    assert found["fr_fcfs_per_bank"] > 0.9
    assert found["fr_fcfs"] == pytest.approx(all_bank_bound(config), abs=0.01)
    assert found["in_order"] < 0.75
    case = CASES["hbm3/random_64"]
    found = references(config, case.bursts(config, 1 << 14))
    assert found["in_order"] < 0.06 < 0.25 < found["fr_fcfs"] < 1 / 3  # what four activations allow
    config = config_of("sdr")
    assert set(references(config, CASES["sdr/sequential"].bursts(config, 2000))) == {"fr_fcfs", "in_order"}


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    """Bursts are as AXI wants them, within the memory, and as many beats as the case says, nearly."""
    case = CASES[name]
    config = case.config
    bursts = case.bursts(config, case.beats)
    size = bursts["beats"] * config.timing.burst_bytes
    ends = bursts["address"].astype(int) + size
    assert (ends <= config.timing.bytes).all() and (bursts["beats"] <= 256).all()
    assert (bursts["address"].astype(int) // 4096 == (ends - 1) // 4096).all()
    assert 0.98 * case.beats < bursts["beats"].sum() <= case.beats
    if "read_write" in name:
        assert bursts["beats"][bursts["write"] == 1].sum() * 3 == bursts["beats"].sum()
    else:
        assert not bursts["write"].any()
