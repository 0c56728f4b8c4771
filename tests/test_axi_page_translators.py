"""AXIReadTranslator and AXIWriteTranslator: bursts of the window go where the table says, others where they
did, in order and with pauses everywhere; behind an entry that is broken nothing is read or written."""

from dataclasses import replace
import random

import pytest

from poblano.axi.page_translators import AXIReadTranslator, AXIWriteTranslator
from poblano.axi.signature import AXIConfig
from poblano.config import PAGE_ALIGNMENT, PagingConfig
from tb.common.axi import ReadMaster, ReadMemory, WriteMaster, WriteMemory, beat_at
from tb.common.streams import simulate

BEAT = 4
PAGING = PagingConfig(slots=2, pages=4)
VIRTUAL = AXIConfig(addr_width=40, data_width=8 * BEAT, id_width=2)
PHYSICAL = AXIConfig(addr_width=20, data_width=8 * BEAT, id_width=2)
SIZES = VIRTUAL, PHYSICAL, PAGING
HOMES, HOME_BYTES = replace(PAGING, homes=2), 1 << 19


class Table:
    """Answers lookups when it likes; ``entries`` are the pages' addresses."""

    def __init__(self, dut, entries, rng, stall=0.0, failed=(), paging=PAGING):
        self.dut, self.entries, self.rng, self.stall, self.failed = dut, entries, rng, stall, failed
        self.paging = paging
        self.lookups = []

    async def run(self, ctx):
        dut, asked = self.dut, None
        while True:
            ready = asked is None and self.rng.random() >= self.stall
            answers = asked is not None and self.rng.random() >= self.stall
            ctx.set(dut.lookup.ready, ready)
            ctx.set(dut.answered, answers)
            if answers:
                entry = {"entry": self.entries[asked] // PAGE_ALIGNMENT, "failed": asked in self.failed}
                ctx.set(dut.answer, entry)
                asked = None
            *_, valid, number = await ctx.tick().sample(dut.lookup.valid, dut.lookup.payload)
            if valid and ready:
                asked = number
                self.lookups.append(number)

    def place(self, address):
        """Where an address is in memory."""
        if address >> 39 == 0:
            return address
        number, offset = divmod(address - (1 << 39), self.paging.stride)
        home, offset = divmod(offset, self.paging.stride // self.paging.homes)
        return home * HOME_BYTES + self.entries[number] + offset


def some_bursts(rng, paging=PAGING):
    """Bursts inside of 4 KiB, of memory and of pages of 12 KiB."""
    found = []
    for _ in range(150):
        inside = rng.randrange(0, PAGE_ALIGNMENT, 64) + PAGE_ALIGNMENT * rng.randrange(3)
        slot, page = rng.randrange(PAGING.slots), rng.choice((0, 0, 1, 2, 3))
        home = rng.randrange(paging.homes)
        address = inside + home * HOME_BYTES
        if rng.random() >= 0.3:
            address = paging.address(slot, page, inside, home)
        found += [(address, rng.randint(1, 16))] * rng.choice((1, 1, 3))
    return found


@pytest.mark.parametrize("stall, memory_stall, table_stall", [(0, 0, 0), (0.2, 0.6, 0.3), (0.7, 0.1, 0.8)])
@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("paging", [PAGING, HOMES], ids=["one home", "two homes"])
def test_bursts(paging, writes, stall, memory_stall, table_stall):
    rng = random.Random(f"{writes} {stall}")
    bursts = some_bursts(rng, paging)
    home_bits = 19 if paging.homes > 1 else None
    kind = AXIWriteTranslator if writes else AXIReadTranslator
    dut = kind(VIRTUAL, PHYSICAL, paging, home_bits=home_bits)
    frames = rng.sample(range(4, 40 if home_bits else 80), paging.entries)
    table = Table(dut, [3 * PAGE_ALIGNMENT * n for n in frames], rng, table_stall, paging=paging)
    options = dict(beat_bytes=BEAT, rng=rng)
    if writes:
        master = WriteMaster(dut.i, bursts, ids=4, stall=stall, **options)
        memory = WriteMemory(dut.o, has=lambda address: True, stall=memory_stall, **options)
    else:
        master = ReadMaster(dut.i, bursts, ids=4, stall=stall, place=table.place, **options)
        memory = ReadMemory(dut.o, has=lambda address: True, stall=memory_stall, **options)

    async def bench(ctx):
        while not master.done:
            await ctx.tick()

    simulate(dut, bench, background=[memory.run, master.run, table.run])
    assert memory.bursts == [table.place(at) for at, _ in bursts]
    numbers = [(at - (1 << 39)) // PAGING.stride for at, _ in bursts if at >> 39]
    changes = [n for n, before in zip(numbers, [None, *numbers]) if n != before]
    assert table.lookups == changes  # once for each change of page
    if writes:
        places = {at + BEAT * k for at, n in bursts for k in range(n)}
        for at in places:
            # Of two bursts at one place the last one's data stay: they are the same.
            assert memory.written[table.place(at)] == beat_at(at)


def test_forgets():
    """When an entry has changed the next burst goes where it says then."""
    dut = AXIReadTranslator(*SIZES)
    table = Table(dut, [PAGE_ALIGNMENT * n for n in range(1, 9)], random.Random(1))

    async def bench(ctx):
        seen = []
        ctx.set(dut.o.ar.ready, 1)
        for entry in (PAGE_ALIGNMENT, 5 * PAGE_ALIGNMENT):
            table.entries[0] = entry
            ctx.set(dut.forget, 1)
            await ctx.tick()
            ctx.set(dut.forget, 0)
            ctx.set(dut.i.ar.payload, {"id": 0, "addr": PAGING.address(0, 0, 64), "len": 0})
            ctx.set(dut.i.ar.valid, 1)
            while not (await ctx.tick().sample(dut.i.ar.ready))[-1]:
                pass
            ctx.set(dut.i.ar.valid, 0)
            while not ctx.get(dut.o.ar.valid):
                await ctx.tick()
            seen.append(ctx.get(dut.o.ar.payload.addr))
            await ctx.tick()
        assert seen == [PAGE_ALIGNMENT + 64, 5 * PAGE_ALIGNMENT + 64]

    simulate(dut, bench, background=[table.run])


@pytest.mark.parametrize("writes", [False, True])
def test_broken_entries(writes):
    """Answers are errors from then on, and strobes 0; before, nothing differs."""
    dut = (AXIWriteTranslator if writes else AXIReadTranslator)(*SIZES, ecc=True)
    table = Table(dut, [PAGE_ALIGNMENT * n for n in range(1, 9)], random.Random(1), failed=(1,))
    inside = dut.i.aw if writes else dut.i.ar
    outside = dut.o.aw if writes else dut.o.ar

    async def bench(ctx):
        ctx.set(outside.ready, 1)
        for page, error in ((0, False), (1, True), (0, True)):
            ctx.set(inside.payload, {"id": 0, "addr": PAGING.address(0, page), "len": 0})
            ctx.set(inside.valid, 1)
            while not (await ctx.tick().sample(inside.ready))[-1]:
                pass
            ctx.set(inside.valid, 0)
            await ctx.tick()
            if writes:
                ctx.set(dut.i.w.payload, {"data": 1, "strb": 15, "last": 1})
                assert ctx.get(dut.o.w.payload.strb) == (0 if error else 15)
                assert ctx.get(dut.i.b.payload.resp) == (2 if error else 0)
            else:
                assert ctx.get(dut.i.r.payload.resp) == (2 if error else 0)

    simulate(dut, bench, background=[table.run])
