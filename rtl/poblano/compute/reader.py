"""Reads activation memory in the order in which the array and the accumulator use it."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ChipConfig
from ..interfaces import matmul_data_port, matmul_meta_port
from ..verilog import place
from .delay import word_mux
from .walk import Walk

__all__ = ["ActivationReader", "READER_COMMAND"]

READER_COMMAND = {"a": 16, "a_stride": 16, "rows": 16, "steps": 16, "groups": 16}
"""A reader's command: the first word, words from a row to the next, and the loops' bounds."""


class ActivationReader(wiring.Component):
    """For each group, each step along K, each pass and each row: the pass's part of a word of activation memory.

    The word of row m and step k is ``a + m*a_stride + k``. Up to :attr:`DEPTH` words are requested ahead, and only what
    there is room for. Sustains one word a cycle from a port of up to 3 cycles latency.

    Parameters
    ----------
    config : ChipConfig
    meta : True reads scales and sums, of a word once; False reads elements, of which each pass gets the array's rows

    Members
    -------
    cmd : In(stream of :data:`READER_COMMAND`)
    port : Out(ReadPortSignature)
    o : Out(stream), ``data``, a part of a word, and ``first``, set for row 0
    active : Out(1), there are words to request
    """

    DEPTH = 8

    def __init__(self, config: ChipConfig, *, meta):
        self.config, self.meta = config, meta
        port = matmul_meta_port(config) if meta else matmul_data_port(config)
        self._passes = 1 if meta else config.tile.array.passes
        self._width = Shape.cast(port.members["data"].shape).width // self._passes
        super().__init__({
            "cmd": In(stream.Signature(data.StructLayout(READER_COMMAND))),
            "port": Out(port),
            "o": Out(stream.Signature(data.StructLayout({"data": self._width, "first": 1}))),
            "active": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        walk = place(m, "walk", Walk(fields=READER_COMMAND,
                                     loops={"group": "groups", "step": "steps", "pass_": self._passes, "row": "rows"}))
        connect(m, flipped(self.cmd), walk.cmd)
        at, port = walk.o.payload, self.port
        pass_bits = len(at.index.pass_)
        m.submodules.parts = parts = SyncFIFO(width=pass_bits + 1, depth=self.DEPTH)
        m.submodules.words = words = SyncFIFOBuffered(width=self._width + 1, depth=self.DEPTH)

        base, base_reg, addr, addr_reg = Signal(16), Signal(16), Signal(16), Signal(16)
        room = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        request, leave = Signal(), Signal()
        m.d.comb += [
            base.eq(Mux(at.first.step, at.command.a, base_reg)),
            addr.eq(Mux(at.first.row, base, addr_reg)),
            self.active.eq(walk.o.valid),
            port.req.valid.eq(walk.o.valid & (room != 0)),
            port.req.payload.eq(addr),
            walk.o.ready.eq(port.req.ready & (room != 0)),
            request.eq(port.req.valid & port.req.ready),
            leave.eq(self.o.valid & self.o.ready),
            parts.w_en.eq(request),
            parts.w_data.eq(Cat(at.first.row, at.index.pass_)),
            parts.r_en.eq(port.valid),
        ]
        m.d.sync += room.eq(room - request + leave)
        with m.If(request):
            m.d.sync += addr_reg.eq(addr + at.command.a_stride)
            with m.If(at.last.row & at.last.pass_):
                m.d.sync += base_reg.eq(base + 1)

        word = Value.cast(port.data)
        part = word_mux(parts.r_data[1:], [word.word_select(k, self._width) for k in range(self._passes)])
        m.d.comb += [
            words.w_en.eq(port.valid),
            words.w_data.eq(Cat(part, parts.r_data[0])),
            self.o.payload.eq(words.r_data),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]
        return m
