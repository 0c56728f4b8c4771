"""The slots of the DRAM controller's queue of bursts: their registers, and what proofs need to know."""

from itertools import permutations

from amaranth.hdl import *

__all__ = ["Slots", "proposals"]


def proposals(queue):
    """By name, that a BurstQueue proposes only what may be: row commands for banks that may have them, and
    column commands for banks that are kept open for it besides."""
    may_close, may_use = queue.may_precharge & ~queue.kept_open, queue.may_access & queue.needed
    return {
        f"may be {name}": ~command.valid | banks.bit_select(command.bank, 1)
        for name, command, banks in (
            ("opened", queue.activate, queue.may_activate),
            ("closed", queue.precharge, may_close),
            ("used", queue.column, may_use),
        )
    }


class Slots:
    """Those of a BurstQueue ``queue``; ``register`` gives the signal of a name in it.

    Members
    -------
    valid : a bit for each slot
    """

    def __init__(self, queue, register):
        self._queue, self._register, self._count = queue, register, range(queue.depth)
        self.valid = Cat(self.at(n, "valid") for n in self._count)

    def at(self, n, name):
        """The register ``name`` of slot ``n``."""
        return self._register(f"slot{n}_{name}")

    def place(self, n):
        """The place of the next beat of a slot's burst."""
        return self._queue.i.payload.shape()["place"].shape(self.at(n, "place"))

    def older(self, n, k):
        """Whether slot ``k`` has a burst that is older than that of slot ``n``."""
        return self.valid[n] & self.valid[k] & self.at(n, "older")[k]

    def oldest(self):
        """A bit for each slot."""
        return Cat(self.valid[n] & ~(self.at(n, "older") & self.valid).any() for n in self._count)

    def check(self, harness, of=""):
        """Of two bursts one is older, one burst at the most goes on, and ``needs`` are the ways of the beats
        that are left. The checks' names begin with ``of``."""
        current = self._register("current")
        harness.check(f"{of}one goes on", current & (current - 1) == 0)
        for n in self._count:
            harness.check(f"{of}not older {n}", ~self.older(n, n))
            for k in range(n):
                both = self.valid[n] & self.valid[k]
                harness.check(f"{of}one is older {n} {k}", ~both | (self.older(n, k) ^ self.older(k, n)))
            first, ways = self.place(n).way, self._queue.config.timing.ways
            for way in range(ways):
                used = (way - first)[: len(first)] <= self.at(n, "len") if ways > 1 else C(1)
                needs = self.valid[n] & used
                harness.check(f"{of}needs {n} {way}", self.at(n, "needs")[way] == needs)

    def check_circles(self, harness):
        """No burst is older than one that is older than one that is older than it."""
        for a, b, c in permutations(self._count, 3):
            circle = self.older(a, b) & self.older(b, c) & self.older(c, a)
            harness.check(f"no circle {a} {b} {c}", ~circle)
