"""AXIReader on its own: words of transfers in order, room, errors, flush."""

from collections import deque
import random

import pytest

from poblano.axi.reader import AXIReader
from poblano.axi.signature import AXIConfig
from tb.common.streams import send, simulate

ADDRESS_BITS = 16


def beat_at(address):
    """What memory has there: a number that depends on the address alone."""
    return (address * 0x9E3779B1 >> 4) & 0xFFFFFFFF


class Memory:
    """Answers bursts in order, after ``latency`` cycles and with pauses; from ``bad`` on with an error."""

    def __init__(self, axi, *, width, rng, stall=0.0, latency=5, bad=1 << ADDRESS_BITS):
        self.axi, self.bytes, self.rng, self.stall = axi, width // 8, rng, stall
        self.latency, self.bad = latency, bad
        self.bursts, self.flying, self.most = [], 0, 0

    async def run(self, ctx):
        beats, cycle = deque(), 0
        ar, r = self.axi.ar, self.axi.r
        while True:
            take = self.rng.random() >= self.stall
            ctx.set(ar.ready, take)
            gives = bool(beats) and beats[0][0] <= cycle and self.rng.random() >= self.stall
            ctx.set(r.valid, gives)
            if gives:
                _, address, last = beats[0]
                ctx.set(
                    r.payload,
                    {"id": 0, "data": beat_at(address), "resp": 2 * (address >= self.bad), "last": last},
                )
            _, _, valid, burst, ready = await ctx.tick().sample(ar.valid, ar.payload, r.ready)
            if gives:
                assert ready, "data not accepted"
                self.flying -= beats.popleft()[2]
            if take and valid:
                self.bursts.append((burst.addr, burst.len + 1))
                self.flying += 1
                self.most = max(self.most, self.flying)
                for k in range(burst.len + 1):
                    beats.append((cycle + self.latency, burst.addr + k * self.bytes, k == burst.len))
            cycle += 1


def transfers(rng, count, word_bytes):
    """Random transfers of whole words, rows of beats."""
    made = []
    for _ in range(count):
        rows, row = rng.choice([1, 1, 2, 3]), word_bytes * rng.choice([1, 2, 5, 9])
        made.append(
            {
                "addr": rng.randrange(1 << ADDRESS_BITS - 2) // word_bytes * word_bytes,
                "row_bytes": row,
                "stride": row + word_bytes * rng.randrange(4),
                "rows": rows,
            }
        )
    return made


def words_of(transfer, beat_bytes, beats):
    """The words of a transfer, the first beat lowest."""
    addresses = [
        transfer["addr"] + row * transfer["stride"] + at
        for row in range(transfer["rows"])
        for at in range(0, transfer["row_bytes"], beat_bytes)
    ]
    width = 8 * beat_bytes
    values = [beat_at(address) & (1 << width) - 1 for address in addresses]
    return [
        sum(value << width * k for k, value in enumerate(values[at : at + beats]))
        for at in range(0, len(values), beats)
    ]


@pytest.mark.parametrize("width,beats,depth,outstanding", [(32, 1, 4, 2), (32, 4, 4, 4), (16, 2, 64, 4)])
@pytest.mark.parametrize("stall,drain", [(0.0, 0.0), (0.4, 0.2), (0.1, 0.8)])
def test_words(width, beats, depth, outstanding, stall, drain):
    """Each transfer's words come once and in order; all that is asked for has room."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=width)
    dut = AXIReader(config, word_width=width * beats, depth=depth, burst_beats=16, outstanding=outstanding)
    rng = random.Random(f"{width} {beats} {stall} {drain}")
    todo = transfers(rng, 12, width // 8 * beats)
    expected = [word for transfer in todo for word in words_of(transfer, width // 8, beats)]
    memory = Memory(dut.axi, width=width, rng=rng, stall=stall)
    done, got = 0, []

    async def check(ctx):
        nonlocal done
        while len(got) < len(expected) or done < len(todo):
            take = rng.random() >= drain
            ctx.set(dut.o.ready, take)
            _, _, valid, word, ends, error, idle = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.done, dut.error, dut.idle
            )
            assert not error and (not idle or memory.flying == 0)
            done += ends
            if valid and take:
                got.append(word)
            assert len(got) < len(expected) or got == expected

    simulate(dut, check, background=[memory.run, send(dut.cmd, todo, rng=rng)])
    assert got == expected
    assert memory.most <= outstanding
    longest = max(length for _, length in memory.bursts)
    assert longest <= dut.longest and 2 * longest <= depth * beats
    assert all(at // 4096 == (at + (n - 1) * width // 8) // 4096 for at, n in memory.bursts)


@pytest.mark.parametrize("flush", [False, True])
def test_error_and_flush_stop_it(flush):
    """After an error, or while ``flush`` is high, no burst begins, data are dropped, nothing is done."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=32)
    dut = AXIReader(config, word_width=32, depth=64, burst_beats=8, outstanding=4)
    memory = Memory(dut.axi, width=32, rng=random.Random(1), bad=1 << ADDRESS_BITS if flush else 4 * 20)
    errors = done = 0

    async def bench(ctx):
        nonlocal errors, done
        ctx.set(dut.cmd.payload, {"addr": 0, "row_bytes": 400, "stride": 0, "rows": 1})
        ctx.set(dut.cmd.valid, 1)
        begun = None
        for cycle in range(120):
            if flush and cycle == 12:
                ctx.set(dut.flush, 1)
            errors += ctx.get(dut.error)
            done += ctx.get(dut.done)
            if begun is None and (errors or flush and cycle > 13):
                begun = len(memory.bursts) + 1  # one may be on its way
            await ctx.tick()
        assert len(memory.bursts) <= begun
        assert ctx.get(dut.idle) and memory.flying == 0

    simulate(dut, bench, background=[memory.run])
    assert errors == (not flush) and not done


def test_sizes_are_quoted():
    config = AXIConfig(addr_width=16, data_width=64)
    with pytest.raises(ValueError, match="word_width must be a multiple of data_width 64, not 96"):
        AXIReader(config, word_width=96, depth=4, burst_beats=8, outstanding=2)
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        AXIReader(config, word_width=64, depth=1, burst_beats=8, outstanding=2)
