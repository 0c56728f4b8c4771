"""The checker of a DRAM's commands: each of its rules, and random commands that are as early as is legal."""

from dataclasses import replace

import numpy as np
import pytest

from poblano_host.sim.dram import SimulatedDram
from poblano_host.sim.dram_rules import COMMANDS, KINDS, dram_rules, dram_times
from tests.dram_commands import COLUMN, stream
from tests.dram_configs import CONFIGS

HBM3 = CONFIGS["HBM3-6.4"]
NEVER_FIRST = {
    "HBM3-6.4": {"rc", "ccd_s"},
    "HBM3E-9.6": {"rc", "ccd_s"},
    "HBM2E-3.2": {"rc", "ccd_s", "faw"},
    "DDR3-1600": {"rc", "ccd_s", "ccd_l", "rrd_s", "faw", "wtr_s"},
    "SDR-100": {"rc", "ccd_s", "ccd_l", "rrd_s", "faw"},
}
"""Times that no commands miss by a cycle without missing another: rc is at most ras and rp in whole cycles, a
burst takes ccd_s, four rrd are faw, and without groups there are no other ones."""


def found(config, *commands, **checked):
    dram = SimulatedDram(config, checked=checked)
    dram.run(stream(*commands))
    return dram.violations


def rules(config):
    """(name, first, second, scope, window, clocks) of each rule."""
    timing = config.timing
    table = dram_rules(dram_times(config), burst_clocks=timing.burst_clocks, bank_refresh=timing.bank_refresh)
    return [(name.decode(), KINDS[a], KINDS[b], *rest) for name, a, b, *rest in table.tolist()]


def phase(config, kind):
    return config.timing.column_phase if kind in COLUMN else config.timing.row_phase


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_rule(kind):
    """Two commands a cycle too near break the rule that is about them, and no rule of that name if they are
    as far apart as it says."""
    config, tried = CONFIGS[kind], 0
    ratio, groups, banks = config.timing.ratio, config.timing.groups, config.timing.banks
    for name, first, second, scope, window, clocks in rules(config):
        if window > 1:
            continue
        offset = phase(config, first) - phase(config, second)
        needed = max(0, -(-(clocks + offset) // ratio))
        places = {1: (0, 0), 2: (0, banks - 1), 4: (groups - 1, 0)}
        for bit, place in places.items():
            if not scope & bit or bit == 4 and groups == 1:
                continue
            at = lambda distance: ((1000, first, 0, 0), (1000 + distance, second, *place))
            assert name not in found(config, *at(needed)).counts, (name, first, second, bit)
            shared = config.timing.shared_bus and not offset  # never two commands at once
            if needed > (1 if shared or (first in COLUMN) == (second in COLUMN) else 0):
                violations = found(config, *at(needed - 1))
                short = clocks + offset - (needed - 1) * ratio
                assert violations.counts.get(name), (name, first, second, bit)
                place_of = lambda kind, group, bank: kind if kind == "REFAB" else f"{kind} {group} {bank}"
                start = 1000 * ratio
                text = (
                    f"{name}: {place_of(first, 0, 0)} at clock {start + phase(config, first)}, "
                    f"{place_of(second, *place)} at clock "
                    f"{start + (needed - 1) * ratio + phase(config, second)}: "
                    f"{clocks - short} clocks, {clocks} needed, {short} short"
                )
                assert second == "REFAB" or text in violations.texts, (text, violations.texts)
                tried += 1
            # The same distance to banks that the rule is not about.
            for other, elsewhere in places.items():
                if not scope & other and not (other == 4 and groups == 1) and "REFAB" not in (first, second):
                    near = found(config, (1000, first, 0, 0), (1000 + max(1, needed - 1), second, *elsewhere))
                    about = {n for n, a, b, s, *_ in rules(config) if (a, b) == (first, second) and s & other}
                    assert name in about or name not in near.counts
    assert tried >= 15


@pytest.mark.parametrize("kind", CONFIGS)
def test_four_activations(kind):
    config = CONFIGS[kind]
    ratio, step = config.timing.ratio, 20
    banks = [(n % config.timing.groups, n // config.timing.groups) for n in range(4)]
    acts = [(1000 + step * n, "ACT", *bank) for n, bank in enumerate(banks)]
    fifth = lambda cycle, faw: found(config, *acts, (cycle, "ACT", 0, 3), faw=faw)
    last = 1000 + 3 * step
    assert "faw" not in fifth(last + step, 4 * step * ratio).counts
    violations = fifth(last + step, 4 * step * ratio + 3)
    assert violations.counts["faw"] == 1
    assert any("the fourth ACT before" in text and "3 short" in text for text in violations.texts)


def test_behind_another_command():
    """A precharge too soon after the activation is found, though a read is between."""
    t = dram_times(HBM3)
    read = -(-t["rcd_read"] // 2)
    violations = found(HBM3, (10, "ACT", 1, 2), (10 + read, "RD", 1, 2), (10 + read + 5, "PRE", 1, 2))
    assert set(violations.counts) == {"ras"}


@pytest.mark.parametrize(
    "commands, text",
    [
        ([(0, "RD", 1, 2)], "state: RD 1 2 at clock 0: the bank has no open row"),
        ([(0, "WR", 1, 2)], "state: WR 1 2 at clock 0: the bank has no open row"),
        ([(0, "ACT", 1, 2), (90, "ACT", 1, 2)], "state: ACT 1 2 at clock 180: the bank has an open row"),
        ([(0, "ACT", 1, 2), (90, "REFAB", 0, 0)], "state: REFAB at clock 180: a bank has an open row"),
        ([(0, "ACT", 1, 2), (90, "REFPB", 1, 2)], "state: REFPB 1 2 at clock 180: the bank has an open row"),
        ([(0, "ACT", 1, 2), (90, "PREA", 0, 0), (150, "RD", 1, 2)], "the bank has no open row"),
    ],
)
def test_states(commands, text):
    violations = found(HBM3, *commands)
    assert violations.counts == {"state": 1}
    assert text in violations.texts[0]


def test_legal_states():
    violations = found(
        HBM3,
        (0, "PREA", 0, 0),
        (100, "ACT", 1, 2),
        (100, "PRE", 3, 3),
        (190, "REFPB", 1, 1),
        (400, "PREA", 0, 0),
        (500, "REFAB", 0, 0),
        (900, "ACT", 1, 2),
    )
    assert not violations, violations


def test_buses():
    """Data of reads and writes meet on the pins; commands meet on the pins of a shared bus."""
    relaxed = dict.fromkeys(("ccd_s", "ccd_l", "rtw", "rcd_read", "rcd_write", "rrd_s", "rrd_l", "faw"), 0)
    ddr3 = CONFIGS["DDR3-1600"]  # a burst takes the whole cycle; reads are 3 clocks slower than writes
    opened = [(0, "ACT", 0, 0)]
    assert not found(ddr3, *opened, (20, "RD", 0, 0), (21, "RD", 0, 0), (24, "WR", 0, 0), **relaxed)
    violations = found(ddr3, *opened, (20, "RD", 0, 0), (21, "WR", 0, 0), **relaxed)
    assert violations.counts == {"data bus": 1}
    sdr = CONFIGS["SDR-100"]
    violations = found(sdr, *opened, (20, "RD", 0, 0), (21, "RD", 0, 0), **relaxed)
    assert violations.counts == {"data bus": 1}
    violations = found(sdr, *opened, (20, "RD", 0, 0), (20, "ACT", 0, 1))
    assert violations.counts == {"command bus": 1}
    assert not found(sdr, *opened, (20, "RD", 0, 0), (21, "ACT", 0, 1))
    assert not found(ddr3, *opened, (20, "RD", 0, 0), (20, "ACT", 0, 1))


def refreshes(config, intervals, *, postponed=8):
    """What is found if all banks are refreshed at ``intervals``, in cycles."""
    refi = config.cycles.interval
    times = np.cumsum([round(each * refi) for each in intervals])
    dram = SimulatedDram(config, checked={"postponed": postponed})
    dram.run(stream(*((cycle, "REFAB", 0, 0) for cycle in times)))
    return dram


@pytest.mark.parametrize(
    "intervals, late",
    [
        ([1] * 20, False),
        ([9] + [0.2] * 8 + [1] * 10, False),
        ([9.01], True),
        ([1, 9.01], True),
        ([9, 1.01], True),  # the average is too long
        ([1, 2, 2, 2, 2, 2, 2, 2, 2, 1], False),
        ([1, 2, 2, 2, 2, 2, 2, 2, 2, 2], True),
        ([0.2] * 60 + [9] + [0.5] * 4 + [8.9], False),  # eight ahead of time count
        ([0.2] * 60 + [9] * 2, False),
        ([0.2] * 60 + [9] * 3, True),
    ],
)
def test_refresh(intervals, late):
    dram = refreshes(HBM3, intervals)
    violations = dram.violations
    assert set(violations.counts) == ({"refi"} if late else set()), violations
    if late:
        assert "allowed" in violations.texts[0]


def test_refresh_at_the_end():
    dram = SimulatedDram(HBM3)
    interval = HBM3.cycles.interval
    dram.run(np.zeros(9 * interval, COMMANDS))
    dram.finish()
    assert not dram.violations
    dram.run(np.zeros(1, COMMANDS))
    dram.finish()
    assert dram.violations.counts == {"refi": 16}
    one = SimulatedDram(HBM3)
    one.run(
        stream(
            *((5 * interval + 700 * n, "REFPB", n % 4, n // 4) for n in range(15)),
            (9 * interval + 9, "PREA", 0, 0),
        )
    )
    one.finish()
    assert one.violations.counts == {"refi": 1}
    assert one.violations.texts[0].startswith("refi: bank 3 3 at clock")


@pytest.mark.parametrize("bank_refresh", [False, True])
@pytest.mark.parametrize("kind", CONFIGS)
def test_random_commands(kind, bank_refresh):
    """A million commands as early as another reading of the rules allows: none breaks one."""
    config = CONFIGS[kind]
    if bank_refresh and not config.timing.bank_refresh:
        pytest.skip("the DRAM has no refresh of one bank")
    dram = SimulatedDram(config)
    dram.random(1_000_000, seed=1, bank_refresh=bank_refresh)
    assert dram.commands > 999_000
    assert not dram.violations, str(dram.violations)


@pytest.mark.parametrize("kind", CONFIGS)
def test_times_a_cycle_short(kind):
    """Commands that are a cycle early in one time only break the rules of that name and no others."""
    config = CONFIGS[kind]
    times = dram_times(config)
    never = set()
    for name, value in times.items():
        if name in ("cl", "cwl", "refi", "postponed") or not value:
            continue
        dram = SimulatedDram(config)
        dram.random(100_000, seed=2, **{name: max(0, value - config.timing.ratio)})
        if not dram.violations:
            never.add(name)
        else:
            assert set(dram.violations.counts) == {name}, str(dram.violations)
    assert never == NEVER_FIRST[kind]


def test_refresh_interval_short():
    dram = SimulatedDram(HBM3, checked={"refi": 400, "postponed": 0})
    dram.random(100_000, seed=3)
    assert set(dram.violations.counts) == {"refi"}


def test_slow_clock():
    """At half the clock the times in nanoseconds are half as many clocks."""
    slow = replace(HBM3, clock_mhz=400)
    assert dram_times(slow)["ras"] == 23 and dram_times(slow)["cl"] == 20
    dram = SimulatedDram(slow)
    dram.random(100_000, seed=4)
    assert not dram.violations
    fast = SimulatedDram(slow, checked=dram_times(HBM3))
    fast.random(100_000, seed=4)
    assert {"ras", "rp", "rtp", "wr"} <= set(fast.violations.counts)


def test_trace(tmp_path):
    path = tmp_path / "trace.txt"
    dram = SimulatedDram(CONFIGS["DDR3-1600"], trace=path)
    dram.run(
        stream(
            (10, "ACT", 0, 5, 4711),
            (12, "ACT", 0, 1, 3),
            (13, "RD", 0, 5, 77),
            (20, "WR", 0, 1, 2),
            (30, "PRE", 0, 5),
            (31, "PREA", 0, 0),
            (40, "REFAB", 0, 0),
            (40, "REFAB", 0, 0),
        )
    )
    dram.close()
    assert path.read_text().splitlines() == [
        "40 ACT 0 5 4711",
        "48 ACT 0 1 3",
        "54 RD 0 5 77",
        "82 WR 0 1 2",
        "120 PRE 0 5",
        "124 PREA",
        "160 REFAB",
    ]
