"""PageTable and the registers that write it: every lookup is answered with its entry, in turn."""

import random

import pytest

from poblano.config import PAGE_ALIGNMENT, PagingConfig
from poblano.control.page_registers import PageRegisters
from poblano.memory.page_table import PageTable
from tb.common.streams import simulate

PAGING = PagingConfig(slots=4, pages=8)


@pytest.mark.parametrize("ecc", [False, True])
@pytest.mark.parametrize("ports", [1, 3])
def test_lookups(ports, ecc):
    """Several that ask at random, while others' entries are written."""
    rng = random.Random(f"{ports} {ecc}")
    dut = PageTable(PAGING, addr_width=24, ports=ports, ecc=ecc)
    entries = [rng.getrandbits(12) for _ in range(PAGING.entries)]

    async def bench(ctx):
        for index, entry in enumerate(entries):
            ctx.set(dut.write, 1)
            ctx.set(dut.index, index)
            ctx.set(dut.entry, entry)
            await ctx.tick()
        ctx.set(dut.write, 0)
        asked, waits, answers = [None] * ports, [0] * ports, 0
        due = None  # (port, number) that is answered now
        while answers < 400:
            for n, port in enumerate(dut.lookup):
                if asked[n] is None and (due is None or due[0] != n) and rng.random() < 0.6:
                    asked[n] = rng.randrange(PAGING.entries // 2)
                ctx.set(port.valid, asked[n] is not None)
                ctx.set(port.payload, asked[n] or 0)
            changed = PAGING.entries // 2 + rng.randrange(PAGING.entries // 2)  # nobody asks for these
            ctx.set(dut.write, rng.randrange(2))
            ctx.set(dut.index, changed)
            ctx.set(dut.entry, rng.getrandbits(12))
            _, _, answered, answer, *ready = await ctx.tick().sample(
                dut.answered, dut.answer, *(port.ready for port in dut.lookup)
            )
            assert answered == (0 if due is None else 1 << due[0])
            if due is not None:
                assert answer.entry == entries[due[1]] and not answer.failed
                answers += 1
            due = None
            for n in range(ports):
                if asked[n] is not None and ready[n]:
                    assert due is None
                    due, asked[n], waits[n] = (n, asked[n]), None, 0
                elif asked[n] is not None:
                    waits[n] += 1
                    assert waits[n] < ports

    simulate(dut, bench)


def test_registers():
    """Counts by slot, no more than a table has room for; entries with their numbers."""
    dut = PageRegisters(PAGING, addr_width=24)

    async def bench(ctx):
        assert all(ctx.get(count) == 0 for count in dut.limits.counts)
        ctx.set(dut.bytes, 3 * PAGE_ALIGNMENT)
        for index, word, count in ((0, 3, 3), (9, 8, 8), (31, 9, 8), (16, 0xFFFFFFFF, 8), (0, 0, 0)):
            ctx.set(dut.index, index)
            ctx.set(dut.word, word)
            ctx.set(dut.count, 1)
            await ctx.tick()
            ctx.set(dut.count, 0)
            assert ctx.get(dut.limits.counts[index // PAGING.pages]) == count
        assert [ctx.get(count) for count in dut.limits.counts] == [0, 8, 8, 8]
        assert ctx.get(dut.limits.bytes) == 3 * PAGE_ALIGNMENT
        ctx.set(dut.index, 13)
        ctx.set(dut.word, 0xABC)
        ctx.set(dut.entry, 1)
        await ctx.tick()
        ctx.set(dut.entry, 0)
        ctx.set(dut.index, 14)
        write = ctx.get(dut.write)
        assert (write.valid, write.index, write.entry) == (1, 13, 0xABC)
        await ctx.tick()
        assert not ctx.get(dut.write.valid)

    simulate(dut, bench)
