"""Reads a vector command's operands from vector memory."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import ChipConfig
from ..interfaces import vmem_port
from ..stream.round_robin import RoundRobin
from ..stream.select import select
from ..verilog import place

__all__ = ["RowReader", "ScalarReader", "SharedPort"]


class RowReader(wiring.Component):
    """Rows of an operand: for each of ``rows`` rows, ``beats`` consecutive words of vector memory from
    ``base + row * stride``.

    Latency: 3 cycles more than the port's, from ``start`` to the first word.

    Begins in the cycle after ``start``; the other inputs stay until the last word has been requested.
    Requests up to :attr:`DEPTH` words ahead, only what there is room for: a word a cycle from a port of up
    to 4 cycles latency.

    Members
    -------
    start : In(1)
    base, stride : In, addresses of vector memory; rows, beats : In(16), at least 1
    port : Out(ReadPortSignature)
    o : Out(stream of ``lanes`` FP32)
    """

    DEPTH = 8

    def __init__(self, config: ChipConfig):
        self.config = config
        width = config.tile.vmem_addr_width
        super().__init__(
            {
                "start": In(1),
                "base": In(width),
                "stride": In(width),
                "rows": In(16),
                "beats": In(16),
                "port": Out(vmem_port(config)),
                "o": Out(stream.Signature(32 * config.tile.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        port = self.port
        words = place(m, "words", SyncFIFOBuffered(width=32 * self.config.tile.lanes, depth=self.DEPTH))
        active, request = Signal(), Signal()
        rows_left, beats_left = Signal(16), Signal(16)
        row, addr, next_row = Signal.like(self.base), Signal.like(self.base), Signal.like(self.base)
        room = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        m.d.comb += [
            port.req.valid.eq(active & (room != 0)),
            port.req.payload.eq(addr),
            request.eq(port.req.valid & port.req.ready),
            next_row.eq(row + self.stride),
            words.w_en.eq(port.valid),
            words.w_data.eq(port.data),
            self.o.payload.eq(words.r_data),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]
        m.d.sync += room.eq(room - request + (self.o.valid & self.o.ready))
        with m.If(request):
            m.d.sync += [addr.eq(addr + 1), beats_left.eq(beats_left - 1)]
            with m.If(beats_left == 1):
                m.d.sync += [
                    row.eq(next_row),
                    addr.eq(next_row),
                    beats_left.eq(self.beats),
                    rows_left.eq(rows_left - 1),
                    active.eq(rows_left != 1),
                ]
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                row.eq(self.base),
                addr.eq(self.base),
                beats_left.eq(self.beats),
                rows_left.eq(self.rows),
            ]
        return m


class ScalarReader(wiring.Component):
    """Row scalars: ``rows`` consecutive FP32 numbers of vector memory from number ``base``.

    Latency: 3 cycles more than the port's, from ``start`` to the first number.

    Begins in the cycle after ``start``; the other inputs stay until the last number came. Reads a word of
    vector memory for each number, up to :attr:`DEPTH` ahead.

    Members
    -------
    start : In(1)
    base : In, the first number's address in numbers; rows : In(16), at least 1
    port : Out(ReadPortSignature)
    o : Out(stream(32))
    """

    DEPTH = 4

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "base": In(config.tile.vmem_addr_width + exact_log2(config.tile.lanes)),
                "rows": In(16),
                "port": Out(vmem_port(config)),
                "o": Out(stream.Signature(32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        port = self.port
        lane_bits = exact_log2(self.config.tile.lanes)
        numbers = place(m, "numbers", SyncFIFOBuffered(width=32, depth=self.DEPTH))
        rows_left = Signal(16)
        addr, lane = Signal.like(self.base), Signal(lane_bits)
        room = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        request = Signal()
        m.d.comb += [
            port.req.valid.eq((rows_left != 0) & (room != 0)),
            port.req.payload.eq(addr[lane_bits:]),
            request.eq(port.req.valid & port.req.ready),
            numbers.w_en.eq(port.valid),
            numbers.w_data.eq(Value.cast(port.data).word_select(lane, 32)),
            self.o.payload.eq(numbers.r_data),
            self.o.valid.eq(numbers.r_rdy),
            numbers.r_en.eq(self.o.ready),
        ]
        m.d.sync += [room.eq(room - request + (self.o.valid & self.o.ready)), lane.eq(lane + port.valid)]
        with m.If(request):
            m.d.sync += [addr.eq(addr + 1), rows_left.eq(rows_left - 1)]
        with m.If(self.start):
            m.d.sync += [addr.eq(self.base), lane.eq(self.base[:lane_bits]), rows_left.eq(self.rows)]
        return m


class SharedPort(wiring.Component):
    """Two requesters in turn on one read port. At most :attr:`DEPTH` requests may be
    unanswered.

    Latency: none.

    Members
    -------
    i : In(ReadPortSignature).array(2)
    o : Out(ReadPortSignature)
    """

    DEPTH = 16

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__({"i": In(vmem_port(config)).array(2), "o": Out(vmem_port(config))})

    def elaborate(self, platform):
        m = Module()
        turn = place(m, "turn", RoundRobin(count=2))
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
