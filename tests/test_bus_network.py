"""MemoryNetwork: masters that reach every home, a host too, and streams that stay at theirs, at once, with
pauses, and homes that answer in any order; all ends, and no master waits long for another."""

import random

import pytest

from poblano.bus.network import MemoryNetwork
from poblano.config import MemoryConfig
from tb.common.axi import ReadMaster, ReadMemory, WriteMaster, WriteMemory, beat_at
from tb.common.streams import simulate

HOME, BUFFER, BEAT = 8192, 4096, 8
"""Bytes of a home, and of those a KV buffer's."""
READERS = 2


def config(homes, host_port, kv_bytes):
    return MemoryConfig(
        data_width=8 * BEAT,
        addr_width=16,
        outstanding=4,
        homes=homes,
        home_bytes=HOME,
        host_port=host_port,
        kv_bytes=kv_bytes,
        bandwidth=8,
    )


class Masters:
    """Masters with random bursts at all ports of ``dut``, in the last bytes of homes."""

    def __init__(self, dut, own, rng, stall, count):
        memory, options = dut.config, dict(beat_bytes=BEAT, rng=rng, stall=stall)
        homes = [
            range(end - HOME, end, 64)
            for end in range(memory.bytes_of_home, memory.most_bytes + 1, memory.bytes_of_home)
        ]
        everywhere = [at for places in homes for at in places]
        self.bursts = [(at, rng.randint(1, 8)) for at in rng.sample(everywhere, 2 * count)]
        read = lambda places: [(rng.choice(places), rng.randint(1, 8)) for _ in range(count)]
        several = memory.several
        self.all = [
            ReadMaster(port, read(everywhere), ids=4 if several else 2, **options) for port in dut.reads
        ]
        self.all += [
            ReadMaster(dut.streams[home][n], read(places), ids=0, **options)
            for home, places in enumerate(homes)
            for n in range(own)
        ]
        self.all.append(WriteMaster(dut.write, self.bursts[count:], ids=16 if several else 2, **options))
        if memory.host_port:
            self.all.append(ReadMaster(dut.host.read, read(everywhere), ids=0, **options))
            self.all.append(WriteMaster(dut.host.write, self.bursts[:count], ids=2, **options))
        else:
            self.bursts = self.bursts[count:]


def memories(dut, **options):
    """What is at the ports of ``dut``, each with its own addresses alone; the writing ones are the second."""
    size, held = dut.config.bytes_of_home, dut.config.kv_bytes
    own = lambda first, end: lambda address: first <= address < end
    places = [
        *((port, own(size * n, size * (n + 1) - held)) for n, port in enumerate(dut.o)),
        *(
            (port, own(size * (n + 1) - held, size * (n + 1)))
            for n, port in enumerate(dut.kv if held else ())
        ),
    ]
    return [
        kind(side, has=has, beat_bytes=BEAT, **options)
        for port, has in places
        for kind, side in ((ReadMemory, port.read), (WriteMemory, port.write))
    ]


@pytest.mark.parametrize("homes, own, host_port", [(2, 2, False), (4, 1, True), (1, 2, True)])
@pytest.mark.parametrize("kv_bytes", [0, BUFFER])
@pytest.mark.parametrize("stall, memory_stall", [(0.0, 0.0), (0.2, 0.6), (0.8, 0.1)])
def test_everything_at_once(homes, own, host_port, kv_bytes, stall, memory_stall):
    rng = random.Random(f"{homes} {own} {kv_bytes} {stall}")
    dut = MemoryNetwork(config(homes, host_port, kv_bytes), readers=READERS, own=own)
    masters = Masters(dut, own, rng, stall, 25)
    behind = memories(dut, rng=rng, stall=memory_stall)

    async def bench(ctx):
        while not all(master.done for master in masters.all):
            await ctx.tick()

    simulate(dut, bench, background=[part.run for part in [*masters.all, *behind]])
    written = {}
    for memory in behind[1::2]:
        assert memory.bursts
        written |= memory.written
    assert written == {
        at + BEAT * k: beat_at(at + BEAT * k, 8 * BEAT) for at, n in masters.bursts for k in range(n)
    }
    if memory_stall == 0:  # one burst of each other master at the memory
        readers = [master for master in masters.all if isinstance(master, ReadMaster)]
        # The host, and streams where they have KV buffers, also wait for their own bursts in flight.
        free = readers[:READERS] if kv_bytes else readers[: len(readers) - host_port]
        assert max(master.waited for master in free) <= READERS + own + host_port + 1
