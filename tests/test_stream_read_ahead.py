"""ReadAhead in front of memories of several latencies: order, tags, credit, throughput."""

from collections import deque
import random

from amaranth.lib import data
import pytest

from poblano.stream.bypass import BypassFIFO
from poblano.stream.fifo import FIFO, BufferedFIFO
from poblano.stream.read_ahead import ReadAhead
from tb.common.streams import receive, send, simulate

ANSWER = data.StructLayout({"value": 12, "tag": 4})


def run(*, depth, latency, tag, stalls, queue=BufferedFIFO, count=200):
    """Reads ``count`` words from a memory whose word ``n`` is ``3 * n``; returns the cycles."""
    shape = 4 if tag else 0
    dut = ReadAhead(request=10, tag=shape, answer=ANSWER, depth=depth, queue=queue)
    rng = random.Random(f"{depth} {latency} {stalls}")
    reads = [(rng.getrandbits(10), rng.getrandbits(4) if tag else 0) for _ in range(count)]
    got, cycles, held, most = [], 0, 0, 0

    async def memory(ctx):
        nonlocal cycles, held, most
        pending = deque()
        while True:
            answers = bool(pending) and pending[0][0] <= cycles
            ctx.set(dut.answered, answers)
            if answers:
                _, address, wanted = pending.popleft()
                if tag:
                    assert ctx.get(dut.tag) == wanted
                ctx.set(dut.answer, {"value": 3 * address, "tag": wanted})
            ready = rng.random() >= stalls[1]
            ctx.set(dut.req.ready, ready)
            _, _, valid, address, leaves = await ctx.tick().sample(
                dut.req.valid, dut.req.payload, dut.o.valid & dut.o.ready
            )
            if valid and ready:
                delay = latency if isinstance(latency, int) else rng.choice(latency)
                earliest = pending[-1][0] + 1 if pending else 0
                index = len(asked)
                assert address == reads[index][0]
                pending.append((max(cycles + delay, earliest), address, reads[index][1]))
                asked.append(address)
                held += 1
            held -= leaves
            most = max(most, held)
            assert held <= depth, "asked for more than there is room for"
            cycles += 1

    asked = []
    requests = [{"request": request, "tag": wanted} for request, wanted in reads]
    simulate(
        dut,
        send(dut.i, requests, rng=rng, stall=stalls[0]),
        receive(dut.o, count, got, rng=rng, stall=stalls[2]),
        background=[memory],
    )
    assert [(answer.value, answer.tag) for answer in got] == [(3 * a % 4096, t) for a, t in reads]
    return cycles, most


@pytest.mark.parametrize("tag", [False, True])
@pytest.mark.parametrize("depth,latency", [(3, 1), (4, 2), (8, 4), (5, (1, 2, 9))])
@pytest.mark.parametrize("stalls", [(0.0, 0.0, 0.0), (0.3, 0.3, 0.3), (0.0, 0.0, 0.7), (0.6, 0.1, 0.0)])
@pytest.mark.parametrize("queue", [FIFO, BufferedFIFO, BypassFIFO])
def test_order_and_room(tag, depth, latency, stalls, queue):
    _, most = run(depth=depth, latency=latency, tag=tag, stalls=stalls, queue=queue)
    if stalls[2] > 0.5:
        assert most == depth, "all of the room is used while answers are not taken"


@pytest.mark.parametrize("latency", [1, 2, 4])
@pytest.mark.parametrize("queue,wait", [(BypassFIFO, 0), (FIFO, 1), (BufferedFIFO, 2)])
def test_one_a_cycle(latency, queue, wait):
    """With the depth that the docstring names."""
    depth = latency + 1 + wait
    cycles, _ = run(depth=depth, latency=latency, tag=True, stalls=(0.0, 0.0, 0.0), queue=queue)
    assert cycles == 200 + latency + wait


def test_depth_is_quoted():
    with pytest.raises(ValueError, match="depth must be at least 3, not 2"):
        ReadAhead(request=8, answer=8, depth=2)
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        ReadAhead(request=8, answer=8, depth=0, queue=FIFO)
