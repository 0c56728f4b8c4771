"""FIFO and BufferedFIFO, in every cycle as a model of them, under random stalls on both sides."""

from collections import deque
import random

from amaranth.lib import data
import pytest

from poblano.stream.fifo import FIFO, BufferedFIFO
from tb.common.streams import receive, send, simulate

PAIR = data.StructLayout({"low": 5, "high": 3})


class Model:
    """What ``ready``, ``valid`` and ``level`` are, from the docstrings' words."""

    def __init__(self, depth, buffered):
        self.depth, self.output = depth, buffered and depth > 1
        self.waiting, self.shown = deque(), deque()  # in the memory; in the output register

    @property
    def ready(self):
        return len(self.waiting) < self.depth - self.output

    @property
    def offered(self):
        return self.shown if self.output else self.waiting

    @property
    def level(self):
        return len(self.waiting) + len(self.shown)

    def step(self, put, take):
        """A cycle in which ``put`` (a payload, or None) is offered, and ``take`` says what is ready."""
        enters = put is not None and self.ready
        moves = self.output and self.waiting and (not self.shown or take)
        if take and self.offered:
            self.offered.popleft()
        if moves:
            self.shown.append(self.waiting.popleft())
        if enters:
            self.waiting.append(put)
        return enters


@pytest.mark.parametrize("kind", [FIFO, BufferedFIFO])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 9])
def test_every_cycle(kind, depth):
    """In every cycle it is ready while it has room, offers the oldest, and tells how many are inside."""
    dut = kind(shape=PAIR, depth=depth)
    rng = random.Random(f"{kind.__name__} {depth}")
    model = Model(depth, kind is BufferedFIFO)

    async def bench(ctx):
        number = 0
        for chance_put, chance_take in ((0.5, 0.5), (0.9, 0.2), (0.2, 0.9), (1.0, 1.0)):
            for _ in range(150):
                put = number % 256 if rng.random() < chance_put else None
                take = rng.random() < chance_take
                ctx.set(dut.i.valid, put is not None)
                if put is not None:
                    ctx.set(dut.i.payload, {"low": put & 31, "high": put >> 5})
                ctx.set(dut.o.ready, take)
                inside = f"with {model.level} of {depth} inside"
                assert ctx.get(dut.i.ready) == model.ready, f"i.ready {inside}"
                assert ctx.get(dut.o.valid) == bool(model.offered), f"o.valid {inside}"
                assert ctx.get(dut.level) == model.level, f"level {inside}"
                if model.offered:
                    got = ctx.get(dut.o.payload)
                    assert got.low | got.high << 5 == model.offered[0]
                number += model.step(put, take)
                await ctx.tick()
        assert number > 100

    simulate(dut, bench)


@pytest.mark.parametrize("kind", [FIFO, BufferedFIFO])
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.1), (0.1, 0.5)])
def test_order(kind, stalls):
    dut = kind(shape=16, depth=4)
    rng = random.Random(str(stalls))
    sent, got = [rng.getrandbits(16) for _ in range(300)], []
    simulate(
        dut,
        send(dut.i, sent, rng=rng, stall=stalls[0]),
        receive(dut.o, len(sent), got, rng=rng, stall=stalls[1]),
    )
    assert got == sent


@pytest.mark.parametrize("kind", [FIFO, BufferedFIFO])
def test_depth_is_quoted(kind):
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        kind(shape=8, depth=0)
