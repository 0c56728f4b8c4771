"""MemoryNetwork: masters that reach every home, a host too, and streams that stay at theirs, at once, with
pauses, and homes that answer in any order; all ends, and no master waits long for another."""

import random

import pytest

from poblano.bus.network import MemoryNetwork
from poblano.config import MemoryConfig
from tb.common.axi import ReadMaster, ReadMemory, WriteMaster, WriteMemory, beat_at
from tb.common.streams import simulate
from tests.test_axi_write_split import in_home, random_bursts

SIZE, BEAT = 4096, 8
READERS = 2


def config(homes, host_port):
    return MemoryConfig(
        data_width=8 * BEAT,
        addr_width=16,
        outstanding=4,
        homes=homes,
        home_bytes=SIZE,
        host_port=host_port,
        bandwidth=8,
    )


class Masters:
    """Masters with random bursts at all ports of ``dut``."""

    def __init__(self, dut, homes, own, rng, stall, count):
        options = dict(beat_bytes=BEAT, rng=rng, stall=stall)
        self.bursts = [(at, 1 + n // 2) for at, n in random_bursts(rng, homes, 2 * count)]
        read = lambda low, high: [
            (rng.randrange(low // 64, high // 64) * 64, rng.randint(1, 8)) for _ in range(count)
        ]
        self.all = [
            ReadMaster(port, read(0, homes * SIZE), ids=4 if homes > 1 else 2, **options)
            for port in dut.reads
        ]
        self.all += [
            ReadMaster(dut.streams[home][n], read(home * SIZE, (home + 1) * SIZE), ids=0, **options)
            for home in range(homes)
            for n in range(own)
        ]
        self.all.append(WriteMaster(dut.write, self.bursts[count:], ids=16 if homes > 1 else 2, **options))
        if dut.config.host_port:
            self.all.append(ReadMaster(dut.host.read, read(0, homes * SIZE), ids=0, **options))
            self.all.append(WriteMaster(dut.host.write, self.bursts[:count], ids=2, **options))
        else:
            self.bursts = self.bursts[count:]


@pytest.mark.parametrize("homes, own, host_port", [(2, 2, False), (4, 1, True), (1, 2, True)])
@pytest.mark.parametrize("stall, memory_stall", [(0.0, 0.0), (0.2, 0.6), (0.8, 0.1)])
def test_everything_at_once(homes, own, host_port, stall, memory_stall):
    rng = random.Random(f"{homes} {own} {stall}")
    dut = MemoryNetwork(config(homes, host_port), readers=READERS, own=own)
    masters = Masters(dut, homes, own, rng, stall, 25)
    memories = [
        kind(side, has=in_home(home), beat_bytes=BEAT, rng=rng, stall=memory_stall)
        for home, port in enumerate(dut.o)
        for kind, side in ((ReadMemory, port.read), (WriteMemory, port.write))
    ]

    async def bench(ctx):
        while not all(master.done for master in masters.all):
            await ctx.tick()

    background = [part.run for part in [*masters.all, *memories]]
    simulate(dut, bench, background=background)
    written = {}
    for memory in memories[1::2]:
        written |= memory.written
    assert written == {
        at + BEAT * k: beat_at(at + BEAT * k, 8 * BEAT) for at, n in masters.bursts for k in range(n)
    }
    if memory_stall == 0:  # one burst of each other master at the home
        readers = [master for master in masters.all if isinstance(master, ReadMaster)]
        waits = [master.waited for master in (readers[:-1] if host_port else readers)]
        assert max(waits) <= READERS + own + host_port + 1
