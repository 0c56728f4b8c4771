"""AXIReadArbiter: bursts of all ports, answered out of order between ports and interleaved, come back to
their ports."""

import random

from amaranth.sim import Simulator
import pytest

from poblano.axi.arbiter import AXIReadArbiter
from tb.memory.configs import CONFIGS

COUNT = 25
"""Bursts of each port."""


class Bench:
    """Masters at all ports, each with bursts of its own addresses, and a memory that takes bursts with
    probability ``ready`` and answers them beat by beat, those of different ports in any order; checks every
    transfer."""

    def __init__(self, dut, ports, ready, rng):
        self.dut, self.ports, self.ready, self.rng = dut, ports, ready, rng
        self.sent, self.accepted, self.got = [0] * ports, [0] * ports, [[] for _ in range(ports)]
        self.offering, self.waited = [False] * ports, [0] * ports
        self.bursts = [[] for _ in range(ports)]  # at the memory: (address, beats left)
        self.held = None  # the burst offered to the memory and not taken

    async def run(self, ctx):
        for port in self.dut.i:
            ctx.set(port.r.ready, 1)
        while any(n < COUNT for n in self.accepted) or any(self.bursts):
            self.offer(ctx)
            take = self.rng.random() < self.ready
            ctx.set(self.dut.o.ar.ready, take)
            self.check_beat(ctx, *self.answer(ctx))
            self.check_accepted(ctx)
            self.check_burst(ctx, take)
            await ctx.tick()
        for p in range(self.ports):
            assert self.got[p] == [p << 12 | i for i in range(COUNT) for _ in range(i % 4 + 1)]

    def offer(self, ctx):
        """The masters' next bursts."""
        for p, port in enumerate(self.dut.i):
            sent = self.sent[p]
            self.offering[p] |= sent < COUNT and self.rng.random() < 0.7
            ctx.set(port.ar.valid, self.offering[p])
            if self.offering[p]:
                ctx.set(port.ar.payload, {"id": sent & 1, "addr": p << 12 | sent, "len": sent % 4})

    def answer(self, ctx):
        """A beat of any port's oldest burst, which is taken at once: (port, address, beats left), or
        Nones."""
        waiting = [p for p in range(self.ports) if self.bursts[p]]
        chosen = self.rng.choice(waiting) if waiting and self.rng.random() < 0.7 else None
        ctx.set(self.dut.o.r.valid, chosen is not None)
        if chosen is None:
            return None, None, None
        address, left = self.bursts[chosen][0]
        ctx.set(
            self.dut.o.r.payload,
            {
                "id": chosen << 1 | address & 1,
                "data": address << 8 | left,
                "resp": left & 3,
                "last": left == 0,
            },
        )
        self.bursts[chosen][0] = (address, left - 1)
        if left == 0:
            self.bursts[chosen].pop(0)
        assert ctx.get(self.dut.o.r.ready)
        return chosen, address, left

    def check_beat(self, ctx, chosen, address, left):
        """The beat comes out at its port and at no other."""
        for p, port in enumerate(self.dut.i):
            assert ctx.get(port.r.valid) == (p == chosen)
            if p == chosen:
                r = ctx.get(port.r.payload)
                assert r.id == address & 1 and r.data == address << 8 | left
                assert r.resp == left & 3 and r.last == (left == 0)
                self.got[p].append(address)

    def check_accepted(self, ctx):
        """No port waits for more bursts of others than there are ports."""
        for p, port in enumerate(self.dut.i):
            if self.offering[p] and ctx.get(port.ar.ready):
                self.sent[p] += 1
                self.offering[p], self.waited[p] = False, 0
                for other in range(self.ports):
                    self.waited[other] += self.offering[other] and other != p
                    assert self.waited[other] <= self.ports

    def check_burst(self, ctx, take):
        """A burst offered to the memory stays until it is taken, and is the next one of its port."""
        valid = ctx.get(self.dut.o.ar.valid)
        offered = ctx.get(self.dut.o.ar.payload).as_bits() if valid else None
        assert self.held is None or self.held == offered
        self.held = offered if valid and not take else None
        if valid and take:
            ar = ctx.get(self.dut.o.ar.payload)
            p = ar.id >> 1
            accepted = self.accepted[p]
            assert ar.addr == p << 12 | accepted and ar.id & 1 == accepted & 1 and ar.len == accepted % 4
            self.bursts[p].append((ar.addr, ar.len))
            self.accepted[p] += 1


@pytest.mark.parametrize("name", ["narrow", "wide"])
@pytest.mark.parametrize("ready", [1.0, 0.4])
def test_routes_by_id(name, ready):
    config = CONFIGS[name]
    ports = config.tiles + 2
    dut = AXIReadArbiter(config.memory.axi, ports=ports)
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(Bench(dut, ports, ready, random.Random(name)).run)
    simulator.run()
