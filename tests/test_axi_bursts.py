"""Bursts against a reference: no burst crosses 4 KiB, rows and transfers follow each other."""

import random

import pytest

from poblano.axi.bursts import Bursts
from tb.common.streams import simulate


@pytest.mark.parametrize("width,beats", [(32, 1), (64, 8), (256, 16), (256, 128)])
def test_bursts(width, beats):
    dut = Bursts(addr_width=20, data_width=width, burst_beats=beats)
    rng = random.Random(width + beats)
    size = width // 8

    def reference(addr, row_bytes, stride, rows):
        for r in range(rows):
            at, left = (addr + r * stride) % (1 << 20), max(1, row_bytes // size)
            narrow = (1 << row_bytes) - 1 << at % size if row_bytes < size else (1 << size) - 1
            while left:
                n = min(left, beats - at // size % beats)
                left -= n
                yield at // size * size, n - 1, narrow, r == rows - 1 and not left
                at += n * size

    transfers = []
    for _ in range(25):
        granule = rng.choice([size, size, size] + [1 << b for b in range(1, size.bit_length() - 1)])
        row_bytes = granule if granule < size else size * rng.choice([1, 2, 5, 40, beats])
        rows = rng.choice([1, 2, 4])
        stride = granule * rng.randrange(200)
        addr = rng.randrange((1 << 20) // granule - 4 * 200 - 4096) * granule
        transfers.append((addr, row_bytes, stride, rows))
    expected = [burst for t in transfers for burst in reference(*t)]
    assert all(a // 4096 == (a + n * size) // 4096 for a, n, _, _ in expected)

    async def feed(ctx):
        for t in transfers:
            ctx.set(dut.cmd.payload, dict(zip(("addr", "row_bytes", "stride", "rows"), t)))
            ctx.set(dut.cmd.valid, 1)
            await ctx.tick().until(dut.cmd.ready)
            ctx.set(dut.cmd.valid, 0)
            await ctx.tick().repeat(rng.choice([1, 1, 5]))

    async def check(ctx):
        for n, burst in enumerate(expected):
            while rng.random() < 0.2:
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            ctx.set(dut.o.ready, 0)
            assert (payload.addr, payload.len, payload.strb, payload.last) == burst, n

    simulate(dut, feed, check)


def test_bad_burst_is_quoted():
    with pytest.raises(ValueError, match="4096 bytes, not 256"):
        Bursts(addr_width=20, data_width=256, burst_beats=256)
