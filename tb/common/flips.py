"""Flipped bits in the memories of a design in Amaranth's simulator."""

from dataclasses import dataclass

from amaranth.hdl import Fragment
from amaranth.lib.memory import Memory
import numpy as np

from poblano.ecc.memory import ECCMemory
from poblano.ecc.words import CodedWord
from poblano.stream.fifo import BufferedFIFO

__all__ = ["Array", "arrays", "double_flip", "single_flips"]


@dataclass
class Array:
    """A memory with check bits at ``path``: its words are granules, ``count`` of them, each as ``code`` keeps
    it."""

    path: str
    memory: Memory
    code: CodedWord
    count: int

    def granules(self, ctx, row):
        """(count, bits) of bool"""
        value, bits = ctx.get(self.memory.data[row]), self.code.bits
        return np.array([value >> n & 1 for n in range(bits * self.count)], bool).reshape(self.count, bits)

    def flip(self, ctx, row, granule, bits):
        """Flips ``bits``, numbers of bits, of a granule."""
        value = ctx.get(self.memory.data[row])
        for bit in bits:
            value ^= 1 << granule * self.code.bits + bit
        ctx.set(self.memory.data[row], value)

    def code_of(self, rng):
        """The numbers of the bits of one of a granule's codes."""
        part, data, checks = rng.choice(list(self.code.places))
        return [*range(data, data + part.data), *range(checks, checks + part.checks)]


def arrays(design: Fragment):
    """The :class:`Array` of each memory with check bits of an elaborated design."""
    found = []

    def look(fragment, path):
        owner = fragment.origins[0] if fragment.origins else None
        for inner, name, _ in fragment.subfragments:
            below = f"{path}.{name}" if path else str(name)
            memory = inner.origins[0] if inner.origins else None
            if isinstance(memory, Memory) and isinstance(owner, ECCMemory):
                code = CodedWord(owner.granularity)
                found.append(Array(below, memory, code, owner.width // owner.granularity))
            elif isinstance(memory, Memory) and isinstance(owner, BufferedFIFO) and owner.coded:
                found.append(Array(below, memory, CodedWord(owner.width), 1))
            look(inner, below)

    look(design, "")
    return found


def single_flips(design, rng, *, chance=0.5, few=1 << 30):
    """A testbench for the background that flips, with a ``chance`` in each cycle, one bit of a word without a
    flipped bit, of the ``few`` first words of a memory."""
    memories = arrays(design)
    assert memories

    async def bench(ctx):
        while True:
            await ctx.tick()
            if rng.random() >= chance:
                continue
            array = rng.choice(memories)
            row, granule = rng.randrange(min(few, array.memory.depth)), rng.randrange(array.count)
            _, corrected, failed = array.code.decode(array.granules(ctx, row)[granule])
            assert not failed, f"{array.path}[{row}]"
            if not corrected:
                array.flip(ctx, row, granule, [rng.choice(array.code_of(rng))])

    return bench


def double_flip(design, name, rng, *, cycle):
    """A testbench for the background that flips, once, in the ``cycle``, two bits of every word of the memory
    whose path ends so."""
    (array,) = (array for array in arrays(design) if array.path.endswith(name))

    async def bench(ctx):
        for _ in range(cycle):
            await ctx.tick()
        for row in range(array.memory.depth):
            for granule in range(array.count):
                array.flip(ctx, row, granule, rng.sample(array.code_of(rng), 2))

    return bench
