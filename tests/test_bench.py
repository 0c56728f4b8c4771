"""``make bench``: what a bench prints when it passes and when it fails, its seed and its waves."""

import subprocess
import sys

import pytest

from poblano.axi.reader import AXIReader
from poblano.axi.signature import AXIConfig
from poblano.verilog import emit
from tb.common.failure import BenchFailure
from tb.common.probes import probes, visible
from tb.common.runner import HEADERS, run_bench
from tb.common.streams import simulate
from tb.common.stuck import Inside, StuckError
from tests.story import ROOT


def reader():
    config = AXIConfig(addr_width=16, data_width=32)
    return AXIReader(config, word_width=32, depth=16, burst_beats=4, outstanding=2)


def run(testcase, **options):
    return run_bench(
        reader(), name="failing_reader", module="tests.failing_bench", testcase=testcase, **options
    )


def failure(testcase, **options):
    """The lines of the message but for the last two, what the log has, and the command that runs it again."""
    with pytest.raises(BenchFailure) as raised:
        run(testcase, **options)
    *lines, log, again = str(raised.value).splitlines()
    title, path = log.split()
    assert title == "log" and (ROOT / path).is_file()
    return lines, (ROOT / path).read_text(), again


@pytest.mark.slow
def test_seed_is_printed(capsys, monkeypatch):
    assert run("passes") == 1
    assert "bench   failing_reader: tests.failing_bench, seed 1" in capsys.readouterr().out
    monkeypatch.setenv("SEED", "77")
    assert run("passes") == 1
    assert "seed 77" in capsys.readouterr().out
    monkeypatch.setenv("SEED", "one")
    with pytest.raises(ValueError, match="SEED must be a whole number, not 'one'"):
        run("passes")


@pytest.mark.slow
def test_a_failed_test_is_explained():
    lines, log, again = failure("wrong", env={"SEED": "5"}, again="make bench BLOCK=reader")
    assert lines[:4] == [
        "1 of 1 tests of the bench failing_reader failed, seed 5",
        "test    wrong",
        "rule    One and one are two.",
        "broken  they are 2, not 3, with the seed 5",
    ]
    assert any(line.startswith("at      tests/failing_bench.py:") for line in lines)
    assert "a line of the bench" in log and again == "again   make bench BLOCK=reader"


@pytest.mark.slow
def test_what_stands_still_is_named():
    lines, _, again = failure("stuck")
    test = "tests/test_bench.py::test_what_stands_still_is_named"
    assert again == f'again   SEED=1 WAVES=1 .venv/bin/pytest "{test}"'
    assert lines[2] == "rule    Each burst is accepted."
    assert lines[3].startswith("broken  nothing has moved for ")
    told = [line.strip() for line in lines[4:]]
    assert told[0].startswith("offered and not taken: axi")
    assert told[1] == "failing_reader: 14 of 16 credit left in credit"
    assert told[2] == "failing_reader: 1 bursts in flight"


@pytest.mark.slow
def test_a_simulator_that_ends_early():
    lines, *_ = failure("ends")
    assert lines[0] == "the bench failing_reader did not come to its end, seed 1"
    assert lines[1] == "broken  the simulator ended without results:"


def test_probes():
    verilog = emit(reader(), "failing_reader")
    assert probes(verilog, "failing_reader") == {
        "credit": ("failing_reader", "left"),
        "in_flight": ("failing_reader", "level"),
        "words": ("failing_reader", "level"),
    }
    assert 'public_flat_rd -module "poblano_credit" -var "left"' in visible(verilog).splitlines()


def test_missing_credit_is_named():
    inside = Inside({"a.credit": (3, 4), "b.credit": (3, 4)}, {"a.words": 0, "b.words": 1})
    inside.kinds = dict.fromkeys((*inside.credits, *inside.queues), "reader")
    (told,) = inside.missing()
    assert told.startswith("a (reader): 1 of its credit are lost: 3 of 4 are left, with no burst in flight")
    with pytest.raises(StuckError, match="1 of its credit are lost"):
        inside.check_idle()
    assert (
        Inside({"credit": (5, 4)}, {"words": 0}, {"credit": "reader"})
        .missing()[0]
        .startswith("reader: credit was made: 5 of 4")
    )


def test_a_block_in_amaranths_simulator_that_stands_still():
    dut = reader()

    async def bench(ctx):
        ctx.set(dut.cmd.payload, {"addr": 0, "row_bytes": 8, "stride": 0, "rows": 1})
        ctx.set(dut.cmd.valid, 1)
        await ctx.tick().until(dut.cmd.ready)
        ctx.set(dut.cmd.valid, 0)
        await ctx.tick().until(dut.o.valid)

    with pytest.raises(StuckError, match="moved for 300 cycles\noffered and not taken: axi__ar") as raised:
        simulate(dut, bench, cycles=300)
    assert "AXIReader: 14 of 16 credit left in credit" in str(raised.value)


def command(*arguments):
    """What ``make bench`` runs: exit code, standard output and standard error."""
    words = [*f"{sys.executable} -m tb.bench".split(), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


def test_list():
    code, out, _ = command()
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()[2:] if not line.startswith(" ")]
    assert names[:3] == ["vector", "matmul", "memory"] and len(names) == out.count(" CONFIG=")
    assert "CONFIG=narrow|least|" in out


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("vectr",), "there is no block 'vectr'; vector is near; there are vector, matmul, "),
        (("vector", "dsk"), "there is no configuration of vector 'dsk'; desk is near; there are nano, "),
        (("vector", "--seed", "x"), "SEED must be a whole number, not 'x'"),
    ],
)
def test_wrong_names(arguments, message):
    code, out, err = command(*arguments)
    assert code == 2 and not out
    assert err.startswith(f"bench: {message}") and err.count("\n") == 1


def test_waves_need_headers(monkeypatch):
    monkeypatch.setitem(HEADERS, "no-such-header.h", "libnone-dev")
    with pytest.raises(BenchFailure, match="waves need a header that is missing: apt-get install .*libnone"):
        run("passes", waves=True)
