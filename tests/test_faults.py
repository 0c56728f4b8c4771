"""Fault campaigns: what becomes of known faults, of random ones on a small chip, and the figures."""

from collections import Counter
from dataclasses import replace
import json

import pytest

from poblano.config import preset
from poblano_host.faults.campaign import Campaign
from poblano_host.faults.faults import BeatError, Flip, QueueReset, Reset, Silence
from poblano_host.faults.outcome import CLASSES, Outcome
from poblano_host.faults.places import Place, Places, memory_places
from poblano_host.faults.summary import Share, Summary, interval
from poblano_host.models.operators import Norm
from poblano_host.sim.faults import Channel, Response
from tests.models_tiny import tiny_model

PROMPT = [3, 14, 15]


@pytest.fixture(scope="module")
def campaign():
    found = Campaign(tiny_model(layers=1), replace(preset("nano"), ecc=False, clear_at_reset=None), PROMPT)
    yield found
    found.close()


def find(campaign, kind, name, word=0, bits=(0,), cycle=0):
    """A flip of the register, memory or region called ``name``."""
    place, *_ = [place for place in campaign.places[kind] if place.name == name]
    return Flip(cycle, place, word, bits)


def test_known(campaign):
    """Faults of which one knows what they do."""
    half, memory = campaign.golden.cycles // 2, campaign.session.compiled.memory
    (norm,) = [node for node in memory.graph.epilogue if isinstance(node, Norm)]
    gain = memory.gain(norm)
    faults = [
        find(campaign, "sram", "tile0.memories.vmem.bank3.content", 1023),  # not used
        Flip(0, Place("dram", "weights", "gain", 64, 1, address=gain, bytes=8), 0, (31,)),  # a sign
        find(campaign, "flip-flop", "processor.enable", cycle=half),
        BeatError(0, False, 100, Response.SLVERR, 0),
        BeatError(0, True, 0, Response.DECERR, 0),
        Silence(half, Channel.R, None, 0),
        Silence(half, Channel.R, 5000, 0),
        Reset(half),
        QueueReset(half),
    ]
    seen = []
    found = {outcome.where: outcome for outcome in campaign.run(faults, jobs=2, progress=seen.append)}
    assert len(found) == len(faults) == seen[-1]
    results = [found[fault.where] for fault in faults]
    unused, weight, enable, read, write, silent, slow, reset, queue = results
    assert {unused.result, slow.result, reset.result, queue.result} == {"masked"}
    assert weight.result == "silent" and weight.block == "weights"
    assert enable.result == "hang" and enable.block == "processor" and enable.next
    assert read.result == "detected" and read.code in ("AXI_READ", "FETCH") and read.retried and read.next
    assert (write.result, write.code, write.unit, write.next) == ("detected", "AXI_WRITE", "dma", True)
    assert write.label.startswith("layer0.")
    assert silent.result in ("hang", "detected") and silent.next
    assert reset.next and queue.next and not reset.wrong


@pytest.mark.slow
def test_random(campaign):
    """Each kind, the same again from the same seed; a chip that was reset or failed goes on bit-exact."""
    for kind in campaign.kinds:
        faults = campaign.faults(kind, 6, 3)
        assert [f.where for f in faults] == [f.where for f in campaign.faults(kind, 6, 3)]
        assert kind != "sram" or [f.where for f in faults] != [f.where for f in campaign.faults(kind, 6, 4)]
        outcomes = campaign.run(faults, jobs=2)
        assert len(outcomes) == 6 and {outcome.kind for outcome in outcomes} == {kind}
        assert all(outcome.next is not False for outcome in outcomes)
    several = campaign.faults("sram", 20, 1, bits=3)
    assert all(len(set(fault.bits)) == 3 and max(fault.bits) < fault.place.width for fault in several)


def test_places():
    """Each bit is one number; a home's or a tile's number is no block of its own."""
    places = Places(
        [Place("sram", "a", "x", 3, 2), Place("sram", "b", "y", 5, 1), Place("sram", "a", "z", 1, 1)]
    )
    assert places.bits == 12 and places.blocks() == {"a": 7, "b": 5}
    found = [(place.name, word, bit) for place, word, bit in map(places.at, range(12))]
    assert found[:7] == [*(("x", word, bit) for word in range(2) for bit in range(3)), ("y", 0, 0)]
    assert len(set(found)) == 12 and found[-1] == ("z", 0, 0)
    (weights,) = memory_places([("weights", 4, 100), ("data", 100, 104)], preset("nano"))
    assert (weights.address, weights.words, weights.width, weights.bytes) == (8, 11, 64, 8)
    config = replace(preset("desk"), ecc=True, clear_at_reset=None)
    (weights,) = memory_places([("weights", 0, 64)], config)
    assert (weights.words, weights.width, weights.bytes) == (2, 256 + 16, 32)


def test_summary():
    """Shares by kind and block; the interval holds the share, and is narrower with more faults."""
    outcomes = [
        Outcome("flip-flop", block, "", 0, result, next=after)
        for block, result, after in (
            ("a", "silent", None),
            ("a", "masked", None),
            ("b", "masked", None),
            ("b", "detected", False),
            ("b", "hang", True),
        )
    ]
    assert Outcome.decode_all(b"".join(outcome.encode() for outcome in outcomes)) == outcomes
    assert [outcome.wrong for outcome in outcomes] == [True, False, False, True, True]
    summary = Summary(outcomes, {"flip-flop": {"a": 10, "b": 30}})
    (kind,) = summary.kinds()
    assert (kind.bits, kind.faults, kind.silent_share, kind.wrong_after) == (40, 5, 0.2, 1)
    assert [(part.name, part.bits, part.silent_share) for part in summary.parts("flip-flop")] == [
        ("a", 10, 0.5),
        ("b", 30, 0.0),
    ]
    assert kind.row()[:3] == ["flip-flop", "40", "5"] and kind.row()[3:8] == ["2", "0", "1", "1", "1"]
    assert len(json.loads(json.dumps(summary.as_json()))["faults"]) == 3
    low, high = interval(5, 100)
    assert low < 0.05 < high and interval(50, 1000)[0] > low and interval(0, 10)[0] == 0 == interval(0, 0)[0]
    assert interval(10, 10)[1] == 1 and Share("x", None, Counter(), 0).silent_share == 0
    assert tuple(CLASSES) == ("masked", "corrected", "detected", "hang", "silent")


@pytest.mark.slow
def test_protected():
    """With check bits: one bit is corrected, two in a word that the next command reads are an error, of which
    the runtime makes the same bits."""
    config = replace(preset("nano"), ecc=True, clear_at_reset=None)
    campaign = Campaign(tiny_model(layers=1), config, PROMPT)
    one = campaign.run(campaign.faults("fifo", 30, 1) + campaign.faults("sram", 10, 1), jobs=2)
    assert {outcome.result for outcome in one} == {"masked", "corrected"}
    stored = "tile0.memories.vmem.bank1.array.content"  # a word that the program stores and does not write
    two = [find(campaign, "sram", stored, 71, (8, 35)), *campaign.faults("fifo", 20, 2, bits=2)]
    two = campaign.run(two, jobs=2)
    assert not any(outcome.wrong for outcome in two)
    (ecc,) = [outcome for outcome in two if outcome.kind == "sram"]
    assert (ecc.result, ecc.code, ecc.unit, ecc.retried) == ("detected", "ECC", "dma", True)
    assert ecc.label == "output.store"
    assert {o.code for o in two if o.result == "detected"} >= {"ECC", "FETCH"}
    campaign.close()


@pytest.mark.slow
def test_command(poblano, tmp_path):
    code, out, err = poblano("faults", "--preset", "nano", "--kinds", "sram,nothing")
    assert code == 2 and "unknown kind of faults 'nothing'; there are dram, sram, fifo, flip-flop" in err
    figures = tmp_path / "faults.json"
    code, out, err = poblano(
        "faults", "--preset", "nano", "--no-ecc", "--flips", 9, "--kinds", "fifo,flip-flop", "--json", figures
    )
    assert code == 0, err
    assert "poblano-1m on nano, without ECC" in out and "Flip-flops have no protection" in out
    found = json.loads(figures.read_text())
    assert found["kinds"]["fifo"]["faults"] == 5 and found["kinds"]["flip-flop"]["faults"] == 4
    assert found["step"]["cycles"] > 100_000 and found["seed"] == 0 and found["ecc"] is False
