"""AXILiteSlave on its own: accesses of one cycle, answers, strobes, stalls of every channel."""

import random

from amaranth.hdl import Elaboratable, Module
import pytest

from poblano.axi.lite import AXILiteSlave
from tb.common.streams import receive, send, simulate

OKAY, SLVERR = 0, 2


class Registers(Elaboratable):
    """A slave with what answers its accesses: words at even addresses can be read and written."""

    def __init__(self, addr_width):
        self.slave = AXILiteSlave(addr_width=addr_width)

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = self.slave
        m.d.comb += [
            slave.write_ok.eq(~slave.write_address[0]),
            slave.read_ok.eq(~slave.read_address[0]),
            slave.read_data.eq(3 * slave.read_address + 1),
        ]
        return m


@pytest.mark.parametrize("addr_width", [6, 12])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_accesses(addr_width, stall):
    registers = Registers(addr_width)
    dut = registers.slave
    rng = random.Random(f"{addr_width} {stall}")
    count = 60
    addresses = [rng.randrange(1 << addr_width) for _ in range(2 * count)]
    writes = [{"data": rng.getrandbits(32), "strb": rng.choice([15, 15, 15, 7, 0])} for _ in range(count)]
    reads, written, answers, data = [], [], [], []

    async def watch(ctx):
        while True:
            _, _, read, read_at, write, write_at, word = await ctx.tick().sample(
                dut.read, dut.read_address, dut.write, dut.write_address, dut.write_data
            )
            if read:
                reads.append(read_at)
            if write:
                written.append((write_at, word))

    port = dut.axi
    simulate(
        registers,
        send(port.aw, [{"addr": at} for at in addresses[:count]], rng=random.Random(1), stall=stall),
        send(port.w, writes, rng=random.Random(2), stall=stall),
        send(port.ar, [{"addr": at} for at in addresses[count:]], rng=random.Random(3), stall=stall),
        receive(port.b, count, answers, rng=random.Random(4), stall=stall),
        receive(port.r, count, data, rng=random.Random(5), stall=stall),
        background=[watch],
    )
    assert reads == addresses[count:]
    assert [(r.data, r.resp) for r in data] == [
        (0, SLVERR) if at % 2 else (3 * at + 1, OKAY) for at in addresses[count:]
    ]
    whole = [(at, w["data"]) for at, w in zip(addresses[:count], writes) if w["strb"] == 15]
    assert written == whole
    assert [b.resp for b in answers] == [
        OKAY if w["strb"] == 15 and at % 2 == 0 else SLVERR for at, w in zip(addresses[:count], writes)
    ]
