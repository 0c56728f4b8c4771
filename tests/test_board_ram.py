"""AXIRam: bursts of several masters against a model, with idle cycles, back-pressure and accesses past the
end."""

import random

from amaranth.sim import Simulator
import pytest

from poblano.board.ram import AXIRam

SIZE = 256


@pytest.mark.parametrize("width,ports", [(32, 2), (64, 3), (32, 1)])
@pytest.mark.parametrize("calm", [1.0, 0.5])
def test_bursts(width, ports, calm):
    """Each master owns a part of the memory: what it reads is what it wrote before, byte by byte."""
    dut = AXIRam(size=SIZE, addr_width=16, data_width=width, id_widths=range(1, ports + 1))
    beat = width // 8
    part = SIZE // beat // ports
    memory, owned = bytearray(SIZE), [(p * part, (p + 1) * part) for p in range(ports)]
    waited = {}

    def master(p):
        rng = random.Random(f"{width} {p} {calm}")
        read, write = getattr(dut, f"read{p}"), getattr(dut, f"write{p}")

        async def send(ctx, channel, payload):
            while rng.random() > calm:
                await ctx.tick()
            ctx.set(channel.payload, payload)
            ctx.set(channel.valid, 1)
            await ctx.tick().until(channel.ready)
            ctx.set(channel.valid, 0)

        async def receive(ctx, channel):
            while True:
                ctx.set(channel.ready, ready := rng.random() < calm)
                *_, valid, payload = await ctx.tick().sample(channel.valid, channel.payload)
                if valid and ready:
                    ctx.set(channel.ready, 0)
                    return payload

        async def bench(ctx):
            low, high = owned[p]
            for _ in range(60):
                first = rng.randrange(low, high)
                length = rng.randint(1, min(8, high - first))
                outside = rng.random() < 0.1
                if outside:
                    first, length = SIZE // beat + rng.choice((0, 4096)), 2
                elif p == ports - 1 and high == SIZE // beat and rng.random() < 0.1:
                    first, length = high - 1, 3  # leaves the memory
                ident = rng.randrange(1 << p + 1)
                address = {"id": ident, "addr": first * beat, "len": length - 1}
                inside = [not outside and first + k < SIZE // beat for k in range(length)]
                if rng.random() < 0.5:
                    await send(ctx, write.aw, address)
                    for k in range(length):
                        data, strobes = rng.randbytes(beat), rng.randrange(1 << beat)
                        await send(
                            ctx,
                            write.w,
                            {
                                "data": int.from_bytes(data, "little"),
                                "strb": strobes,
                                "last": k == length - 1,
                            },
                        )
                        for i in range(beat if inside[k] else 0):
                            if strobes >> i & 1:
                                memory[(first + k) * beat + i] = data[i]
                    b = await receive(ctx, write.b)
                    assert b.id == ident and b.resp == (0 if all(inside) else 3)
                else:
                    await send(ctx, read.ar, address)
                    for k in range(length):
                        r = await receive(ctx, read.r)
                        assert (
                            r.id == ident
                            and r.last == (k == length - 1)
                            and r.resp == (0 if inside[k] else 3)
                        )
                        if inside[k]:
                            assert (
                                r.data.to_bytes(beat, "little")
                                == memory[(first + k) * beat : (first + k + 1) * beat]
                            )
            waited[p] = 60

        return bench

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    for p in range(ports):
        simulator.add_testbench(master(p))
    simulator.run()
    assert len(waited) == ports


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
