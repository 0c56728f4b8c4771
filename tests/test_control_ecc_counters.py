"""ECCCounters and their registers: counts by place, the DRAM's address, and what a ring reads of a chip."""

from dataclasses import replace
import random

from amaranth.sim import Simulator
import pytest

from poblano.config import PRESETS
from poblano.control.ecc_counters import ECCCounters
from poblano.isa.ecc_registers import (
    CHIP_BASE,
    DRAM_REGISTERS,
    ECC_BASE,
    HOME_BASE,
    TILE_PLACES,
    dram_registers,
    ecc_places,
)
from poblano.isa.registers import COUNTER_BASE, COUNTER_STRIDE
from poblano.isa.topology import LARGEST, MOST_TILES
from poblano_host.runtime.backend import open_backend
from poblano_host.runtime.ecc import ECCCounts


def with_ecc(name, **memory):
    return replace(PRESETS[name], ecc=True, clear_at_reset=True).with_memory(**memory)


CONFIGS = {"nano": with_ecc("nano"), "quad": with_ecc("quad", kv_bytes=1 << 16, paging=None)}


def test_addresses():
    """Every place of the largest chips has an address of its own, behind the units' counters."""
    quad = CONFIGS["quad"]
    largest = replace(quad, tiles=MOST_TILES, memory=replace(quad.memory, homes=16, addr_width=40))
    places = ecc_places(largest)
    assert len(places) == MOST_TILES * len(TILE_PLACES) + 16 * 3 + 2
    addresses = [place.address for place in places]
    addresses += [address for home in range(16) for address in dram_registers(home).values()]
    assert len(set(addresses)) == len(addresses)
    assert all(ECC_BASE <= address < 1 << 12 and address % 4 == 0 for address in addresses)
    assert COUNTER_BASE + COUNTER_STRIDE * len(LARGEST.units) <= ECC_BASE < HOME_BASE < CHIP_BASE
    assert not ecc_places(PRESETS["quad"])


@pytest.mark.parametrize("name", CONFIGS)
def test_counters(name):
    """Random events, clearings, and counts at their greatest number."""
    config = CONFIGS[name]
    dut, rng, places = ECCCounters(config), random.Random(name), ecc_places(config)
    counts = {place: [0, 0] for place in places}
    drams = {place.home: [0, 0, False] for place in places if place.kind == "dram"}  # scrubs, address, failed

    async def read(ctx, address):
        ctx.set(dut.address, address)
        await ctx.delay(1e-12)
        return ctx.get(dut.data) if ctx.get(dut.known) else None

    async def bench(ctx):
        for cycle in range(300):
            clear = rng.random() < 0.02
            ctx.set(dut.clear, clear)
            for place, events in zip(places, dut.events):
                one, two = rng.random() < 0.3, rng.random() < 0.1
                ctx.set(events, {"corrected": one, "failed": two})
                counts[place] = [n + more for n, more in zip(counts[place], (one, two))]
                if place.kind == "dram":
                    scrubs, address, failed = drams[place.home]
                    scrubbed, at = rng.random() < 0.2, rng.getrandbits(config.memory.addr_width)
                    ctx.set(dut.dram[place.home], {"scrubbed": scrubbed, "address": at})
                    if two or one and not failed:
                        address, failed = at, failed or two
                    drams[place.home] = [scrubs + scrubbed, address, failed]
            if clear:
                counts.update((place, [0, 0]) for place in places)
                drams.update((home, [0, 0, False]) for home in drams)
            await ctx.tick()
            place = rng.choice(places)
            one, two = counts[place]
            assert await read(ctx, place.address) == one | two << 16, cycle
            for home, (scrubs, address, _) in drams.items():
                got = [await read(ctx, at) for at in dram_registers(home).values()]
                assert got == [scrubs, address & 0xFFFFFFFF, address >> 32]
        for address in (0, ECC_BASE - 4, HOME_BASE - 4, CHIP_BASE + 8):
            assert await read(ctx, address) is None

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(DRAM_REGISTERS) == 3


@pytest.mark.slow
def test_greatest_count():
    dut = ECCCounters(CONFIGS["nano"])
    address = ecc_places(dut.config)[0].address

    async def bench(ctx):
        ctx.set(dut.address, address)
        ctx.set(dut.events[0], {"corrected": 1, "failed": 0})
        await ctx.tick().repeat(65534)
        assert ctx.get(dut.data) == 65534
        await ctx.tick().repeat(3)
        assert ctx.get(dut.data) == 65535

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.slow
def test_ring_reads():
    """Of a chip with check bits each place's counts, of one without none."""
    for config in (CONFIGS["nano"], PRESETS["nano"]):
        backend = open_backend("sim", config, 1 << 16, (0, 16))
        counts = backend.ring.ecc_counts()
        assert counts == dict.fromkeys((place.name for place in ecc_places(config)), ECCCounts(0, 0))
        assert not any(counts.values())
        backend.close()
