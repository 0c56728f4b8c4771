"""AXIReadArbiter: bursts of all ports, answered out of order between ports and interleaved, come back to
their ports."""

import random

from amaranth.sim import Simulator
import pytest

from poblano.axi.arbiter import AXIReadArbiter
from tb.memory.configs import CONFIGS


@pytest.mark.parametrize("name", ["narrow", "wide"])
@pytest.mark.parametrize("ready", [1.0, 0.4])
def test_routes_by_id(name, ready):
    config = CONFIGS[name]
    ports, count = config.tiles + 2, 25
    dut = AXIReadArbiter(config.memory.axi, ports=ports)
    rng = random.Random(name)

    async def bench(ctx):
        sent, accepted, got = [0] * ports, [0] * ports, [[] for _ in range(ports)]
        offering, waited = [False] * ports, [0] * ports
        bursts = [[] for _ in range(ports)]  # at the memory: (address, beats left)
        held, offered = None, None
        for port in dut.i:
            ctx.set(port.r.ready, 1)
        while any(n < count for n in accepted) or any(bursts):
            for p, port in enumerate(dut.i):
                offering[p] |= sent[p] < count and rng.random() < 0.7
                ctx.set(port.ar.valid, offering[p])
                if offering[p]:
                    ctx.set(
                        port.ar.payload, {"id": sent[p] & 1, "addr": p << 12 | sent[p], "len": sent[p] % 4}
                    )
            take = rng.random() < ready
            ctx.set(dut.o.ar.ready, take)
            # A beat of any port's oldest burst; it stays until it is taken, which is at once.
            waiting = [p for p in range(ports) if bursts[p]]
            chosen = rng.choice(waiting) if waiting and rng.random() < 0.7 else None
            ctx.set(dut.o.r.valid, chosen is not None)
            if chosen is not None:
                address, left = bursts[chosen][0]
                ctx.set(
                    dut.o.r.payload,
                    {
                        "id": chosen << 1 | address & 1,
                        "data": address << 8 | left,
                        "resp": left & 3,
                        "last": left == 0,
                    },
                )
                bursts[chosen][0] = (address, left - 1)
                if left == 0:
                    bursts[chosen].pop(0)
                assert ctx.get(dut.o.r.ready)
            for p, port in enumerate(dut.i):
                assert ctx.get(port.r.valid) == (p == chosen)
                if p == chosen:
                    r = ctx.get(port.r.payload)
                    assert (
                        r.id == address & 1
                        and r.data == address << 8 | left
                        and r.resp == left & 3
                        and r.last == (left == 0)
                    )
                    got[p].append(address)
                if offering[p] and ctx.get(port.ar.ready):
                    sent[p] += 1
                    offering[p], waited[p] = False, 0
                    for other in range(ports):
                        waited[other] += offering[other] and other != p
                        assert waited[other] <= ports
            valid = ctx.get(dut.o.ar.valid)
            offered = ctx.get(dut.o.ar.payload).as_bits() if valid else None
            assert held is None or held == offered
            held = offered if valid and not take else None
            if valid and take:
                ar = ctx.get(dut.o.ar.payload)
                p = ar.id >> 1
                assert (
                    ar.addr == p << 12 | accepted[p]
                    and ar.id & 1 == accepted[p] & 1
                    and ar.len == accepted[p] % 4
                )
                bursts[p].append((ar.addr, ar.len))
                accepted[p] += 1
            await ctx.tick()
        for p in range(ports):
            assert got[p] == [p << 12 | i for i in range(count) for _ in range(i % 4 + 1)]

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
