"""AXIRam: bursts of several masters against a model, with idle cycles, back-pressure and accesses past the
end."""

import random

from amaranth.sim import Simulator
import pytest

from poblano.memory.axi_ram import AXIRam

SIZE = 256


class Master:
    """Random bursts of port ``p`` in its own part of the memory, of which ``memory`` is a copy; it offers and
    takes with a probability of ``calm``."""

    def __init__(self, dut, p, memory, beat, part, *, calm, rng):
        self.read, self.write = getattr(dut, f"read{p}"), getattr(dut, f"write{p}")
        self.memory, self.beat, self.part, self.calm, self.rng = memory, beat, part, calm, rng
        self.idents = 1 << p + 1
        self.done = 0

    async def send(self, ctx, channel, payload):
        while self.rng.random() > self.calm:
            await ctx.tick()
        ctx.set(channel.payload, payload)
        ctx.set(channel.valid, 1)
        await ctx.tick().until(channel.ready)
        ctx.set(channel.valid, 0)

    async def receive(self, ctx, channel):
        while True:
            ctx.set(channel.ready, ready := self.rng.random() < self.calm)
            *_, valid, payload = await ctx.tick().sample(channel.valid, channel.payload)
            if valid and ready:
                ctx.set(channel.ready, 0)
                return payload

    async def bench(self, ctx):
        low, high = self.part
        rng, beat, beats = self.rng, self.beat, SIZE // self.beat
        for _ in range(60):
            first = rng.randrange(low, high)
            length = rng.randint(1, min(8, high - first))
            if rng.random() < 0.1:
                first, length = beats + rng.choice((0, 4096)), 2
            elif high == beats and rng.random() < 0.1:
                first, length = high - 1, 3  # leaves the memory
            ident = rng.randrange(self.idents)
            address = {"id": ident, "addr": first * beat, "len": length - 1}
            inside = [first + k < beats for k in range(length)]
            transfer = self.write_burst if rng.random() < 0.5 else self.read_burst
            await transfer(ctx, address, first, inside)
            self.done += 1

    async def write_burst(self, ctx, address, first, inside):
        await self.send(ctx, self.write.aw, address)
        for k, kept in enumerate(inside):
            data, strobes = self.rng.randbytes(self.beat), self.rng.randrange(1 << self.beat)
            last = k == len(inside) - 1
            payload = {"data": int.from_bytes(data, "little"), "strb": strobes, "last": last}
            await self.send(ctx, self.write.w, payload)
            for i in range(self.beat if kept else 0):
                if strobes >> i & 1:
                    self.memory[(first + k) * self.beat + i] = data[i]
        b = await self.receive(ctx, self.write.b)
        assert b.id == address["id"] and b.resp == (0 if all(inside) else 3)

    async def read_burst(self, ctx, address, first, inside):
        await self.send(ctx, self.read.ar, address)
        for k, kept in enumerate(inside):
            r = await self.receive(ctx, self.read.r)
            assert r.id == address["id"] and r.last == (k == len(inside) - 1)
            assert r.resp == (0 if kept else 3)
            if kept:
                expected = self.memory[(first + k) * self.beat : (first + k + 1) * self.beat]
                assert r.data.to_bytes(self.beat, "little") == expected


@pytest.mark.parametrize("width,ports", [(32, 2), (64, 3), (32, 1)])
@pytest.mark.parametrize("calm", [1.0, 0.5])
def test_bursts(width, ports, calm):
    """Each master owns a part of the memory: what it reads is what it wrote before, byte by byte."""
    dut = AXIRam(size=SIZE, addr_width=16, data_width=width, id_widths=range(1, ports + 1))
    beat = width // 8
    part = SIZE // beat // ports
    memory = bytearray(SIZE)
    masters = []
    for p in range(ports):
        rng = random.Random(f"{width} {p} {calm}")
        masters.append(Master(dut, p, memory, beat, (p * part, (p + 1) * part), calm=calm, rng=rng))
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    for master in masters:
        simulator.add_testbench(master.bench)
    simulator.run()
    assert all(master.done == 60 for master in masters)


def test_full_speed():
    """Bursts of two masters come a beat a cycle, in turns."""
    dut = AXIRam(size=SIZE, addr_width=16)
    seen = []

    async def bench(ctx):
        for port in (dut.read0, dut.read1):
            ctx.set(port.ar.payload, {"id": 0, "addr": 0, "len": 3})
            ctx.set(port.ar.valid, 1)
            ctx.set(port.r.ready, 1)
        for _ in range(40):
            _, _, *valid = await ctx.tick().sample(dut.read0.r.valid, dut.read1.r.valid)
            seen.append(valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen[2:34] == 4 * (4 * [[1, 0]] + 4 * [[0, 1]])


def test_sizes():
    with pytest.raises(
        ValueError, match="size must be a power of two of at least two beats of 32 bits, not 100 bytes"
    ):
        AXIRam(size=100, addr_width=16)
    with pytest.raises(ValueError, match="size 131072 is more than 16 bits address"):
        AXIRam(size=1 << 17, addr_width=16)
