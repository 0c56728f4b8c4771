"""Reads activation memory in the order in which the array and the accumulator use it."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import LocalConfig, TileConfig
from ..formats.element import Activation, Element, decode_operand
from ..interfaces import meta_port, word_port
from ..stream.loop_walk import LoopWalk
from ..stream.read_ahead import ReadAhead
from ..stream.select import word_mux
from ..verilog import place

__all__ = ["ActivationReader", "reader_command"]


def reader_command(config: LocalConfig):
    """A reader's command: the first word, words from a row to the next, the loops' bounds, the format, and
    whether weights are two by two."""
    width = config.word_addr_width
    return {
        "a": width,
        "a_stride": width,
        "rows": 16,
        "steps": 16,
        "passes": 6,
        "outer": 16,
        "inner": 16,
        "activation": Activation,
        "dual": 1,
    }


class ActivationReader(wiring.Component):
    """For each group, each step along K, each pass and each row: the operands of the pass's part of a word
    of activation memory. Of the groups the ``inner`` ones are in the loop over steps, the ``outer`` ones
    around it.

    Latency: 3 cycles more than the port's, from a command to its first word.

    The word of row m and step k is ``a + m*a_stride + k``. Up to :attr:`DEPTH` words are requested ahead,
    and only what there is room for. Sustains one word a cycle from a port of up to 3 cycles latency.

    Parameters
    ----------
    config : TileConfig
    meta : True reads scales and sums as they are, of a word once; False reads elements, of which each pass
        gets the array's rows (``dual``: two for each row)

    Members
    -------
    cmd : In(stream of :func:`reader_command`)
    port : Out(ReadPortSignature)
    o : Out(stream), ``data``, activation lanes or a word, and ``first``, set for row 0
    active : Out(1), there are words to request
    """

    DEPTH = 8
    LATENCY = 3
    """Beside the port's."""

    def __init__(self, config: TileConfig, *, meta):
        self.config, self.meta = config, meta
        port = meta_port(config.local) if meta else word_port(config.local)
        array = config.array
        shape = (
            port.members["data"].shape
            if meta
            else data.ArrayLayout(array.arithmetic.activation_lane, array.rows)
        )
        super().__init__(
            {
                "cmd": In(stream.Signature(data.StructLayout(reader_command(config.local)))),
                "port": Out(port),
                "o": Out(stream.Signature(data.StructLayout({"data": shape, "first": 1}))),
                "active": Out(1),
            }
        )

    @property
    def _tag(self):
        """What is known of a word when it is requested."""
        tag: dict = {"first": 1}
        if not self.meta:
            pass_bits = (self.config.array.passes - 1).bit_length()
            tag |= {"dual": 1, "activation": Activation, "pass_": pass_bits}
        return data.StructLayout(tag)

    @property
    def _kept(self):
        """What is kept of a word: all of it, or the codes of a pass with what decodes them."""
        array = self.config.array
        word = self.port.data.shape()
        if self.meta:
            return data.StructLayout({"data": word, "first": 1})
        passes = array.passes if array.fp4_rate == 1 else array.passes_4bit
        codes = data.ArrayLayout(8, word.size // passes // 8)
        return data.StructLayout({"codes": codes, "first": 1, "dual": 1, "activation": Activation})

    def elaborate(self, platform):
        m = Module()
        reads = place(
            m,
            "reads",
            ReadAhead(request=len(self.port.req.payload), tag=self._tag, answer=self._kept, depth=self.DEPTH),
        )
        self._requests(m, reads)
        kept = reads.o.payload
        m.d.comb += [
            self.o.payload.first.eq(kept.first),
            self.o.valid.eq(reads.o.valid),
            reads.o.ready.eq(self.o.ready),
            reads.answered.eq(self.port.valid),
            reads.answer.first.eq(reads.tag.first),
        ]
        if self.meta:
            m.d.comb += [reads.answer.data.eq(self.port.data), self.o.payload.data.eq(kept.data)]
        else:
            m.d.comb += [
                reads.answer.codes.eq(self._part(reads.tag)),
                reads.answer.dual.eq(reads.tag.dual),
                reads.answer.activation.eq(reads.tag.activation),
                self.o.payload.data.eq(self._operands(kept)),
            ]
        return m

    def _requests(self, m, reads):
        """The words' addresses, in the order of the loops."""
        passes = 1 if self.meta else "passes"
        loops = {"outer": "outer", "step": "steps", "inner": "inner", "pass_": passes, "row": "rows"}
        walk = place(m, "walk", LoopWalk(fields=reader_command(self.config.local), loops=loops))
        connect(m, flipped(self.cmd), walk.cmd)
        connect(m, reads.req, flipped(self.port.req))
        at, request = walk.o.payload, reads.i.payload
        base, base_reg, addr, addr_reg = (
            Signal.like(self.port.req.payload, name=name) for name in ("base", "base_reg", "addr", "addr_reg")
        )
        m.d.comb += [
            base.eq(Mux(at.first.step, at.command.a, base_reg)),
            addr.eq(Mux(at.first.row, base, addr_reg)),
            self.active.eq(walk.o.valid),
            request.request.eq(addr),
            request.tag.first.eq(at.first.row),
            reads.i.valid.eq(walk.o.valid),
            walk.o.ready.eq(reads.i.ready),
        ]
        if not self.meta:
            m.d.comb += [
                request.tag.dual.eq(at.command.dual),
                request.tag.activation.eq(at.command.activation),
                request.tag.pass_.eq(at.index.pass_),
            ]
        with m.If(walk.o.valid & walk.o.ready):
            m.d.sync += addr_reg.eq(addr + at.command.a_stride)
            with m.If(at.last.row & at.last.pass_ & at.last.inner):
                m.d.sync += base_reg.eq(base + 1)

    def _part(self, tag):
        """The codes of the tag's pass in the word that comes."""
        array, word = self.config.array, Value.cast(self.port.data)
        parts = lambda count: list(data.ArrayLayout(len(word) // count, count)(word))
        part = word_mux(tag.pass_, parts(array.passes))
        if array.fp4_rate == 1:
            return part
        # Two passes at once.
        return Mux(tag.dual, word_mux(tag.pass_[:-1], parts(array.passes_4bit)), part)

    def _operands(self, kept):
        array = self.config.array
        arithmetic = array.arithmetic
        element = kept.activation
        if len(arithmetic.activation_elements) > 1:
            first = Activation.MXFP8_E4M3
            element = Mux(element < first, Element.S8, element + (Element.E4M3 - first))
        decode = lambda code: decode_operand(
            element, code, arithmetic.activation_elements, arithmetic.special_bits, symmetric=True
        )
        if array.fp4_rate == 1:
            return Cat(decode(code) for code in kept.codes)
        return Cat(decode(Mux(kept.dual, kept.codes[k], kept.codes[k // 2])) for k in range(2 * array.rows))
