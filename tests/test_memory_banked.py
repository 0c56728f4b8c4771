"""BankedMemory: contents, exact latency, write-to-read order, bounded waiting."""

import random

from amaranth.sim import Simulator
import pytest

from poblano.memory.banked import BankedMemory


@pytest.mark.parametrize(
    "rows,width,granularity,banks,reads,writes",
    [(16, 64, 32, 4, 3, 3), (32, 32, 8, 2, 1, 2), (8, 32, 32, 8, 2, 1), (16, 24, 12, 1, 2, 2)],
)
def test_random(rows, width, granularity, banks, reads, writes):
    dut = BankedMemory(
        rows=rows, width=width, granularity=granularity, banks=banks, read_ports=reads, write_ports=writes
    )
    rng = random.Random(rows + width)
    lanes = width // granularity

    async def bench(ctx):
        contents = [0] * rows
        due = [{} for _ in range(reads)]  # cycle: data
        reading, writing = [None] * reads, [None] * writes
        waited_read, waited_write = [0] * reads, [0] * writes
        for cycle in range(500):
            spread = rng.choice([rows, banks, 1]) if cycle % 50 == 0 else rows
            for p, port in enumerate(dut.read):
                if reading[p] is None and rng.random() < 0.8:
                    reading[p], waited_read[p] = rng.randrange(spread), 0
                ctx.set(port.req.valid, reading[p] is not None)
                ctx.set(port.req.payload, reading[p] or 0)
            for p, port in enumerate(dut.write):
                if writing[p] is None and rng.random() < 0.6:
                    writing[p] = {
                        "addr": rng.randrange(spread),
                        "mask": rng.getrandbits(lanes),
                        "data": rng.getrandbits(width),
                    }
                    waited_write[p] = 0
                ctx.set(port.valid, writing[p] is not None)
                if writing[p]:
                    ctx.set(port.payload, writing[p])
            for p, port in enumerate(dut.read):
                assert ctx.get(port.valid) == (cycle in due[p])
                if cycle in due[p]:
                    assert ctx.get(port.data) == due[p].pop(cycle)
                if reading[p] is not None:
                    if ctx.get(port.req.ready):
                        due[p][cycle + dut.LATENCY] = contents[reading[p]]
                        reading[p] = None
                    else:
                        waited_read[p] += 1
                        assert waited_read[p] < reads
            for p, port in enumerate(dut.write):
                if writing[p]:
                    if ctx.get(port.ready):
                        w = writing[p]
                        for lane in range(lanes):
                            if w["mask"] >> lane & 1:
                                field = (1 << granularity) - 1 << lane * granularity
                                contents[w["addr"]] = contents[w["addr"]] & ~field | w["data"] & field
                        writing[p] = None
                    else:
                        waited_write[p] += 1
                        assert waited_write[p] < writes
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


def test_bad_parameters_are_quoted():
    good = dict(rows=16, width=64, granularity=32, banks=4, read_ports=1, write_ports=1)
    for bad, message in ((dict(rows=18), "banks, 4, not 18"), (dict(width=65), "granularity 32, not 65")):
        with pytest.raises(ValueError, match=message):
            BankedMemory(**good | bad)
