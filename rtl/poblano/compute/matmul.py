"""The matmul unit: executes MATMUL commands on the systolic array."""

from functools import reduce
from operator import or_

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import TileConfig
from ..ecc.events import ECCEvents
from ..interfaces import BusWrite, LocalWrite, UnitSignature, meta_port, word_port
from ..isa.commands import ErrorCode, Opcode
from ..isa.layout import CommandLayout
from ..isa.weight_stream import Activation, Element, ScaleFormat, weight_quantum
from ..stream.broadcast import Broadcast
from ..verilog import gated_clock, place
from .accumulator import Accumulator
from .array import SystolicArray
from .reader import ActivationReader
from .weights import WeightLoader
from .writer import ResultWriter

__all__ = ["MatmulUnit"]


class MatmulUnit(wiring.Component):
    """Products of quantised activations in activation memory and weights from the stream, to vector memories.

    Latency: about 2*rows + cols + M * cols / scalers + 42 cycles, to fill and empty the pipelines.

    Takes MATMUL and NOP commands, which have been checked. A command's parts (loading weights, reading
    activations, accumulating, writing) start as soon as they are done with the command before, so that
    commands overlap; results and ``done`` come in command order. A command is transferred when the last
    part of the one before has started, a NOP when nothing is in progress. Words of the weight stream are
    taken only for a command that is there. The last word of a command must be the last of one of the stream
    unit's: the error is LENGTH otherwise.

    With ``config.ecc``, the use of a word that check bits could not correct is an error: of the weight
    stream, of its command, elsewhere of the oldest command in progress.

    With weights and outputs always available a command of M rows, P passes of I items (array rows, columns
    with transpose, divided by ``load_rows``) takes groups * steps * P * max(M, I) cycles, if this covers
    the drain (M * cols / scalers for each step), and the latency.

    Parameters
    ----------
    config : TileConfig
    tiles : of the chip
    stream_bytes : of a word of the weight stream

    Members
    -------
    tile : In(5), the own tile's number; constant
    unit : In(UnitSignature())
    weights : In(stream(8 * stream_bytes))
    last : In(1), the word at ``weights`` is the last of a STREAM
    weights_failed : In(1), with ``config.ecc``, beside it: the word is not what memory gave
    a, meta : Out(ReadPortSignature), words of activation memory: elements; scales and sums. Latency 1 to 3.
    local, bus : Out(stream of LocalWrite, of BusWrite)
    events : Out(ECCEvents), with ``config.ecc``, of the unit's own memories
    """

    FORK = 2
    """Cycles from a command's transfer to its parts' first iterations."""

    def __init__(self, config: TileConfig, *, tiles, stream_bytes):
        self.config, self.tiles, self.stream_bytes = config, tiles, stream_bytes
        local = config.local
        super().__init__(
            ({"weights_failed": In(1), "events": Out(ECCEvents())} if config.ecc else {})
            | {
                "tile": In(5),
                "unit": In(UnitSignature()),
                "weights": In(stream.Signature(8 * stream_bytes)),
                "last": In(1),
                "a": Out(word_port(local)),
                "meta": Out(meta_port(local)),
                "local": Out(stream.Signature(LocalWrite(local))),
                "bus": Out(stream.Signature(BusWrite(local, tiles=tiles))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        clock = gated_clock(m, "parts", self.unit.busy)
        part = lambda name, component: place(m, name, component, clock=clock)
        loader = part("loader", WeightLoader(self.config, stream_bytes=self.stream_bytes))
        reader = part("reader", ActivationReader(self.config, meta=False))
        meta = part("meta_reader", ActivationReader(self.config, meta=True))
        array = part("array", SystolicArray(self.config.array))
        accumulator = part("accumulator", Accumulator(self.config))
        writer = part("writer", ResultWriter(self.config, tiles=self.tiles))

        connect(m, flipped(self.weights), loader.i)
        connect(m, reader.port, flipped(self.a))
        connect(m, meta.port, flipped(self.meta))
        connect(m, loader.o, array.w)
        connect(m, reader.o, array.a)
        connect(m, array.o, accumulator.sums)
        connect(m, accumulator.scales, loader.scales)
        connect(m, accumulator.o, writer.i)
        connect(m, writer.local, flipped(self.local))
        connect(m, writer.bus, flipped(self.bus))
        m.d.comb += [
            accumulator.meta.payload.eq(meta.o.payload.data),
            accumulator.meta.valid.eq(meta.o.valid),
            meta.o.ready.eq(accumulator.meta.ready),
            writer.tile.eq(self.tile),
        ]
        parts = (loader.cmd, reader.cmd, meta.cmd, accumulator.cmd, writer.cmd)
        failed = self._failed(m, loader, accumulator, writer) if self.config.ecc else None
        self._commands(m, parts, writer.done)
        self._errors(m, loader.ends, writer.done, failed)

        starved = reader.active & ~(array.a.valid & array.a.ready) & ~(array.o.valid & ~array.o.ready)
        m.d.comb += [
            self.unit.idle.eq(1),
            self.unit.stall_in.eq(
                starved & ~array.loaded & ~loader.o.valid | starved & array.loaded & ~reader.o.valid
            ),
            self.unit.stall_out.eq(
                (self.local.valid & ~self.local.ready) | (self.bus.valid & ~self.bus.ready)
            ),
        ]
        return m

    def _errors(self, m, ends, completed, failed):
        """The error of a command whose weights do not end where a STREAM does, or failed, when all before it
        are done; and that of what else has ``failed``."""
        # Commands that have all their weights; those before the wrong one.
        loaded, before = Signal(4), Signal(4)
        wrong, left = Signal(), Signal(4)
        bad, error, code = ends & ~self.last, wrong & (before == 0), Value.cast(ErrorCode.LENGTH)
        if failed is not None:
            weights, of_weights, late = Signal(), Signal(), Signal()
            m.d.comb += weights.eq(self.weights.valid & self.weights.ready & self.weights_failed)
            m.d.sync += late.eq(failed)
            with m.If(~wrong):
                m.d.sync += of_weights.eq(weights)
            bad, error = bad | weights, error | late
            code = Mux(late | of_weights, ErrorCode.ECC, ErrorCode.LENGTH)
        m.d.comb += [left.eq(loaded - completed), self.unit.error.eq(error), self.unit.code.eq(code)]
        m.d.sync += loaded.eq(left + ends)
        with m.If(~wrong):
            m.d.sync += [wrong.eq(bad), before.eq(left)]
        with m.Elif(before == 0):
            m.d.sync += wrong.eq(0)
        with m.Else():
            m.d.sync += before.eq(before - completed)

    def _failed(self, m, *parts):
        """Whether a word failed, of activation memory or of the memories of ``parts``."""
        m.d.comb += self.events.eq(reduce(or_, [Value.cast(part.events) for part in parts]))
        return self.events.failed | (self.a.valid & self.a.failed) | (self.meta.valid & self.meta.failed)

    def _commands(self, m, parts, completed):
        """Decodes commands, hands them to the parts, and counts those in progress."""
        cmd = self.unit.cmd
        segment_bits = exact_log2(self.config.array.segments)
        command = CommandLayout(Opcode.MATMUL)(cmd.payload)
        fields = {name: command[name] for name in Opcode.MATMUL.definition.field}
        array = self.config.array
        element, activation = fields["element"], fields["activation"]
        e8m0 = fields["scale"] == ScaleFormat.E8M0
        dual = element.matches(*(e for e in Element if e.bits == 4)) if array.fp4_rate == 2 else C(0)
        activation_quantum = _lookup(activation, {a: a.quantum for a in array.arithmetic.activations})
        weight = _lookup(element, {e: weight_quantum(e, ScaleFormat.NONE) for e in array.arithmetic.weights})
        fields |= {
            "scaled": fields["scale"] != ScaleFormat.NONE,
            "e8m0": e8m0,
            "mx": activation != Activation.INT8,
            "activation_quantum": activation_quantum,
            "quantum": activation_quantum
            + Mux((element == Element.S8) & e8m0, weight_quantum(Element.S8, ScaleFormat.E8M0), weight),
            "dual": dual,
            "passes": Mux(dual, array.passes_4bit, array.passes),
            "steps": fields["k_blocks"] >> segment_bits,
            "outer": Mux(fields["interleaved"], 1, fields["groups"]),
            "inner": Mux(fields["interleaved"], fields["groups"], 1),
            "a": fields["a"] >> segment_bits,
            "a_stride": fields["a_stride"] >> segment_bits,
        }
        shape = data.StructLayout(
            {name: kind for port in parts for name, kind in port.payload.shape().members.items()}
        )
        # A register between the queue and the parts' readiness.
        held, full = Signal(shape), Signal()
        fork = place(m, "command_fork", Broadcast(shape=shape, count=len(parts)))
        started = Signal(4)
        nop, transfer, nop_done = Signal(), Signal(), Signal()
        m.d.comb += [
            nop.eq(command.opcode == Opcode.NOP),
            fork.i.payload.eq(held),
            fork.i.valid.eq(full),
            cmd.ready.eq(~full & (~nop | (started == 0))),
            transfer.eq(cmd.valid & cmd.ready),
            self.unit.done.eq(completed | nop_done),
            self.unit.busy.eq(full | (started != 0) | cmd.valid),
        ]
        m.d.sync += [
            started.eq(started + (full & fork.i.ready) - completed),
            nop_done.eq(transfer & nop),
            full.eq(Mux(full, ~fork.i.ready, transfer & ~nop)),
        ]
        with m.If(transfer):
            m.d.sync += [held[name].eq(fields[name]) for name in shape.members]
        for port, copy in zip(parts, fork.o):
            m.d.comb += [port.payload[name].eq(copy.payload[name]) for name in port.payload.shape().members]
            m.d.comb += [port.valid.eq(copy.valid), copy.ready.eq(port.ready)]


def _lookup(key, table):
    """The signed number that ``table`` has for ``key``."""
    result: Value = C(0, 1)
    for name, value in table.items():
        result = Mux(key == name, C(value, signed(6)), result)
    return result
