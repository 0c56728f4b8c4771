"""AXIReorderReader on its own: beats in order of bursts that are answered in any order, errors, flush."""

import random

import pytest

from poblano.axi.reorder_reader import AXIReorderReader
from poblano.axi.signature import AXIConfig
from tb.common.streams import send, simulate
from tests.test_axi_reader import ADDRESS_BITS, beat_at, transfers, words_of


class Memory:
    """Answers the beats of all bursts in flight in any order, those of each burst in order, with pauses; of
    addresses from ``bad`` on with an error. No two bursts in flight have one id."""

    def __init__(self, axi, *, width, rng, stall=0.0, bad=1 << ADDRESS_BITS):
        self.axi, self.bytes, self.rng, self.stall, self.bad = axi, width // 8, rng, stall, bad
        self.bursts, self.flying, self.most, self.swapped = [], {}, 0, 0

    async def run(self, ctx):
        ar, r = self.axi.ar, self.axi.r
        held = None
        while True:
            take = self.rng.random() >= self.stall
            ctx.set(ar.ready, take)
            gives = bool(self.flying) and self.rng.random() >= self.stall
            ctx.set(r.valid, gives)
            if gives:
                number = self.rng.choice(list(self.flying))
                self.swapped += number != next(iter(self.flying))
                address, left = self.flying[number]
                bad = 2 * (address >= self.bad)
                ctx.set(r.payload, {"id": number, "data": beat_at(address), "resp": bad, "last": left == 1})
                self.flying[number] = address + self.bytes, left - 1
                if left == 1:
                    del self.flying[number]
            _, _, valid, burst, ready = await ctx.tick().sample(ar.valid, ar.payload, r.ready)
            assert ready or not gives, "data not accepted"
            now = (burst.id, burst.addr, burst.len) if valid else None
            assert held in (None, now), "an address changed"
            held = None if take else now
            if take and valid:
                assert burst.id not in self.flying, "an id twice"
                self.bursts.append((burst.addr, burst.len + 1))
                self.flying[burst.id] = burst.addr, burst.len + 1
                self.most = max(self.most, len(self.flying))


@pytest.mark.parametrize("width, outstanding, longest", [(32, 4, 16), (32, 1, 8), (16, 8, 4), (32, 2, 1)])
@pytest.mark.parametrize("stall, drain", [(0.0, 0.0), (0.4, 0.2), (0.1, 0.8)])
def test_beats(width, outstanding, longest, stall, drain):
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=width, id_width=3)
    dut = AXIReorderReader(config, burst_beats=longest, outstanding=outstanding)
    rng = random.Random(f"{width} {outstanding} {stall} {drain}")
    todo = transfers(rng, 20, width // 8)
    lengths = [len(words_of(transfer, width // 8, 1)) for transfer in todo]
    expected = [word for transfer in todo for word in words_of(transfer, width // 8, 1)]
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
            assert not error and (not idle or not memory.flying)
            if valid and take:
                got.append(word)
            done += ends
            assert len(got) >= sum(lengths[:done]) - 1  # of a transfer that is done the last beat may wait
            assert got == expected[: len(got)]

    simulate(dut, check, background=[memory.run, send(dut.cmd, todo, rng=rng)])
    assert got == expected
    assert memory.most <= outstanding and (outstanding < 4 or memory.swapped)
    assert max(length for _, length in memory.bursts) <= dut.longest


def test_beat_a_cycle():
    """Without pauses of memory and owner, of transfers that are long."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=32, id_width=2)
    dut = AXIReorderReader(config, burst_beats=16, outstanding=4)
    memory = Memory(dut.axi, width=32, rng=random.Random(2))
    memory.rng.choice = lambda flying: flying[0]  # in order
    got, first = [], None

    async def bench(ctx):
        nonlocal first
        ctx.set(dut.o.ready, 1)
        for cycle in range(300):
            _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                first = cycle if first is None else first
                got.append((cycle, word))

    todo = [{"addr": 256 * n, "row_bytes": 256, "stride": 0, "rows": 1} for n in range(4)]
    simulate(dut, bench, background=[memory.run, send(dut.cmd, todo, rng=random.Random(3))])
    assert [word for _, word in got] == [beat_at(4 * n) for n in range(256)]
    assert [cycle for cycle, _ in got] == list(range(first, first + 256))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("flush", [False, True])
def test_error_and_flush_stop_it(flush, seed):
    """An error is told when all beats before it have come, whenever it came itself; then, or while ``flush``
    is high, no burst begins, nothing comes and nothing is done."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=32, id_width=2)
    dut = AXIReorderReader(config, burst_beats=8, outstanding=4)
    bad = 1 << ADDRESS_BITS if flush else 4 * 20
    memory = Memory(dut.axi, width=32, rng=random.Random(seed), bad=bad, stall=0.2)
    errors = done = 0
    got = []

    async def bench(ctx):
        nonlocal errors, done
        begun = None
        ctx.set(dut.o.ready, 1)
        for cycle in range(200):
            if flush and cycle == 12:
                ctx.set(dut.flush, 1)
            _, _, valid, word, error, ends = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.error, dut.done
            )
            errors, done = errors + error, done + ends
            if valid:
                assert not errors
                got.append(word)
            if begun is None and (errors or flush and cycle > 13):
                begun = len(memory.bursts) + 1  # one may be on its way
        assert len(memory.bursts) <= begun
        assert ctx.get(dut.idle) and not memory.flying

    todo = [{"addr": 32 * n, "row_bytes": 32, "stride": 0, "rows": 1} for n in range(12)]
    simulate(dut, bench, background=[memory.run, send(dut.cmd, todo, rng=random.Random(3))])
    if not flush:
        assert got == [beat_at(4 * n) for n in range(20)] and errors == 1 and done == 2
    assert got == [beat_at(4 * n) for n in range(len(got))] and errors == (not flush)


def test_ids_are_enough():
    with pytest.raises(ValueError, match="ids of 2 bits are too few for 8 bursts"):
        AXIReorderReader(AXIConfig(addr_width=16, data_width=64, id_width=2), burst_beats=8, outstanding=8)
