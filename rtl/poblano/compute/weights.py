"""Weight streams in; rows or columns for the array and block scales for the accumulator out."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import BLOCK, TileConfig
from ..ecc.events import ECCEvents, uses
from ..formats.element import Element, decode_operand, operand_layout
from ..formats.scale import SCALE, scale_of_float16, scale_of_float32, scale_of_power
from ..isa.weight_stream import ScaleFormat
from ..memory.sram import sram
from ..stream.fifo import BufferedFIFO
from ..stream.loop_walk import LoopWalk
from ..stream.select import word_mux
from ..verilog import place
from .array import WeightItemLayout
from .pe import NARROW

__all__ = ["HalfDecoder", "LOADER_COMMAND", "OperandDecoder", "ScalePortSignature", "WeightLoader"]

LOADER_COMMAND = {
    "element": Element,
    "scale": ScaleFormat,
    "minimum": 1,
    "transpose": 1,
    "steps": 16,
    "groups": 16,
}
"""A loader's command: the stream's format and its steps along K in each group of columns."""


class ScalePortSignature(wiring.Signature):
    """The accumulator's side of the scale store.

    Members
    -------
    en : Out(1), read from the oldest step
    part : Out, which ``scalers`` columns
    release : Out(1), with ``en``: this was the oldest step's last read
    scales, minima : In(SCALE for each segment and scaler), from the cycle after ``en`` until the next ``en``
    scales_flags, minima_flags : In(ECCEvents), with ``config.ecc``: whether a bit of those of all columns was
        corrected, whether they are not what was stored
    """

    def __init__(self, config: TileConfig):
        values = data.ArrayLayout(data.ArrayLayout(SCALE, config.scalers), config.array.segments)
        flags = In(ECCEvents())
        super().__init__(
            ({"scales_flags": flags, "minima_flags": flags} if config.ecc else {})
            | {
                "en": Out(1),
                "part": Out((config.array.cols // config.scalers - 1).bit_length()),
                "release": Out(1),
                "scales": In(values),
                "minima": In(values),
            }
        )


class WordLayout(data.UnionLayout):
    """A word of a weight stream of ``size`` bytes, as numbers of 32, 16, 8 or 4 bits."""

    def __init__(self, size):
        widths = {"words": 32, "halves": 16, "bytes": 8, "nibbles": 4}
        super().__init__({name: data.ArrayLayout(width, 8 * size // width) for name, width in widths.items()})


class OperandDecoder(wiring.Component):
    """The operand of a weight's 8-bit code, a 4-bit one in its low nibble; combinational."""

    def __init__(self, arithmetic):
        self.arithmetic = arithmetic
        super().__init__({"element": In(Element), "code": In(8), "o": Out(arithmetic.weight_operand)})

    def elaborate(self, platform):
        m = Module()
        arithmetic = self.arithmetic
        m.d.comb += self.o.as_value().eq(
            decode_operand(self.element, self.code, arithmetic.weights, arithmetic.special_bits)
        )
        return m


class HalfDecoder(wiring.Component):
    """The scale of a binary16 number; combinational."""

    i: In(16)
    o: Out(SCALE)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.as_value().eq(scale_of_float16(self.i))
        return m


class WeightLoader(wiring.Component):
    """Parses weight streams as :func:`~poblano.compute.reference.pack_weights` makes them.

    Latency: 3 cycles from an item's last word to the item.

    ``o`` gives one item a cycle, also across the scale sections as long as the words come early enough:
    words are taken ahead of the items, by :attr:`lines` words, and scales by :attr:`slots` steps. No word
    is taken that belongs to a command that is not there yet. A step's scales are in the store before its
    first item is given; they stay until ``scales.release``, which every step must get, also one without
    scales (whose values in the store mean nothing). Scales are stored in 19 bits; elements become operands.

    Parameters
    ----------
    config : TileConfig
    stream_bytes : of a word

    Members
    -------
    cmd : In(stream of :data:`LOADER_COMMAND`)
    i : In(stream(8 * stream_bytes))
    o : Out(stream(WeightItemLayout))
    scales : In(ScalePortSignature)
    active : Out(1), there are words to take
    ends : Out(1), the word that is taken is a command's last
    events : Out(ECCEvents), with ``config.ecc``, of words taken ahead
    """

    LATENCY = 3

    def __init__(self, config: TileConfig, *, stream_bytes):
        self.config, self.stream_bytes = config, stream_bytes
        super().__init__(
            ({"events": Out(ECCEvents())} if config.ecc else {})
            | {
                "cmd": In(stream.Signature(data.StructLayout(LOADER_COMMAND))),
                "i": In(stream.Signature(8 * stream_bytes)),
                "o": Out(stream.Signature(WeightItemLayout(config.array))),
                "scales": In(ScalePortSignature(config)),
                "active": Out(1),
                "ends": Out(1),
            }
        )

    @property
    def lines(self):
        """Words of elements taken ahead: enough to pass over scales and minima in F16."""
        array = self.config.array
        return 4 * -(-2 * array.segments * array.cols // self.stream_bytes)

    @property
    def slots(self):
        """Steps whose scales are kept: one that is drained, those in the array, one that is loaded, one
        that is parsed."""
        array = self.config.array
        latency = array.rows + array.cols + 16
        need = 2 + -(-latency // (array.passes_4bit * array.items))
        return 1 << (need - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        walk = place(m, "walk", LoopWalk(fields=LOADER_COMMAND, loops={"group": "groups", "step": "steps"}))
        connect(m, flipped(self.cmd), walk.cmd)
        m.d.comb += self.active.eq(walk.o.valid)
        format = walk.o.payload.command

        array, word_bytes = self.config.array, self.stream_bytes
        blocks = array.segments * array.cols
        line = data.StructLayout({"word": WordLayout(word_bytes), "transpose": 1, "element": Element})
        lines = place(m, "lines", BufferedFIFO(shape=line, depth=self.lines, ecc=self.config.ecc))
        if self.config.ecc:
            m.d.sync += self.events.eq(uses((lines.o.valid & lines.o.ready, lines)))

        # Parse: a step is its scales, its minima, its elements; section counts those that are complete.
        section = Signal(range(3))
        word = Signal(range(BLOCK * blocks // word_bytes))
        nibbles = Signal()
        in_scales, in_minima, in_elements = Signal(), Signal(), Signal()
        half, byte = Signal(), Signal()  # words of F16, of E8M0
        room, taken, last = Signal(), Signal(), Signal()

        def ends(size):
            return word == -(-size // word_bytes) - 1

        m.d.comb += [
            in_scales.eq((section == 0) & (format.scale != ScaleFormat.NONE)),
            in_minima.eq((section < 2) & ~in_scales & format.minimum),
            in_elements.eq(~in_scales & ~in_minima),
            half.eq(in_minima | (format.scale == ScaleFormat.F16)),
            byte.eq(in_scales & (format.scale == ScaleFormat.E8M0)),
            nibbles.eq(_is_narrow(format.element)),
            last.eq(
                Mux(
                    in_elements,
                    Mux(nibbles, ends(BLOCK * blocks // 2), ends(BLOCK * blocks)),
                    Mux(half, ends(2 * blocks), Mux(byte, ends(blocks), ends(4 * blocks))),
                )
            ),
            self.i.ready.eq(walk.o.valid & room & (lines.i.ready | ~in_elements)),
            taken.eq(self.i.valid & self.i.ready),
            walk.o.ready.eq(taken & in_elements & last),
            self.ends.eq(walk.o.ready & walk.o.payload.last.as_value().all()),
            lines.i.valid.eq(taken & in_elements),
            lines.i.payload.word.eq(self.i.payload),
            lines.i.payload.transpose.eq(format.transpose),
            lines.i.payload.element.eq(format.element),
        ]
        with m.If(taken):
            m.d.sync += word.eq(Mux(last, 0, word + 1))
            with m.If(last):
                m.d.sync += section.eq(Mux(in_elements, 0, Mux(in_scales, 1, 2)))

        self._store(m, room, walk.o.ready, taken & in_scales, taken & in_minima, half, byte, word)
        self._items(m, lines)
        return m

    def _store(self, m, room, stored, write_scales, write_minima, half, byte, word):
        """The scale store: a ring of steps; ``stored`` ends the newest step."""
        tile, word_bytes, port = self.config, self.stream_bytes, self.scales
        incoming = WordLayout(word_bytes)(self.i.payload)
        array, slots = tile.array, self.slots
        newest, oldest = Signal(range(slots)), Signal(range(slots))
        used = Signal(range(slots + 1))
        release = Signal()
        m.d.comb += [room.eq(used != slots), release.eq(port.en & port.release)]
        m.d.sync += used.eq(used + stored - release)
        with m.If(stored):
            m.d.sync += newest.eq(newest + 1)
        with m.If(release):
            m.d.sync += oldest.eq(oldest + 1)

        # A word holds this many FP32 values, twice as many F16, or four times as many E8M0.
        total = array.segments * array.cols
        count = min(word_bytes // 4, total)

        def fill(name, words):
            values = Signal(SCALE.size * min(len(words), total), name=name)
            m.d.comb += values.eq(Cat(words[:total]))
            return values.replicate(total // min(len(words), total))

        wholes = fill("wholes", [scale_of_float32(word) for word in incoming.words])
        decoders = [place(m, f"half{k}", HalfDecoder()) for k in range(word_bytes // 2)]
        m.d.comb += [decoder.i.eq(half) for decoder, half in zip(decoders, incoming.halves)]
        halves = fill("halves", [decoder.o for decoder in decoders])
        at = word[: (total // count).bit_length()]
        enables = Signal(total // count)
        one, two = C(1, 1) << at, C(3, 2) << Cat(0, at)
        values = Mux(half, halves, wholes)
        if array.arithmetic.mx_weights:
            values = Mux(byte, fill("powers", [scale_of_power(code) for code in incoming.bytes]), values)
        m.d.comb += enables.eq(Mux(half, two, Mux(byte, C(15, 4) << Cat(C(0, 2), at), one)))
        part = Signal.like(port.part)
        with m.If(port.en):
            m.d.sync += part.eq(port.part)
        for name, write, target in (
            ("scale_store", write_scales, port.scales),
            ("minimum_store", write_minima, port.minima),
        ):
            memory = sram(width=SCALE.size * total, depth=slots, granularity=SCALE.size * count, ecc=tile.ecc)
            place(m, name, memory)
            if tile.ecc:
                flags = port.scales_flags if target is port.scales else port.minima_flags
                m.d.comb += [flags.corrected.eq(memory.corrected.any()), flags.failed.eq(memory.failed.any())]
            write_port, read_port = memory.write, memory.read
            m.d.comb += [
                write_port.addr.eq(newest),
                write_port.data.eq(values),
                write_port.en.eq(Mux(write, enables, 0)),
                read_port.addr.eq(oldest),
                read_port.en.eq(port.en),
            ]
            parts = data.ArrayLayout(target[0].shape(), array.cols // tile.scalers)
            stored = data.ArrayLayout(parts, array.segments)(read_port.data)
            m.d.comb += [target[s].eq(word_mux(part, list(stored[s]))) for s in range(array.segments)]

    def _items(self, m, lines):
        """Takes words of elements apart, one item a cycle without a gap."""
        array, word_bits = self.config.array, 8 * self.stream_bytes
        row_bits, column_bits = 8 * array.load_rows * array.cols, 8 * array.load_rows * array.rows
        narrow_bits = row_bits // 2 if array.fp4_rate == 1 else row_bits
        line = Signal.like(lines.o.payload, reset_less=True)
        left = Signal(range(word_bits // min(narrow_bits, column_bits) + 1))  # items
        following = lines.o.payload

        def by_kind(line, of_column, of_narrow, of_row):
            return Mux(line.transpose, of_column, Mux(_is_narrow(line.element), of_narrow, of_row))

        items = by_kind(following, *(word_bits // bits for bits in (column_bits, narrow_bits, row_bits)))
        word = line.word.as_value()
        m.d.comb += [self.o.valid.eq(left != 0), lines.o.ready.eq((left == 0) | ((left == 1) & self.o.ready))]
        with m.If(lines.o.ready):
            m.d.sync += [line.eq(following), left.eq(Mux(lines.o.valid, items, 0))]
        with m.Elif(self.o.ready):
            m.d.sync += [
                left.eq(left - 1),
                word.eq(by_kind(line, word >> column_bits, word >> narrow_bits, word >> row_bits)),
            ]
        self._decode(m, line)

    def _decode(self, m, line):
        """The operands of the first item of ``line``."""
        array = self.config.array
        arithmetic = array.arithmetic
        narrow = Signal()
        m.d.comb += [self.o.payload.transpose.eq(line.transpose), narrow.eq(_is_narrow(line.element))]
        has_narrow = any(e.bits == 4 for e in arithmetic.weights)
        for b in range(array.load_rows):
            for k in range(max(array.rows, array.cols)):
                byte = _at(line.word.bytes, b * array.cols + k)
                if array.rows != array.cols:
                    byte = Mux(line.transpose, _at(line.word.bytes, b * array.rows + k), byte)
                target = self.o.payload.data[b][k]
                if array.fp4_rate == 1:
                    decoder = place(m, f"decoder{b}_{k}", OperandDecoder(arithmetic))
                    nibble = _at(line.word.nibbles, b * array.cols + k)
                    code = Mux(narrow, nibble, byte) if has_narrow else byte
                    m.d.comb += [
                        decoder.element.eq(line.element),
                        decoder.code.eq(code[:8]),
                        target.eq(decoder.o),
                    ]
                else:
                    self._pair(m, target, byte, narrow, line.element)

    def _pair(self, m, target, byte, narrow, element):
        """The operand of a byte: two 4-bit weights, or one of 8 bits in halves."""
        arithmetic = self.config.array.arithmetic
        small = tuple(e for e in arithmetic.weights if e.bits == 4)
        wide = tuple(e for e in arithmetic.weights if e.bits == 8)
        low, high = (
            data.View(operand_layout(small, 0), decode_operand(element, code, small, 0))
            for code in (byte[:4], byte[4:])
        )
        m.d.comb += [target.dual.eq(1), target.low.eq(low.significand), target.high.eq(high.significand)]
        if wide:
            whole = data.View(
                operand_layout(wide, arithmetic.special_bits),
                decode_operand(element, byte, wide, arithmetic.special_bits),
            )
            with m.If(~narrow):
                m.d.comb += [
                    target.dual.eq(0),
                    target.low.eq(whole.significand[:NARROW]),
                    target.high.eq(whole.significand >> NARROW),
                    target.exponent.eq(whole.exponent),
                    target.special.eq(whole.special),
                ]


def _is_narrow(element):
    """Whether an element has 4 bits."""
    return element.matches(*(e for e in Element if e.bits == 4))


def _at(numbers, k):
    """The number ``k`` of an array; 0 past its end."""
    return numbers[k] if k < len(numbers) else C(0, 1)
