"""The master that checks DRAM controllers, with a stand-in that makes errors; bursts that it is given."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poblano_host.sim.controller import SimulatedController, Stalls
from poblano_host.sim.errors import SimulationError
from poblano_host.sim.traffic import BURST, merged, random_bursts, random_chunks, sequential
from tests.dram_configs import CONFIGS

CONFIG = replace(CONFIGS["SDR-100"], rows=64)
GOOD, RESP, LAST, ID, UNSTABLE, DATA, WITHDRAWN, EXTRA, NEVER, EARLY = range(10)


def controller():
    verilog = (Path(__file__).parent / "sim_dram.v").read_text()
    return SimulatedController(CONFIG, verilog=verilog)


def bursts(*listed):
    array = np.zeros(len(listed), BURST)
    for burst, values in zip(array, listed):
        for name, value in dict(beats=4, **values).items() if "beats" not in values else values.items():
            burst[name] = value
    return array


def test_good():
    sim = controller()
    counts = sim.run(bursts(dict(id=GOOD), dict(id=10, address=64), dict(id=11, address=64, beats=7)))
    assert (counts.beats_read, counts.bursts_read, counts.beats_written) == (15, 3, 0)
    assert counts.longest_read == 7 and counts.total_read == 4 + 4 + 7
    counts = sim.run(bursts(dict(address=256, write=1), dict(address=320, write=1, beats=1)))
    assert (counts.beats_written, counts.bursts_written, counts.longest_write) == (5, 2, 5)
    with pytest.raises(SimulationError, match="does not hold what was written"):
        sim.drain()
    assert sim.commands == dict.fromkeys(("ACT", "PRE", "REFAB", "REFPB", "RD", "WR"), 0)
    sim.close()
    sim.close()


@pytest.mark.parametrize(
    "burst, text",
    [
        (dict(id=RESP), "read of 4 beats at 0x0, id 1, beat 0: an error response"),
        (dict(id=LAST), "read of 4 beats at 0x0, id 2, beat 0: RLAST in the wrong beat"),
        (dict(id=ID), "read data with id 0 for no read"),
        (dict(id=DATA), "read of 4 beats at 0x0, id 5, beat 0: other data than were written"),
        (dict(id=UNSTABLE), "R changed before it was taken"),
        (dict(id=WITHDRAWN), "R changed before it was taken"),
        (dict(id=EXTRA), "read of 4 beats at 0x0, id 7, beat 3: RLAST in the wrong beat"),
        (dict(id=NEVER), "no end after 300 cycles"),
        (dict(write=1, id=RESP), "write of 4 beats at 0x0, id 1: response 2"),
        (dict(write=1, id=ID), "a response with id 0 for no complete write"),
        (dict(write=1, id=EARLY), "a response with id 9 for no complete write"),
    ],
)
def test_errors(burst, text):
    sim = controller()
    unstable = text.startswith("R changed")
    with pytest.raises(SimulationError, match=text):
        sim.run(bursts(*[burst] * 8), stalls=Stalls(read=0.5 if unstable else 0.0), max_cycles=300)


def test_what_was_written_is_expected():
    """The stand-in loses written data, which is found where they are read, after the write; also changes of
    the memory that the master does not know of."""
    sim = controller()
    sim.run(bursts(dict(write=1, address=64, beats=1)))
    sim.run(bursts(dict(address=68)))
    with pytest.raises(SimulationError, match="beat 1: other data than were written"):
        sim.run(bursts(dict(address=60)))
    sim = controller()
    with pytest.raises(SimulationError, match="read of 1 beats at 0x80, id 10, beat 0"):
        sim.run(bursts(dict(write=1, address=124), dict(address=64), dict(address=128, id=10, beats=1)))
    sim = controller()
    sim.load(np.arange(8, dtype=np.uint8))
    assert sim.memory[:9].tolist() == [*range(8), 0]
    with pytest.raises(SimulationError, match="beat 0: other data"):
        sim.run(bursts({}))


def test_order():
    """How bursts are offered: at the earliest, so many outstanding, so far apart; stalls by the seed."""
    sim = controller()
    reads = [dict(address=64 * n) for n in range(10)]
    assert sim.run(bursts(*reads)).cycles == 50
    assert sim.run(bursts(*reads[:9], dict(earliest=500))).cycles == 505
    both = [dict(address=1024 + 64 * n, write=n % 2) for n in range(20)]
    writes_first = sim.run(bursts(*[dict(write=1, address=4096)] * 10, *reads), drift=1)
    alone = sim.run(bursts(*both))
    together = sim.run(bursts(*both), drift=1)
    assert alone.cycles < together.cycles < writes_first.cycles
    stalled = lambda seed: sim.run(bursts(*both), seed=seed, stalls=Stalls(read=0.5, write=0.5)).cycles
    assert stalled(1) == stalled(1) != stalled(2)
    assert stalled(1) > alone.cycles


def test_traffic():
    stream = sequential(8192, 8192, beat=16, id=3)
    assert stream["address"].tolist() == [8192, 12288] and (stream["beats"] == 256).all()
    assert (sequential(0, 4096, beat=4)["beats"] == 256).all()
    assert len(sequential(0, 4096, beat=4)) == 4
    pair = merged(stream, sequential(0, 8192, beat=16, write=True))
    assert pair["write"].tolist() == [0, 1, 0, 1] and pair["id"].tolist() == [3, 0, 3, 0]
    rng = np.random.default_rng(1)
    chunks = random_chunks(rng, 1000, size=256, beat=32, memory_bytes=1 << 20)
    assert not (chunks["address"] % 256).any() and chunks["address"].max() < 1 << 20
    assert set(chunks["id"]) == set(range(16)) and (chunks["beats"] == 8).all()
    assert len(random_chunks(rng, 10, size=4096, beat=4, memory_bytes=1 << 20)) == 40
    for beat in (4, 32):
        random = random_bursts(rng, 2000, beat=beat, memory_bytes=1 << 20, idle=0.1)
        last = random["address"] + random["beats"].astype(np.uint64) * np.uint64(beat) - np.uint64(1)
        assert not (random["address"] // 4096 != last // 4096).any() and last.max() < 1 << 20
        assert not (random["address"] % beat).any() and random["beats"].min() == 1
        assert 0.3 < random["write"].mean() < 0.5 and (np.diff(random["earliest"]) >= 0).all()
