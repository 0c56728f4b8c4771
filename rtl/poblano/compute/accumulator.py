"""Block sums in, FP32 results out: scales and accumulates along K."""

from dataclasses import dataclass
from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..config import TileConfig
from ..ecc.events import ECCEvents, uses
from ..formats.element import Activation, Arithmetic
from ..formats.float32 import FixedToFloat, FloatAdd
from ..formats.scale import ONE, SCALE, FloatScale, IntegerScale, scale_of_float32
from ..interfaces import MetaLayout
from ..memory.sram import sram
from ..stream.broadcast import Broadcast
from ..stream.delay import delay, history
from ..stream.loop_walk import LoopWalk
from ..stream.select import word_mux
from ..verilog import gated_clock, place
from .array import SumsLayout
from .block_sums import SUMS_COMMAND, BlockSums
from .weights import ScalePortSignature

__all__ = ["ACCUMULATOR_COMMAND", "Accumulator", "AccumulatorLane", "LaneCycles"]

ACCUMULATOR_COMMAND = SUMS_COMMAND | {
    "outer": 16,
    "inner": 16,
    "scaled": 1,
    "minimum": 1,
    "e8m0": 1,
    "mx": 1,
    "quantum": signed(7),
    "activation_quantum": signed(6),
}
"""The loops' bounds, of groups around the steps (``outer``) and in a step (``inner``); whether the weight
blocks have scales and minima; whether the weights' scales (``e8m0``) and the activations' (``mx``) are powers
of two; log2 of what sums of products, and of activations, count."""


@dataclass(frozen=True)
class LaneCycles:
    """When a lane's numbers are there, in cycles after the read of the sums; for the :class:`Arithmetic` of
    an array."""

    arithmetic: Arithmetic

    NUMBER = 2
    """The sum of products, in a register."""

    @property
    def scaled(self):
        """That times the weights' scale."""
        if self.arithmetic.scaled_sums:
            return self.NUMBER + FixedToFloat.LATENCY + FloatScale.LATENCY
        return self.NUMBER + IntegerScale.LATENCY

    @property
    def block_sum(self):
        """The sum of activations, in a register, to be multiplied by the minimum."""
        return self.scaled - FloatScale.LATENCY

    @property
    def shifted(self):
        """The scaled sum and the minimum's product, where there are minima."""
        return self.scaled + (FloatAdd.LATENCY if self.arithmetic.minima else 0)

    @property
    def value(self):
        """That times the activations' scale, where it is more than a power of two."""
        int8 = Activation.INT8 in self.arithmetic.activations
        return self.shifted + (FloatScale.LATENCY if int8 else 0)


class LaneActive(data.StructLayout):
    """Which of a lane's units have a number inside or before them: those that scale, the addition of the
    minimum, the multiplication by the activations' scale, the addition to the total."""

    def __init__(self):
        super().__init__({"scaled": 1, "shift": 1, "value": 1, "add": 1})


class AccumulatorLane(wiring.Component):
    """A column's value of one segment, added to the total so far.

    Latency: ``FloatAdd.LATENCY`` from ``total``.

    Inputs come in the :class:`Accumulator`'s cycle 1, but for ``block_sum`` and ``factor``, which all lanes
    share, in the cycle before the lane's ``block_sum`` and ``shifted`` (:class:`LaneCycles`): each lane
    registers them; and ``total`` ``delay_cycles`` after ``value``. All state moves only while ``en``, and a
    unit stands still while it is not ``active``.
    """

    def __init__(self, arithmetic, *, delay_cycles):
        self.arithmetic, self.delay_cycles = arithmetic, delay_cycles
        self.cycles = LaneCycles(arithmetic)
        members = {
            "en": In(1),
            "active": In(LaneActive()),
            "number": In(arithmetic.sum_layout),
            "scale": In(SCALE),
            "total": In(32),
            "o": Out(32),
        }
        if arithmetic.scaled_sums:
            members |= {"exponent": In(signed(FixedToFloat.EXPONENT_BITS)), "nan": In(1)}
        if arithmetic.minima:
            members |= {"low": In(SCALE), "block_sum": In(32)}
        if Activation.INT8 in arithmetic.activations:
            members |= {"factor": In(SCALE)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        en, arithmetic = self.en, self.arithmetic
        scaling, value = self._scaled(m)
        clocked = lambda name, unit: place(m, name, unit, clock=gated_clock(m, name, en & self.active[name]))
        if arithmetic.minima:
            # The sum of activations has no more bits than its magnitude.
            bits = min(arithmetic.activation_sum_width - 1, 24)
            offset = place(m, "minimum", FloatScale(bits), clock=scaling)
            shift = clocked("shift", FloatAdd())
            m.d.comb += [
                offset.en.eq(en),
                offset.a.eq(delay(m, en, "block_sum_delay", self.block_sum, 1)),
                offset.scale.eq(delay(m, en, "low_delay", self.low, self.cycles.block_sum - 1)),
                shift.en.eq(en),
                shift.a.eq(value),
                shift.b.eq(offset.o),
            ]
            value = shift.o
        if Activation.INT8 in arithmetic.activations:
            product = clocked("value", FloatScale())
            m.d.comb += [
                product.en.eq(en),
                product.a.eq(value),
                product.scale.eq(delay(m, en, "factor_delay", self.factor, 1)),
            ]
            value = product.o
        elif arithmetic.minima:
            value = Mux(value[23:31] == 0, 0, value)[:32]
        add = clocked("add", FloatAdd())
        m.d.comb += [
            add.en.eq(en),
            add.a.eq(self.total),
            add.b.eq(delay(m, en, "value_delay", value, self.delay_cycles)),
            self.o.eq(add.o),
        ]
        return m

    def _scaled(self, m):
        """The clock of units that scale, and the number times the weights' scale."""
        en, arithmetic = self.en, self.arithmetic
        clock = gated_clock(m, "scaling", en & self.active.scaled)
        late = lambda name, value, cycles=1: delay(m, en, f"{name}_delay", value, cycles)
        number = late("number", self.number)
        if not arithmetic.scaled_sums:
            scaled = place(m, "scaled", IntegerScale(arithmetic.sum_width), clock=clock)
            m.d.comb += [
                scaled.en.eq(en),
                scaled.i.eq(number.value),
                scaled.scale.eq(late("scale", self.scale)),
            ]
            return clock, scaled.o
        convert = FixedToFloat(arithmetic.sum_width, scaled=True, special_bits=arithmetic.special_bits)
        place(m, "float", convert, clock=clock)
        scaled = place(m, "scaled", FloatScale(), clock=clock)
        m.d.comb += [
            convert.en.eq(en),
            convert.i.eq(number.value),
            convert.exponent.eq(late("exponent", self.exponent)),
            convert.nan.eq(late("nan", self.nan)),
            scaled.en.eq(en),
            scaled.a.eq(convert.o),
            scaled.scale.eq(late("scale", self.scale, self.cycles.block_sum - 1)),
        ]
        if arithmetic.special_bits:
            m.d.comb += convert.special.eq(number.special)
        return clock, scaled.o


class Accumulator(wiring.Component):
    """Scales block sums and adds them up over the steps and segments, in ascending order, as
    ``docs/specification.md`` defines it.

    Latency: :attr:`latency` from the read of the last step's sums: with INT8 and INT4 12 cycles, and 4 for
    each segment.

    ``scalers`` columns of a token a cycle, tokens in order; a step's drain runs while the next step's sums
    come in, and steps follow each other without a gap (short ones, of fewer than :attr:`recurrence` cycles,
    start only that long after the one before). Results come after the last step of each group; a result that
    is not accepted stops the drain, and then the sums. With ``config.ecc`` sums and totals have check bits.

    Members
    -------
    cmd : In(stream of :data:`ACCUMULATOR_COMMAND`)
    sums : In(stream(SumsLayout)), for each group, step, pass and row
    meta : In(stream of MetaLayout for each segment), for each group, step and row
    scales : Out(ScalePortSignature)
    o : Out(stream of ``scalers`` FP32), for each group, row and part of ``scalers`` columns
    events : Out(ECCEvents), with ``config.ecc``, of sums, totals and scales
    """

    def __init__(self, config: TileConfig):
        self.config = config
        self.cycles = LaneCycles(config.array.arithmetic)
        meta = MetaLayout(config.array.arithmetic.activation_sum_width)
        super().__init__(
            ({"events": Out(ECCEvents())} if config.ecc else {})
            | {
                "cmd": In(stream.Signature(data.StructLayout(ACCUMULATOR_COMMAND))),
                "sums": In(stream.Signature(SumsLayout(config.array))),
                "meta": In(stream.Signature(data.ArrayLayout(meta, config.array.segments))),
                "scales": Out(ScalePortSignature(config)),
                "o": Out(stream.Signature(data.ArrayLayout(32, config.scalers))),
            }
        )

    @property
    def recurrence(self):
        """Cycles from a read of the FP32 memory to the first read that sees its result."""
        return 2 + self.config.ecc + FloatAdd.LATENCY * self.config.array.segments

    @property
    def latency(self):
        return self.cycles.value + FloatAdd.LATENCY * self.config.array.segments

    def elaborate(self, platform):
        m = Module()
        array, parts = self.config.array, self.config.array.cols // self.config.scalers
        fork = place(m, "fork", Broadcast(shape=data.StructLayout(ACCUMULATOR_COMMAND), count=2))
        sums = place(m, "block_sums", BlockSums(array, tokens=self.config.tokens, ecc=self.config.ecc))
        walk = place(
            m,
            "walk",
            LoopWalk(
                fields=ACCUMULATOR_COMMAND,
                loops={"outer": "outer", "step": "steps", "inner": "inner", "row": "rows", "part": parts},
            ),
        )
        connect(m, flipped(self.cmd), fork.i)
        m.d.comb += [sums.cmd.payload[name].eq(fork.o[0].payload[name]) for name in SUMS_COMMAND]
        m.d.comb += [sums.cmd.valid.eq(fork.o[0].valid), fork.o[0].ready.eq(sums.cmd.ready)]
        connect(m, fork.o[1], walk.cmd)
        connect(m, flipped(self.sums), sums.i)

        en, issue = Signal(), Signal()
        # A number was read so many cycles of en before.
        ages = Cat(history(m, en, "flight", issue, self.latency))
        self._reads(m, en, issue, ages[1 : self.recurrence], sums, walk)
        factors = self._factors(m, en, walk.o.payload.command)
        before, totals, used = self._memory(m, en, issue, ages, walk.o.payload)
        clock = gated_clock(m, "lanes", en & ages[1 : self.latency].any())
        active = [self._active(ages, s) for s in range(array.segments)]
        flag = lambda name, value: delay(m, en, name, value, 1)
        at, command = walk.o.payload, walk.o.payload.command
        part = flag("part", at.index.part)
        flags = {name: flag(name, command[name]) for name in ("scaled", "minimum", "e8m0")}
        if self.config.ecc:
            fresh = en & ages[1]
            of_scales = (
                (fresh & flags["scaled"], self.scales.scales_flags),
                (fresh & flags["minimum"], self.scales.minima_flags),
            )
            m.d.sync += self.events.eq(sums.events.as_value() | uses(used, *of_scales))
        for lane in range(self.config.scalers):
            total = before[lane]
            for s, of_segment in enumerate(factors):
                unit = self._lane(m, en, lane, s, flags, of_segment, clock)
                m.d.comb += unit.active.as_value().eq(active[s])
                columns = [sums.data[s][j * self.config.scalers + lane] for j in range(parts)]
                m.d.comb += [unit.total.eq(total), unit.number.as_value().eq(word_mux(part, columns))]
                total = unit.o
            m.d.comb += totals[lane].eq(total)
        return m

    def _reads(self, m, en, issue, recent, sums, walk):
        """Cycle 0: reads sums and scales, takes the activations' scales and sums. ``recent``: the reads
        before whose totals a read does not see."""
        parts = self.config.array.cols // self.config.scalers
        at = walk.o.payload
        # A step reads each total as many reads after the step before as a group of it has, or more: with as
        # many in the pipeline it waits.
        soon = Signal()
        m.d.comb += [
            soon.eq(sum(recent) >= at.command.rows << exact_log2(parts)),
            issue.eq(en & walk.o.valid & sums.full & self.meta.valid & ~soon),
            walk.o.ready.eq(issue),
            self.meta.ready.eq(issue & at.last.part),
            sums.en.eq(en),
            sums.row.eq(at.index.row),
            sums.read.eq(issue),
            sums.last.eq(at.last.row & at.last.part),
            self.scales.en.eq(issue),
            self.scales.part.eq(at.index.part),
            self.scales.release.eq(at.last.row & at.last.part),
        ]

    def _factors(self, m, en, command):
        """Cycle 0: what all lanes share of each segment, the activations' scales as exponents where they are
        powers of two, as factors where not."""
        array = self.config.array
        arithmetic = array.arithmetic
        has_mx = any(a.mx for a in arithmetic.activations)
        factors = []
        for s in range(array.segments):
            meta = self.meta.payload[s]
            factor, exponent, nan = scale_of_float32(meta.scale), command.quantum, C(0)
            sum_exponent = command.activation_quantum
            if has_mx:
                factor = Mux(command.mx, ONE, factor)
                mx_exponent, nan = (
                    Mux(command.mx, _exponent(meta.scale[13:]), 0),
                    command.mx & _is_nan(meta.scale[13:]),
                )
                exponent, sum_exponent = exponent + mx_exponent, sum_exponent + mx_exponent
            shared = SimpleNamespace(
                factor=delay(m, en, f"factor{s}", factor, self.cycles.shifted - 1),
                exponent=delay(m, en, f"exponent{s}", exponent, 1),
                nan=delay(m, en, f"nan{s}", nan, 1),
                block_sum=None,
            )
            if arithmetic.minima:
                convert = place(
                    m,
                    f"sum_float{s}",
                    FixedToFloat(arithmetic.activation_sum_width, scaled=arithmetic.scaled_sums),
                )
                wait = self.cycles.block_sum - 1 - FixedToFloat.LATENCY
                # Else it could be infinite, and infinity times zero NaN.
                total = Mux(command.minimum, meta.sum, 0)
                m.d.comb += [convert.en.eq(en), convert.i.eq(delay(m, en, f"block_sum{s}", total, wait))]
                if arithmetic.scaled_sums:
                    m.d.comb += convert.exponent.eq(delay(m, en, f"sum_exponent{s}", sum_exponent, wait))
                shared.block_sum = convert.o
            factors.append(shared)
        return factors

    def _active(self, ages, s):
        """:class:`LaneActive` of the lanes of segment ``s``, by the ``ages`` of numbers."""
        at = self.cycles
        add = at.value + s * FloatAdd.LATENCY
        bounds = at.NUMBER, at.scaled, at.shifted, at.value
        within = [ages[first:end].any() for first, end in zip(bounds, bounds[1:])]
        return Cat(*within, ages[add : add + FloatAdd.LATENCY].any())

    def _memory(self, m, en, issue, ages, at):
        """The FP32 memory, of which all columns' accumulators are read in cycle VALUE - 1: the totals so far,
        0 in a first step, and the new ones, to be driven; with ``config.ecc``, what :func:`uses` takes."""
        lanes, parts = self.config.scalers, self.config.array.cols // self.config.scalers
        depth = self.config.tokens * parts
        # Travels with the numbers: which of the totals, whether it begins, and whether it ends.
        flow = Signal(data.StructLayout({"row": exact_log2(depth), "first": 1, "last": 1}))
        row = Signal(exact_log2(self.config.tokens))  # among those of all groups of a step
        with m.If(issue & at.last.part):
            m.d.sync += row.eq(Mux(at.last.row & at.last.inner, 0, row + 1))
        m.d.comb += [
            flow.row.eq(Cat(at.index.part, row)),
            flow.first.eq(at.first.step),
            flow.last.eq(at.last.step),
        ]
        ecc = self.config.ecc
        # With check bits a cycle before: what was corrected comes from a register.
        at_read = delay(m, en, "flow_read", flow, self.cycles.value - 1 - ecc)
        at_value = delay(m, en, "flow_value", at_read, 1 + ecc)
        at_result = delay(m, en, "flow_result", at_value, self.latency - self.cycles.value)
        memory = place(m, "memory", sram(width=32 * lanes, depth=depth, ecc=ecc, write_back=False))
        read_port, write_port = memory.read, memory.write
        totals = Signal(data.ArrayLayout(32, lanes))
        m.d.comb += [
            read_port.en.eq(en),
            read_port.addr.eq(at_read.row),
            write_port.en.eq(en & ages[-1] & ~at_result.last),
            write_port.addr.eq(at_result.row),
            write_port.data.eq(totals),
            self.o.payload.eq(totals),
            self.o.valid.eq(ages[-1] & at_result.last),
            en.eq(self.o.ready | ~self.o.valid),
        ]
        kept, used = totals.shape()(read_port.data), None
        if ecc:
            kept = totals.shape()(delay(m, en, "kept", read_port.data, 1))
            flags = ECCEvents()(delay(m, en, "flags", Cat(memory.corrected, memory.failed), 1))
            used = en & ages[self.cycles.value] & ~at_value.first, flags
        return [Mux(at_value.first, 0, kept[lane]) for lane in range(lanes)], totals, used

    def _lane(self, m, en, lane, s, flags, shared, clock):
        """Cycle 1: the lane of a column and segment, with its scale; ``number`` and ``total`` are to be
        driven."""
        arithmetic = self.config.array.arithmetic
        scale, exponent, nan = self.scales.scales[s][lane].as_value(), shared.exponent, shared.nan
        scaled = flags["scaled"]
        if any(a.mx for a in arithmetic.activations):
            exponent = exponent + Mux(flags["e8m0"], _exponent(scale), 0)
            nan = nan | flags["e8m0"] & _is_nan(scale)
            scaled = scaled & ~flags["e8m0"]
        unit = AccumulatorLane(arithmetic, delay_cycles=s * FloatAdd.LATENCY)
        place(m, f"lane{lane}_{s}", unit, clock=clock)
        m.d.comb += [unit.en.eq(en), unit.scale.as_value().eq(Mux(scaled, scale, ONE))]
        if arithmetic.scaled_sums:
            m.d.comb += [unit.exponent.eq(exponent), unit.nan.eq(nan)]
        if Activation.INT8 in arithmetic.activations:
            m.d.comb += unit.factor.as_value().eq(shared.factor)
        if arithmetic.minima:
            m.d.comb += [
                unit.block_sum.eq(shared.block_sum),
                unit.low.as_value().eq(Mux(flags["minimum"], self.scales.minima[s][lane].as_value(), 0)),
            ]
        return unit


def _exponent(scale):
    """The exponent of a scale that is a power of two, -127 for the least (Value of 19 bits)."""
    return (scale[10:18] - 127).as_signed()


def _is_nan(scale):
    return scale[10:18].all() & scale[:10].any()
