"""Reads a vector command's operands from vector memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import BLOCK, LocalConfig
from ..interfaces import RowLayout, vmem_port
from ..stream.bypass import BypassFIFO
from ..stream.fifo import FIFO
from ..stream.read_ahead import ReadAhead
from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place
from .walk import AddressWalk, row_group

__all__ = ["RowReader", "ScalarReader", "SharedPort"]


class RowReader(wiring.Component):
    """An operand's beats in the order of :class:`.walk.RowWalk`, words of vector memory; row r begins at
    ``base + (r // share) * stride``.

    Latency: 1 cycle more than the port's, from ``start`` to the first word.

    Requests up to :attr:`DEPTH` words ahead, only what there is room for: a word a cycle from a port of up
    to 4 cycles latency.

    Parameters
    ----------
    config : LocalConfig
    shared : whether there is ``share``, 1 without it

    Members
    -------
    start : In(1), base : In, an address of vector memory
    stride : In, and together, rows, blocks, share : as of :class:`.walk.RowWalk`; constant from the cycle
        after ``start`` until the last word has been requested
    port : Out(ReadPortSignature)
    o : Out(stream of ``lanes`` FP32)
    """

    DEPTH = 8

    def __init__(self, config: LocalConfig, *, shared=False):
        self.config, self.shared = config, shared
        width, self.group = config.vmem_addr_width, row_group(config.lanes)
        members = {
            "start": In(1),
            "base": In(width),
            "stride": In(width),
            "rows": In(16),
            "blocks": In(11),
            "port": Out(vmem_port(config)),
            "o": Out(stream.Signature(RowLayout(config))),
        }
        if self.group > 1:
            members["together"] = In(1)
        if shared:
            members["share"] = In(8)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.lanes
        walk = place(
            m,
            "walk",
            AddressWalk(width=len(self.base), group=self.group, beats=BLOCK // lanes, shared=self.shared),
        )
        reads = place(
            m,
            "reads",
            ReadAhead(
                request=len(self.base), answer=RowLayout(self.config), depth=self.DEPTH, queue=BypassFIFO
            ),
        )
        connect(m, reads.req, flipped(self.port.req))
        connect(m, reads.o, flipped(self.o))
        m.d.comb += [
            walk.start.eq(self.start),
            walk.base.eq(self.base),
            walk.stride.eq(self.stride),
            walk.rows.eq(self.rows),
            walk.blocks.eq(self.blocks),
            reads.i.valid.eq(walk.active),
            reads.i.payload.request.eq(walk.addr),
            walk.step.eq(reads.i.valid & reads.i.ready),
            reads.answered.eq(self.port.valid),
            reads.answer.eq(self.port.data),
        ]
        if self.group > 1:
            m.d.comb += walk.together.eq(self.together)
        if self.shared:
            m.d.comb += [walk.share.eq(self.share), walk.inner.eq(0)]
        return m


class ScalarReader(wiring.Component):
    """Row scalars: ``rows`` consecutive FP32 numbers of vector memory from number ``base``, those of a group
    of rows at a time.

    Latency: 2 cycles more than the port's, from ``start`` to the first numbers.

    Reads a word of vector memory for each group, up to :attr:`DEPTH` ahead.

    Parameters
    ----------
    config : LocalConfig

    Members
    -------
    start : In(1)
    base : In, the first number's address in numbers, a multiple of a line's: its ``row`` of vector memory,
        the ``place`` of the group in the row and the ``slot`` of the number in the group
    rows : In(16), at least 1, constant from the cycle after ``start`` until the last number came
    port : Out(ReadPortSignature)
    o : Out(stream of :func:`.walk.row_group` FP32)
    """

    DEPTH = 4

    def __init__(self, config: LocalConfig):
        self.config = config
        self.group = row_group(config.lanes)
        bits = {
            "slot": exact_log2(self.group),
            "place": exact_log2(config.lanes // self.group),
            "row": config.vmem_addr_width,
        }
        super().__init__(
            {
                "start": In(1),
                "base": In(data.StructLayout(bits)),
                "rows": In(16),
                "port": Out(vmem_port(config)),
                "o": Out(stream.Signature(data.ArrayLayout(32, self.group))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        base, group_bits = self.base, exact_log2(self.group)
        reads = place(
            m,
            "reads",
            ReadAhead(request=base.row.shape(), answer=self.o.payload.shape(), depth=self.DEPTH, queue=FIFO),
        )
        connect(m, reads.req, flipped(self.port.req))
        connect(m, reads.o, flipped(self.o))
        active, last = Signal(), Signal()
        group, arrived = Signal(16 - group_bits), Signal.like(base.place)
        at = Signal(data.StructLayout({"place": base.place.shape(), "row": base.row.shape()}))
        groups = data.ArrayLayout(reads.answer.shape(), self.config.lanes // self.group)
        m.d.comb += [
            reads.i.valid.eq(active),
            reads.i.payload.request.eq(at.row),
            last.eq(group == (self.rows - 1)[group_bits:16]),
            reads.answered.eq(self.port.valid),
            reads.answer.eq(groups(Value.cast(self.port.data))[arrived]),
        ]
        m.d.sync += arrived.eq(arrived + self.port.valid)
        with m.If(reads.i.valid & reads.i.ready):
            m.d.sync += [at.eq(at.as_value() + 1), group.eq(Mux(last, 0, group + 1)), active.eq(~last)]
        with m.If(self.start):
            m.d.sync += [active.eq(1), at.eq(Cat(base.place, base.row)), arrived.eq(base.place)]
        return m


class SharedPort(wiring.Component):
    """Two requesters in turn on one read port, after ``start`` the first one first.

    Latency: none.

    At most :attr:`DEPTH` requests may be unanswered.

    Parameters
    ----------
    config : LocalConfig

    Members
    -------
    start : In(1), nothing is requested
    i : In(ReadPortSignature).array(2)
    o : Out(ReadPortSignature)
    """

    DEPTH = 16

    def __init__(self, config: LocalConfig):
        self.config = config
        port = vmem_port(config)
        super().__init__({"start": In(1), "i": In(port).array(2), "o": Out(port)})

    def elaborate(self, platform):
        m = Module()
        turn = place(m, "turn", RoundRobin(count=2), reset=self.start)
        asked = place(m, "asked", FIFO(shape=1, depth=self.DEPTH))
        m.d.comb += [
            turn.request.eq(Cat(port.req.valid for port in self.i)),
            turn.accept.eq(self.o.req.ready & self.o.req.valid),
            self.o.req.valid.eq(turn.grant.any()),
            self.o.req.payload.eq(select(turn.grant, [port.req.payload for port in self.i])),
            asked.i.valid.eq(turn.accept),
            asked.i.payload.eq(turn.grant[1]),
            asked.o.ready.eq(self.o.valid),
        ]
        for n, port in enumerate(self.i):
            m.d.comb += [
                port.req.ready.eq(turn.open[n] & self.o.req.ready),
                port.data.eq(self.o.data),
                *([port.failed.eq(self.o.failed)] if self.config.ecc else []),
                port.valid.eq(self.o.valid & (asked.o.payload == n)),
            ]
        return m
