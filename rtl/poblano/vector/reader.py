"""Reads a vector command's operands from vector memory."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import BLOCK, ChipConfig
from ..interfaces import vmem_port
from ..stream.bypass import BypassFIFO
from ..stream.round_robin import RoundRobin, select
from ..verilog import place
from .walk import AddressWalk, row_group

__all__ = ["RowReader", "ScalarReader", "SharedPort"]


class RowReader(wiring.Component):
    """An operand's beats in the order of :class:`.walk.RowWalk`, words of vector memory; row r begins at
    ``base + (r // share) * stride``.

    Latency: 1 cycle more than the port's, from ``start`` to the first word.

    Requests up to
    :attr:`DEPTH` words ahead, only what there is room for: a word a cycle from a port of up to 4 cycles
    latency.

    Parameters
    ----------
    config : ChipConfig
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

    def __init__(self, config: ChipConfig, *, shared=False):
        self.config, self.shared = config, shared
        width, self.group = config.tile.vmem_addr_width, row_group(config.tile.lanes)
        members = {
            "start": In(1),
            "base": In(width),
            "stride": In(width),
            "rows": In(16),
            "blocks": In(11),
            "port": Out(vmem_port(config)),
            "o": Out(stream.Signature(32 * config.tile.lanes)),
        }
        if self.group > 1:
            members["together"] = In(1)
        if shared:
            members["share"] = In(8)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        port, lanes = self.port, self.config.tile.lanes
        walk = place(
            m,
            "walk",
            AddressWalk(width=len(self.base), group=self.group, beats=BLOCK // lanes, shared=self.shared),
        )
        words = place(m, "words", BypassFIFO(width=32 * lanes, depth=self.DEPTH))
        room = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        wiring.connect(m, wiring.flipped(self.o), words.o)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.base.eq(self.base),
            walk.stride.eq(self.stride),
            walk.rows.eq(self.rows),
            walk.blocks.eq(self.blocks),
            port.req.valid.eq(walk.active & (room != 0)),
            port.req.payload.eq(walk.addr),
            walk.step.eq(port.req.valid & port.req.ready),
            words.i.valid.eq(port.valid),
            words.i.payload.eq(port.data),
        ]
        if self.group > 1:
            m.d.comb += walk.together.eq(self.together)
        if self.shared:
            m.d.comb += [walk.share.eq(self.share), walk.inner.eq(0)]
        m.d.sync += room.eq(room - walk.step + (self.o.valid & self.o.ready))
        return m


class ScalarReader(wiring.Component):
    """Row scalars: ``rows`` consecutive FP32 numbers of vector memory from number ``base``, those of a group
    of rows at a time.

    Latency: 2 cycles more than the port's, from ``start`` to the first numbers.

    Reads a word of
    vector memory for each group, up to :attr:`DEPTH` ahead.

    Members
    -------
    start : In(1)
    base : In, the first number's address in numbers, a multiple of a line's
    rows : In(16), at least 1, constant from the cycle after ``start`` until the last number came
    port : Out(ReadPortSignature)
    o : Out(stream of :func:`.walk.row_group` FP32)
    """

    DEPTH = 4

    def __init__(self, config: ChipConfig):
        self.config = config
        self.group = row_group(config.tile.lanes)
        super().__init__(
            {
                "start": In(1),
                "base": In(config.tile.vmem_addr_width + exact_log2(config.tile.lanes)),
                "rows": In(16),
                "port": Out(vmem_port(config)),
                "o": Out(stream.Signature(32 * self.group)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        port = self.port
        group_bits = exact_log2(self.group)
        places = exact_log2(self.config.tile.lanes) - group_bits  # of a group in a word of vector memory
        numbers = place(m, "numbers", SyncFIFO(width=32 * self.group, depth=self.DEPTH))
        active, last, request = Signal(), Signal(), Signal()
        group, arrived = Signal(16 - group_bits), Signal(places)
        addr = Signal(len(self.base) - group_bits)
        room = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        m.d.comb += [
            port.req.valid.eq(active & (room != 0)),
            port.req.payload.eq(addr[places:]),
            request.eq(port.req.valid & port.req.ready),
            last.eq(group == (self.rows - 1)[group_bits:16]),
            numbers.w_en.eq(port.valid),
            numbers.w_data.eq(Value.cast(port.data).word_select(arrived, 32 * self.group)),
            self.o.payload.eq(numbers.r_data),
            self.o.valid.eq(numbers.r_rdy),
            numbers.r_en.eq(self.o.ready),
        ]
        m.d.sync += [
            room.eq(room - request + (self.o.valid & self.o.ready)),
            arrived.eq(arrived + port.valid),
        ]
        with m.If(request):
            m.d.sync += [addr.eq(addr + 1), group.eq(Mux(last, 0, group + 1)), active.eq(~last)]
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                addr.eq(self.base[group_bits:]),
                arrived.eq(self.base[group_bits : group_bits + places]),
            ]
        return m


class SharedPort(wiring.Component):
    """Two requesters in turn on one read port, after ``start`` the first one first.

    Latency: none.

    At most :attr:`DEPTH` requests may be unanswered.

    Members
    -------
    start : In(1), nothing is requested
    i : In(ReadPortSignature).array(2)
    o : Out(ReadPortSignature)
    """

    DEPTH = 16

    def __init__(self, config: ChipConfig):
        self.config = config
        port = vmem_port(config)
        super().__init__({"start": In(1), "i": In(port).array(2), "o": Out(port)})

    def elaborate(self, platform):
        m = Module()
        turn = place(m, "turn", RoundRobin(count=2), reset=self.start)
        asked = place(m, "asked", SyncFIFO(width=1, depth=self.DEPTH))
        m.d.comb += [
            turn.request.eq(Cat(port.req.valid for port in self.i)),
            turn.accept.eq(self.o.req.ready & self.o.req.valid),
            self.o.req.valid.eq(turn.grant.any()),
            self.o.req.payload.eq(select(turn.grant, [port.req.payload for port in self.i])),
            asked.w_en.eq(turn.accept),
            asked.w_data.eq(turn.grant[1]),
            asked.r_en.eq(self.o.valid),
        ]
        for n, port in enumerate(self.i):
            m.d.comb += [
                port.req.ready.eq(turn.grant[n] & self.o.req.ready),
                port.data.eq(self.o.data),
                port.valid.eq(self.o.valid & (asked.r_data == n)),
            ]
        return m
