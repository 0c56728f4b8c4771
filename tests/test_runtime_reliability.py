"""What a run says of corrected bits, scrubs and steps run once more."""

from types import SimpleNamespace

from poblano.isa.commands import ErrorCode
from poblano_host.runtime.errors import ChipError
from poblano_host.runtime.reliability import reliability, reliability_lines
from poblano_host.runtime.report import Run
from poblano_host.runtime.result import RunResult


def counts(corrected=0, failed=0, scrubs=0):
    return SimpleNamespace(corrected=corrected, failed=failed, scrubs=scrubs)


def run(retried=None, **ecc):
    return Run("decode", 1, None, RunResult(commands=1, seconds=0.1, ecc=ecc), retried)


def test_nothing():
    assert reliability_lines([run(), run()]) == []
    assert reliability([]) == dict(corrected={}, failed={}, scrubs=0, retried=[])


def test_lines():
    error = ChipError(ErrorCode.ECC, 812, 1, bytes(64), label="layer3.ffn_down")
    runs = [
        run(vmem=counts(2), dram=counts(1, scrubs=1)),
        run(),
        run(error, vmem=counts(1000), fetch=counts(failed=1)),
    ]
    found = reliability(runs)
    assert found["corrected"] == dict(vmem=1002, dram=1) and found["failed"] == dict(fetch=1)
    assert found["scrubs"] == 1 and len(found["retried"]) == 1
    lines = reliability_lines(runs)
    assert lines[:3] == [
        "1,003 words with a flipped bit, corrected: vmem 1,002, dram 1",
        "1 words that failed: fetch 1",
        "1 bursts of memory written again by the scrubber",
    ]
    assert "at command 812 (tile0.stream, layer3.ffn_down)" in lines[3]
