"""Units with clock gates inside and without: nothing that they show differs."""

from fractions import Fraction
from functools import partial
from unittest import mock

from amaranth.hdl import *

from poblano.config import MemoryConfig
from poblano.memory.stream_unit import StreamUnit

from .harness import Harness, Mutation, Property

MEMORY = MemoryConfig(data_width=32, addr_width=16, burst_beats=1, outstanding=1, bandwidth=Fraction(4))


class Twins(Harness):
    """Two of the unit that ``make()`` gives, whose module is ``place``, with the same inputs; the clocks of
    one always tick."""

    def __init__(self, place, make):
        super().__init__()
        self.place, self.make_unit = place, make

    def prove(self, m):
        gated = self.add("gated", self.make_unit())
        plain = self.make_unit()
        with mock.patch(f"{self.place}.gated_clock", lambda *_: None):
            m.submodules.plain = plain.elaborate(None)
        theirs = {path: value for path, _, value in plain.signature.flatten(plain)}
        for path, member, value in gated.signature.flatten(gated):
            other = theirs[path]
            if member.flow.name == "In":
                m.d.comb += other.eq(value)
            else:
                name = "__".join(map(str, path))
                # A payload means nothing without its valid.
                valid = self._valid(gated, path)
                self.check(name, ~valid | (Value.cast(value) == Value.cast(other)))
        # Memory answers what it was asked; a burst is one beat.
        asked, axi = Signal(2), gated.axi
        m.d.sync += asked.eq(asked + (axi.ar.valid & axi.ar.ready) - (axi.r.valid & axi.r.ready))
        self.assume(~axi.r.valid | (asked != 0))
        self.cover("work", gated.unit.done)

    @staticmethod
    def _valid(unit, path):
        if path[-1] != "payload":
            return C(1)
        port = unit
        for step in path[:-1]:
            port = port[step] if isinstance(step, int) else getattr(port, step)
        return port.valid


PROPERTIES = (
    Property(
        "stream-unit",
        partial(
            Twins,
            "poblano.memory.stream_unit",
            partial(StreamUnit, MEMORY, stream_bytes=4, fifo_bytes=8),
        ),
        "with and without clock gates all outputs are equal in every cycle",
        frames=24,
        mutations=(
            Mutation("sleeps at once", "poblano.memory.stream_unit", "moves | moved.any()", "moves"),
            Mutation(
                "sleeps while memory answers",
                "poblano.memory.stream_unit",
                "moves.eq(unit.busy | unit.cmd.valid | unit.flush | ~unit.idle | self.o.valid & self.o.ready)",
                "moves.eq(unit.busy | unit.cmd.valid | unit.flush | self.o.valid & self.o.ready)",
            ),
            Mutation(
                "sleeps while words are taken",
                "poblano.memory.stream_unit",
                "moves.eq(unit.busy | unit.cmd.valid | unit.flush | ~unit.idle | self.o.valid & self.o.ready)",
                "moves.eq(unit.busy | unit.cmd.valid | unit.flush | ~unit.idle)",
            ),
        ),
    ),
)
