"""Reads activation memory in the order in which the array and the accumulator use it."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ChipConfig
from ..formats.element import Activation, Element, decode_operand
from ..interfaces import matmul_data_port, matmul_meta_port
from ..stream.delay import word_mux
from ..stream.loop_walk import LoopWalk
from ..verilog import place

__all__ = ["ActivationReader", "READER_COMMAND"]

READER_COMMAND = {
    "a": 16,
    "a_stride": 16,
    "rows": 16,
    "steps": 16,
    "passes": 6,
    "groups": 16,
    "activation": 3,
    "dual": 1,
}
"""A reader's command: the first word, words from a row to the next, the loops' bounds, the format, and
whether weights are two by two."""


class ActivationReader(wiring.Component):
    """For each group, each step along K, each pass and each row: the operands of the pass's part of a word
    of activation memory.

    The word of row m and step k is ``a + m*a_stride + k``. Up to :attr:`DEPTH` words are requested ahead,
    and only what there is room for. Sustains one word a cycle from a port of up to 3 cycles latency.

    Parameters
    ----------
    config : ChipConfig
    meta : True reads scales and sums as they are, of a word once; False reads elements, of which each pass
        gets the array's rows (``dual``: two for each row)

    Members
    -------
    cmd : In(stream of :data:`READER_COMMAND`)
    port : Out(ReadPortSignature)
    o : Out(stream), ``data``, activation lanes or a word, and ``first``, set for row 0
    active : Out(1), there are words to request
    """

    DEPTH = 8

    def __init__(self, config: ChipConfig, *, meta):
        self.config, self.meta = config, meta
        port = matmul_meta_port(config) if meta else matmul_data_port(config)
        array = config.tile.array
        shape = (
            Shape.cast(port.members["data"].shape)
            if meta
            else data.ArrayLayout(array.arithmetic.activation_lane, array.rows)
        )
        super().__init__(
            {
                "cmd": In(stream.Signature(data.StructLayout(READER_COMMAND))),
                "port": Out(port),
                "o": Out(stream.Signature(data.StructLayout({"data": shape, "first": 1}))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        array = self.config.tile.array
        passes = 1 if self.meta else array.passes
        walk = place(
            m,
            "walk",
            LoopWalk(
                fields=READER_COMMAND,
                loops={
                    "group": "groups",
                    "step": "steps",
                    "pass_": 1 if self.meta else "passes",
                    "row": "rows",
                },
            ),
        )
        connect(m, flipped(self.cmd), walk.cmd)
        at, port = walk.o.payload, self.port
        format = Cat(at.first.row, at.command.dual, at.command.activation)
        pass_bits = (passes - 1).bit_length()
        word = Value.cast(port.data)
        width = len(word) // (passes if array.fp4_rate == 1 or self.meta else array.passes_4bit)
        parts = place(m, "parts", SyncFIFO(width=pass_bits + len(format), depth=self.DEPTH))
        words = place(m, "words", SyncFIFOBuffered(width=width + len(format), depth=self.DEPTH))

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
            parts.w_data.eq(Cat(format, at.index.pass_[:pass_bits])),
            parts.r_en.eq(port.valid),
        ]
        m.d.sync += room.eq(room - request + leave)
        with m.If(request):
            m.d.sync += addr_reg.eq(addr + at.command.a_stride)
            with m.If(at.last.row & at.last.pass_):
                m.d.sync += base_reg.eq(base + 1)

        index = parts.r_data[len(format) :]
        part = word_mux(index, [word.word_select(k, len(word) // passes) for k in range(passes)])
        if width > len(part):  # two passes at once
            part = Mux(
                parts.r_data[1],
                word_mux(index[:-1], [word.word_select(k, width) for k in range(len(word) // width)]),
                part,
            )
        m.d.comb += [
            words.w_en.eq(port.valid),
            words.w_data.eq(Cat(part, parts.r_data[: len(format)])),
            self.o.payload.first.eq(words.r_data[width]),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]
        out, activation = Value.cast(self.o.payload.data), words.r_data[width + 2 :]
        m.d.comb += out.eq(
            words.r_data[:width]
            if self.meta
            else self._operands(words.r_data[:width], words.r_data[width + 1], activation)
        )
        return m

    def _operands(self, codes, dual, activation):
        array = self.config.tile.array
        arithmetic = array.arithmetic
        element = activation
        if len(arithmetic.activation_elements) > 1:
            element = Mux(activation < 2, Element.S8, activation + (Element.E4M3 - Activation.MXFP8_E4M3))
        decode = lambda code: decode_operand(
            element, code, arithmetic.activation_elements, arithmetic.special_bits, symmetric=True
        )
        single = [codes.word_select(k, 8) for k in range(array.rows)]
        if array.fp4_rate == 1:
            return Cat(decode(code) for code in single)
        pairs = [codes.word_select(k, 8) for k in range(2 * array.rows)]
        return Cat(decode(Mux(dual, pairs[k], single[k // 2])) for k in range(2 * array.rows))
