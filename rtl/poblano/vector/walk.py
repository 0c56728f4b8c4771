"""The order in which the vector unit walks through the rows of a command, and the addresses of an operand."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..config import BLOCK
from ..formats.float32 import FloatAdd
from ..verilog import place

__all__ = ["AddressWalk", "RowWalk", "row_group"]


def row_group(lanes):
    """Rows in a group: with so many, a lane's next addition to the same partial sum comes when the one
    before has left the adder."""
    return 1 << ceil_log2(-(-FloatAdd.LATENCY * lanes // BLOCK))


class RowWalk(wiring.Component):
    """The beats of a command's rows, one for each ``step``; after the last it begins again.

    Latency: none.

    Rows follow each other, in a row blocks, in a block beats. ``together``, groups of ``group`` rows follow
    each other (the last may have fewer), in a group blocks, in a block the group's rows, in a row's block
    beats.

    Parameters
    ----------
    group : rows in a group, a power of two
    beats : beats in a block, a power of two
    shared : whether there is ``share``

    Members
    -------
    step : In(1), the beat is done
    together : In(1), with groups of more than one row
    single : In(1), a block is one beat
    rows : In(16), blocks : In(11), at least 1, constant from the first step to the last
    share : In(8), rows that share something, at least 1
    part, block, row : Out, the beat's number in its block, the block's and the row's
    last_part, last_block : Out(1), the beat is its block's last, the block its row's
    last_row : Out(1), the row is its group's last; 1 where there are no groups
    last : Out(1), the beat is the command's last
    next_row, next_block, next_group : Out(1), with ``step``: where the next beat is, if not in the same
        block: the group's next row, its first row's next block, the next group (or row, without groups)
    turn : Out(1), the row is the last that shares what it shares
    """

    def __init__(self, *, group, beats, shared=False):
        self.group, self.beats, self.shared = group, beats, shared
        members = {
            "step": In(1),
            "single": In(1),
            "rows": In(16),
            "blocks": In(11),
            "part": Out(max(1, exact_log2(beats))),
            "block": Out(11),
            "row": Out(16),
            "turn": Out(1),
        }
        if group > 1:
            members["together"] = In(1)
        if shared:
            members["share"] = In(8)
        flags = ("last_part", "last_block", "last_row", "last", "next_row", "next_block", "next_group")
        super().__init__(members | dict.fromkeys(flags, Out(1)))

    def elaborate(self, platform):
        m = Module()
        slot_bits = exact_log2(self.group)
        final, ends = Signal(), Signal()
        m.d.comb += [
            final.eq(self.row == (self.rows - 1)[:16]),
            self.last_part.eq(self.single | (self.part == self.beats - 1)),
            self.last_block.eq(self.block == (self.blocks - 1)[:11]),
            self.last_row.eq(1),
            self.last.eq(self.last_part & self.last_block & final),
            ends.eq(self.step & self.last_part),
            self.next_row.eq(ends & ~self.last_row),
            self.next_block.eq(ends & self.last_row & ~self.last_block),
            self.next_group.eq(ends & self.last_row & self.last_block),
        ]
        if self.group > 1:
            m.d.comb += self.last_row.eq(~self.together | self.row[:slot_bits].all() | final)
            with m.If(self.next_block & self.together):
                m.d.sync += self.row[:slot_bits].eq(0)
        with m.If(self.step):
            m.d.sync += self.part.eq(Mux(self.last_part, 0, self.part + 1))
        with m.If(self.next_row):
            m.d.sync += self.row.eq(self.row + 1)
        with m.If(self.next_block):
            m.d.sync += self.block.eq(self.block + 1)
        with m.If(self.next_group):
            m.d.sync += [self.block.eq(0), self.row.eq(Mux(final, 0, self.row + 1))]
        m.d.comb += self.turn.eq(1)
        if self.shared:
            self._count_share(m, final)
        return m

    def _count_share(self, m, final):
        """``phase`` counts the rows of a share; a block of a group begins with ``first``, that of the group's
        first row."""
        phase, following = Signal(8), Signal(8)
        first = Signal(8) if self.group > 1 else phase
        m.d.comb += [self.turn.eq(phase == (self.share - 1)[:8]), following.eq(Mux(self.turn, 0, phase + 1))]
        with m.If(self.next_row):
            m.d.sync += phase.eq(following)
        with m.If(self.next_block):
            m.d.sync += phase.eq(first)
        with m.If(self.next_group):
            m.d.sync += [phase.eq(Mux(final, 0, following)), first.eq(Mux(final, 0, following))]


class AddressWalk(wiring.Component):
    """Addresses of the beats of an operand: row r + 1 is ``stride`` behind row r, or, if both share,
    ``inner``; a row's blocks follow each other.

    Latency: 1 cycle from ``start`` to the first address.

    Parameters
    ----------
    width : bits of an address; group, beats, shared : as of :class:`RowWalk`

    Members
    -------
    start : In(1), base : In(width)
    stride, inner : In(width), and together, single, rows, blocks, share : as of :class:`RowWalk`; constant
        from the cycle after ``start`` to the last step; ``inner`` only with ``shared``
    step : In(1), the address was used
    active : Out(1), there is an address; addr : Out(width)
    """

    def __init__(self, *, width, group, beats, shared=False):
        self.width, self.group, self.beats, self.shared = width, group, beats, shared
        members = {
            "start": In(1),
            "base": In(width),
            "stride": In(width),
            "single": In(1),
            "rows": In(16),
            "blocks": In(11),
            "step": In(1),
            "active": Out(1),
            "addr": Out(width),
        }
        if group > 1:
            members["together"] = In(1)
        if shared:
            members |= {"share": In(8), "inner": In(width)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        walk = place(m, "walk", RowWalk(group=self.group, beats=self.beats, shared=self.shared))
        m.d.comb += [
            walk.step.eq(self.step),
            walk.single.eq(self.single),
            walk.rows.eq(self.rows),
            walk.blocks.eq(self.blocks),
        ]
        if self.group > 1:
            m.d.comb += walk.together.eq(self.together)
        if self.shared:
            m.d.comb += walk.share.eq(self.share)
        with m.If(self.step & walk.last):
            m.d.sync += self.active.eq(0)
        with m.If(self.start):
            m.d.sync += self.active.eq(1)
        if self.group == 1:
            self._rows(m, walk)
        else:
            self._groups(m, walk)
        return m

    def _delta(self, walk):
        """From a row to the next."""
        return Mux(walk.turn, self.stride, self.inner) if self.shared else self.stride

    def _rows(self, m, walk):
        """Without groups only rows begin anywhere else than where the beat before ended."""
        row, next_row = Signal(self.width), Signal(self.width)
        m.d.comb += next_row.eq(row + self._delta(walk))
        with m.If(self.step):
            m.d.sync += self.addr.eq(self.addr + 1)
        with m.If(walk.next_group):
            m.d.sync += [self.addr.eq(next_row), row.eq(next_row)]
        with m.If(self.start):
            m.d.sync += [self.addr.eq(self.base), row.eq(self.base)]

    def _groups(self, m, walk):
        """``row`` and ``group``: where the row's block begins, and that of the group's first row."""
        width = self.width
        row, group = Signal(width), Signal(width)
        next_row, next_block, next_group = Signal(width), Signal(width), Signal(width)
        beats = Mux(self.single, 1, self.beats)
        before = Mux(self.single, self.blocks - 1, (self.blocks - 1) << exact_log2(self.beats))
        m.d.comb += [
            next_row.eq(row + self._delta(walk)),
            next_block.eq(group + beats),
            next_group.eq(next_row - before),
        ]
        with m.If(self.step):
            m.d.sync += self.addr.eq(self.addr + 1)
        for moves, to, heads in (
            (walk.next_row, next_row, False),
            (walk.next_block, next_block, True),
            (walk.next_group, next_group, True),
            (self.start, self.base, True),
        ):
            with m.If(moves):
                m.d.sync += [self.addr.eq(to), row.eq(to)]
                if heads:
                    m.d.sync += group.eq(to)
