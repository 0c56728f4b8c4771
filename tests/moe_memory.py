"""A vector memory for tests of what routes experts: answers a read port, and takes writes."""

import numpy as np

from poblano.config import LINE_WORDS

__all__ = ["VectorMemory"]


class VectorMemory:
    """``words`` FP32 words behind a read port of a latency of ``latency`` cycles, that stalls at random."""

    def __init__(self, port, words, rng, *, latency=2, stall=0.3):
        self.port, self.words, self.rng = port, words, rng
        self.lanes = port.data.as_value().shape().width // 32
        self.latency, self.stall = latency, stall

    async def bench(self, ctx):
        pending = []
        while True:
            ready = self.rng.random() >= self.stall
            ctx.set(self.port.req.ready, ready)
            due = bool(pending) and pending[0][0] == 0
            ctx.set(self.port.valid, due)
            ctx.set(self.port.data.as_value(), pending.pop(0)[1] if due else self.rng.getrandbits(64))
            _, _, valid, row = await ctx.tick().sample(self.port.req.valid, self.port.req.payload)
            pending = [(left - 1, data) for left, data in pending]
            if valid and ready:
                row = self.words[row * self.lanes : (row + 1) * self.lanes]
                pending.append((self.latency - 1, int.from_bytes(row.tobytes(), "little")))

    def write(self, write):
        """Takes a :class:`~poblano.interfaces.LocalWrite` to vector memory."""
        assert write.space == 0 and write.mask
        for lane in range(self.lanes):
            if write.mask >> lane & 1:
                self.words[write.addr * self.lanes + lane] = np.uint32(write.data.row[lane]).view(np.float32)

    def rows(self, line, stride, rows, words):
        """(rows, words), row r from line + r * stride on."""
        return np.array([self.words[LINE_WORDS * (line + r * stride) :][:words] for r in range(rows)])
