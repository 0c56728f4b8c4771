"""HomeOrder: bursts in flight are at one home, none is lost, and what may pass does."""

import random

import pytest

from poblano.axi.home_order import HomeOrder
from poblano.axi.homes import HomesConfig
from poblano.axi.signature import AXIConfig
from tb.common.streams import send, simulate

SIZE = 4096


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("homes, outstanding", [(2, 4), (4, 1)])
def test_one_home_at_a_time(homes, outstanding, stall):
    rng = random.Random(f"{homes} {stall}")
    config = AXIConfig(addr_width=16, data_width=32)
    dut = HomeOrder(config, homes=HomesConfig(count=homes, size=SIZE), outstanding=outstanding)
    bursts = [
        {"id": rng.randrange(2), "addr": rng.choice([0, 0, SIZE, (homes - 1) * SIZE]) + n, "len": n % 16}
        for n in range(100)
    ]
    got, most = [], 0

    async def memory(ctx):
        nonlocal most
        flying, held = [], False
        while len(got) < len(bursts):
            take = rng.random() >= stall
            ctx.set(dut.o.ready, take)
            answered = bool(flying) and rng.random() < 0.3
            ctx.set(dut.answered, answered)
            _, _, valid, burst, asks, address = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.i.valid, dut.i.payload
            )
            assert valid or not held, "withdrawn"
            held = valid and not take
            home = address.addr // SIZE
            assert valid == (asks and (not flying or flying[-1] == home and len(flying) < outstanding))
            if answered:
                flying.pop(0)
            if valid and take:
                flying.append(home)
                got.append({"id": burst.id, "addr": burst.addr, "len": burst.len})
                most = max(most, len(flying))

    simulate(dut, memory, background=[send(dut.i, bursts, rng=rng, stall=0.2)])
    assert got == bursts and most == outstanding
