"""AXIWriter on its own: bytes of transfers at their addresses, order of answers, errors, flush."""

from collections import deque
import random

import pytest

from poblano.axi.signature import AXIConfig
from poblano.axi.writer import AXIWriter
from tb.common.streams import send, simulate

ADDRESS_BITS = 16


class Memory:
    """Takes addresses and data in any order of their channels; answers after ``latency`` cycles, with an
    error from the address ``bad`` on; bursts in ``any_order``."""

    def __init__(self, axi, *, width, rng, stall=0.0, latency=6, bad=1 << ADDRESS_BITS, any_order=False):
        self.axi, self.size, self.rng, self.stall = axi, width // 8, rng, stall
        self.latency, self.bad, self.any_order = latency, bad, any_order
        self.bytes, self.bursts, self.answered = {}, [], 0

    async def run(self, ctx):
        aw, w, b = self.axi.aw, self.axi.w, self.axi.b
        beats, answers, cycle = [], deque(), 0
        waiting = deque()
        while True:
            takes = [self.rng.random() >= self.stall for _ in range(2)]
            ctx.set(aw.ready, takes[0])
            ctx.set(w.ready, takes[1])
            gives = bool(answers) and answers[0][0] <= cycle and self.rng.random() >= self.stall
            ctx.set(b.valid, gives)
            if gives:
                due = [n for n, answer in enumerate(answers) if answer[0] <= cycle]
                n = self.rng.choice(due) if self.any_order else 0
                ctx.set(b.payload, {"id": answers[n][2], "resp": 2 * answers[n][1]})
            _, _, has_burst, burst, has_beat, beat = await ctx.tick().sample(
                aw.valid, aw.payload, w.valid, w.payload
            )
            if gives:
                del answers[n]
                self.answered += 1
            if takes[0] and has_burst:
                self.bursts.append((burst.addr, burst.len + 1))
                unanswered = {answer[2] for answer in answers} | {other[2] for other in waiting}
                assert not self.any_order or burst.id not in unanswered, "an id twice"
                waiting.append((burst.addr, burst.len + 1, burst.id))
            if takes[1] and has_beat:
                beats.append(beat)
            while waiting and len(beats) >= waiting[0][1]:
                address, length, number = waiting.popleft()
                for k in range(length):
                    one = beats.pop(0)
                    assert one.last == (k == length - 1)
                    for byte in range(self.size):
                        if one.strb >> byte & 1:
                            self.bytes[address + k * self.size + byte] = one.data >> 8 * byte & 0xFF
                answers.append((cycle + self.latency, address >= self.bad, number))
            cycle += 1


@pytest.mark.parametrize("width,outstanding,ahead", [(32, 1, 1), (64, 4, 4), (64, 8, 2)])
@pytest.mark.parametrize("stall,gap", [(0.0, 0.0), (0.4, 0.2), (0.1, 0.7)])
@pytest.mark.parametrize("any_order", [False, True])
def test_bytes(width, outstanding, ahead, stall, gap, any_order):
    """Rows of beats, and rows that are shorter than a beat; nothing else is written."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=width, id_width=3)
    dut = AXIWriter(config, burst_beats=8, outstanding=outstanding, ahead=ahead, any_order=any_order)
    rng = random.Random(f"{width} {stall} {gap}")
    size = width // 8
    todo, beats, expected = [], [], {}
    for n in range(16):
        narrow = rng.random() < 0.4
        row = size >> rng.choice([1, 2]) if narrow else size * rng.choice([1, 2, 5, 20])
        rows, stride = rng.choice([1, 2, 4]), row + row * rng.randrange(3)
        addr = (
            n * 4096 // 2 + rng.randrange(512) // row * row if narrow else n * 2048 + size * rng.randrange(64)
        )
        todo.append({"addr": addr, "row_bytes": row, "stride": stride, "rows": rows})
        for r in range(rows):
            for at in range(addr + r * stride, addr + r * stride + row, size):
                value = rng.getrandbits(width)
                beats.append(value)
                for byte in range(min(row, size)):
                    lane = (at + byte) % size
                    expected[at + byte] = value >> 8 * lane & 0xFF
    memory = Memory(dut.axi, width=width, rng=rng, stall=stall, any_order=any_order)
    done = 0

    async def check(ctx):
        nonlocal done
        while done < len(todo):
            _, _, ends, error = await ctx.tick().sample(dut.done, dut.error)
            assert not error
            done += ends
            if ends:
                assert len(memory.bursts) - memory.answered <= outstanding
        assert ctx.get(dut.idle)

    simulate(
        dut,
        check,
        background=[memory.run, send(dut.cmd, todo, rng=rng), send(dut.i, beats, rng=rng, stall=gap)],
    )
    assert memory.bytes == expected


@pytest.mark.parametrize("flush", [False, True])
def test_error_and_flush_stop_it(flush):
    """After an error, or while ``flush`` is high, begun bursts end without strobes; none begins."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=32)
    dut = AXIWriter(config, burst_beats=4, outstanding=2, ahead=2)
    memory = Memory(dut.axi, width=32, rng=random.Random(1), bad=1 << ADDRESS_BITS if flush else 16)
    errors = done = 0

    async def bench(ctx):
        nonlocal errors, done
        ctx.set(dut.cmd.payload, {"addr": 0, "row_bytes": 400, "stride": 0, "rows": 1})
        ctx.set(dut.cmd.valid, 1)
        ctx.set(dut.i.valid, 1)
        written = None
        for cycle in range(150):
            if flush and cycle == 10:
                ctx.set(dut.flush, 1)
                ctx.set(dut.i.valid, 0)  # begun bursts end without data
            errors += ctx.get(dut.error)
            done += ctx.get(dut.done)
            if cycle == 100:
                written = dict(memory.bytes), len(memory.bursts)
            await ctx.tick()
        assert written == (memory.bytes, len(memory.bursts)), "goes on"
        assert ctx.get(dut.idle) and len(memory.bursts) == memory.answered < 25

    simulate(dut, bench, background=[memory.run])
    assert errors == (not flush) and not done


@pytest.mark.parametrize("seed", range(8))
def test_error_in_its_turn(seed):
    """Transfers before the one that fails are done before that is told, in whatever order answers come."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=32, id_width=3)
    dut = AXIWriter(config, burst_beats=4, outstanding=8, ahead=4, any_order=True)
    rng = random.Random(seed)
    memory = Memory(dut.axi, width=32, rng=rng, stall=0.5, any_order=True, bad=5 * 32)
    told = []

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for _ in range(300):
            _, _, error, done = await ctx.tick().sample(dut.error, dut.done)
            told.extend(["done"] * done + ["error"] * error)
        assert ctx.get(dut.idle) and len(memory.bursts) == memory.answered

    todo = [{"addr": 32 * n, "row_bytes": 32, "stride": 0, "rows": 1} for n in range(12)]
    simulate(dut, bench, background=[memory.run, send(dut.cmd, todo, rng=rng)])
    assert told == ["done"] * 5 + ["error"]


def test_ids_are_enough():
    with pytest.raises(ValueError, match="ids of 2 bits are too few for 8 bursts"):
        AXIWriter(
            AXIConfig(addr_width=16, data_width=64, id_width=2),
            burst_beats=8,
            outstanding=8,
            ahead=1,
            any_order=True,
        )


def test_addresses_ahead():
    """Without data only ``ahead`` addresses come; without answers ``outstanding``, a burst a cycle."""
    config = AXIConfig(addr_width=ADDRESS_BITS, data_width=32)
    dut = AXIWriter(config, burst_beats=1, outstanding=8, ahead=2)

    async def bench(ctx):
        ctx.set(dut.cmd.payload, {"addr": 0, "row_bytes": 400, "stride": 0, "rows": 1})
        ctx.set(dut.cmd.valid, 1)
        ctx.set(dut.axi.aw.ready, 1)
        ctx.set(dut.axi.w.ready, 1)
        bursts = beats = 0
        for cycle in range(30):
            if cycle == 15:
                assert bursts == 2 and not beats
                ctx.set(dut.i.valid, 1)
            bursts += ctx.get(dut.axi.aw.valid)
            beats += ctx.get(dut.axi.w.valid)
            await ctx.tick()
        assert bursts == beats == 8

    simulate(dut, bench)
