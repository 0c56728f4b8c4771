"""Executes ROUTE commands: which rows go to which expert."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import LINE_WORDS, ExpertsConfig, LocalConfig
from ..ecc.events import ECCEvents
from ..experts_config import MOST_EXPERTS, MOST_GROUPS
from ..interfaces import BusWrite, LocalWrite, vmem_port
from ..isa.commands import COMMAND_BYTES, Opcode
from ..isa.layout import CommandLayout
from ..stream.skid import Skid
from ..verilog import place
from .capacity import Capacity
from .group_scores import GroupScores
from .route_table import RouteWrite
from .selector import Selector
from .sorter import Sorter

__all__ = ["Router"]


class _Row:
    """Where the sequence is: the row's ``number``, the addresses of its ``values`` and ``weights`` and the
    ``word`` of the first weight that is kept; the ``expert`` whose value comes next, ``words`` of the answer
    from it on, whether it ``selects`` in this cycle, the ``place`` of the next weight.

    Of groups: whether values are read for their ``scoring``; whether each group is ``open``, that of the next
    value first; the next value's place ``within`` its group.

    Of capacity: the address of the row's word of ``windows``, whether it is ``limited``, the choices that are
    ``refused``, whether all values are read once more, ``repeats``."""

    def __init__(self, local, config):
        self.number = Signal(16, name="row")
        self.values, self.weights = (Signal(local.vmem_addr_width, name=n) for n in ("values", "weights"))
        self.word = Signal(local.line_addr_width + exact_log2(LINE_WORDS), name="word")
        self.expert = Signal(range(config.experts), name="expert")
        self.words = Signal(local.row_width, name="words")
        self.selects, self.place = Signal(name="selects"), Signal(range(config.used + 1), name="place_of")
        self.scoring, self.open = Signal(name="scoring"), Signal(MOST_GROUPS, name="open")
        self.within = Signal(range(MOST_EXPERTS), name="within")
        self.windows = Signal(local.vmem_addr_width, name="windows")
        self.limited, self.repeats = Signal(name="limited"), Signal(name="repeats")
        self.refused = Signal(range(config.used + 1), name="refused")


class Router(wiring.Component):
    """Selects the experts of each row, keeps their weights, and sorts rows into a list for each expert;
    :mod:`.reference` is exact about them.

    Latency: of a row a cycle, one for each expert, one and the port's for each word of them, and 2 and the
    port's for each that it uses; with groups also those of its experts and of their words again, the scores',
    and one for each group that it uses; with a capacity one and the port's, one for each that it uses where
    an expert is full, and all of the row's selection again where it would have used one; then the sorter's,
    and a cycle.

    ``done`` comes when the last write was accepted in a cycle before.

    Parameters
    ----------
    local : LocalConfig
    config : ExpertsConfig
    tiles : of the chip

    Members
    -------
    tile : In(5), the own tile's number; constant
    cmd : In(stream of 512 bits), a ROUTE command that was checked
    active : Out(1), a command is in progress; done : Out(1)
    port : Out(ReadPortSignature), of vector memory
    local, bus : Out(stream of LocalWrite, of BusWrite), ``local`` if only the own tile is written
    table : Out(RouteWrite), to the command processor, but of a quiet command
    events : Out(ECCEvents), with ``ecc``
    """

    @staticmethod
    def latency(o, lanes, port):
        """Cycles from a command's transfer to ``done``, with so many ``lanes`` in a word and a ``port`` of
        such a latency, if writes are accepted at once and no expert is full."""
        values = -(-o.experts // lanes) * (1 + port) + o.experts
        groups = values + GroupScores.LATENCY + o.group_used if o.group_count else 0
        row = groups + values + o.used * (2 + port) + 1 + (1 + port if o.capacity else 0)
        return o.rows * row + Sorter.latency(o.experts, o.rows * o.used) + 1

    def __init__(self, local: LocalConfig, config: ExpertsConfig, *, tiles):
        self.local_config, self.config, self.tiles = local, config, tiles
        super().__init__(
            ({"events": Out(ECCEvents())} if local.ecc else {})
            | {
                "tile": In(5),
                "cmd": In(stream.Signature(8 * COMMAND_BYTES)),
                "active": Out(1),
                "done": Out(1),
                "port": Out(vmem_port(local)),
                "local": Out(stream.Signature(LocalWrite(local))),
                "bus": Out(stream.Signature(BusWrite(local, tiles=tiles))),
                "table": Out(RouteWrite()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, local = self.config, self.local_config
        command = Signal(CommandLayout(Opcode.ROUTE))
        selector = place(m, "selector", Selector(experts=config.experts, used=config.used))
        sorter = place(m, "sorter", Sorter(config, ecc=local.ecc))
        writes = place(m, "writes", Skid(shape=LocalWrite(local)))
        room = place(m, "room", Capacity(config, ecc=local.ecc))
        rerouted = Signal(range(config.assignments + 1))
        m.d.comb += [
            sorter.used.eq(command.used),
            room.capacity.eq(command.capacity),
            sorter.experts.eq(command.experts),
            sorter.line.eq(command.list),
            self.table.eq(sorter.table),
            self.table.valid.eq(sorter.table.valid & ~command.quiet),
            self.table.rerouted.eq(rerouted),
        ]
        if local.ecc:
            m.d.comb += self.events.as_value().eq(sorter.events.as_value() | room.events.as_value())
        self._give(m, command, writes.o)
        self._sequence(m, command, selector, sorter, room, rerouted, writes.i)
        return m

    def _give(self, m, command, write):
        """Writes to the own tile or over the bus."""
        own = Signal()
        m.d.comb += [
            own.eq(command.tiles == C(1, 32) << self.tile),
            self.local.payload.eq(write.payload),
            self.bus.payload.tiles.eq(command.tiles),
            self.bus.payload.write.eq(write.payload),
            self.local.valid.eq(write.valid & own),
            self.bus.valid.eq(write.valid & ~own),
            write.ready.eq(Mux(own, self.local.ready, self.bus.ready)),
        ]

    def _sequence(self, m, command, selector, sorter, room, rerouted, write):
        """Row by row: its values, then the weights of its experts; then the lists."""
        local = self.local_config
        row, entry = _Row(local, self.config), sorter.o.payload
        m.d.comb += [
            self.active.eq(1),
            sorter.i.payload.expert.eq(selector.number),
            sorter.i.payload.weight.eq(row.words[:32]),
        ]
        scores, ends = self._score(m, command, selector, room, row)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.active.eq(0), self.cmd.ready.eq(1), sorter.start.eq(1)]
                begin = CommandLayout(Opcode.ROUTE)(self.cmd.payload)
                m.d.comb += [selector.start.eq(1), room.start.eq(1)]
                m.d.sync += [
                    command.eq(self.cmd.payload),
                    rerouted.eq(0),
                    row.number.eq(0),
                    row.values.eq(local.rows_of(begin.a)),
                    row.weights.eq(local.rows_of(begin.b)),
                    row.word.eq(begin.dst << exact_log2(LINE_WORDS)),
                    row.windows.eq(local.rows_of(begin.c)),
                ]
                with m.If(self.cmd.valid):
                    self._begin(m, begin, row)
            self._window(m, room, row)
            self._select(m, command, room, row, scores, ends)
            self._open(m, selector, row, scores)
            self._compare(m, command, selector, room, row, rerouted)
            self._keep(m, selector, sorter, room, row, write)
            with m.State("NEXT"):
                m.d.comb += selector.start.eq(1)
                m.d.sync += [
                    row.number.eq(row.number + 1),
                    row.values.eq(row.values + local.rows_of(command.a_stride)),
                    row.weights.eq(row.weights + local.rows_of(command.b_stride)),
                    row.word.eq(row.word + (command.dst_stride << exact_log2(LINE_WORDS))),
                    row.windows.eq(row.windows + local.rows_of(command.c_stride)),
                ]
                self._begin(m, command, row)
                with m.If(row.number == (command.rows - 1)[:16]):
                    m.d.comb += sorter.sort.eq(1)
                    m.next = "LISTS"
            with m.State("LISTS"):
                self._put(m, write, entry.pair << 1, Cat(entry.row, C(0, 16), entry.weight), 3)
                m.d.comb += [write.valid.eq(sorter.o.valid), sorter.o.ready.eq(write.ready)]
                with m.If(sorter.done):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(~self.local.valid & ~self.bus.valid):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

    def _begin(self, m, command, row):
        """The next row's first state."""
        m.d.sync += [row.scoring.eq(command.group_count != 0), row.limited.eq(0), row.repeats.eq(0)]
        m.next = "ASK"
        with m.If(command.capacity != 0):
            m.next = "ASK_WINDOW"

    def _put(self, m, write, address, data, mask):
        """The write of ``data`` to the word ``address`` and those behind it, as ``mask`` says."""
        local = self.local_config
        lane_bits = exact_log2(local.lanes)
        m.d.comb += [
            write.payload.addr.eq(address >> lane_bits),
            write.payload.mask.eq(mask << address[:lane_bits]),
            write.payload.data.row.eq(data.replicate(local.row_width // len(data))),
        ]

    def _ask(self, m, address, following):
        m.d.comb += [self.port.req.valid.eq(1), self.port.req.payload.eq(address)]
        with m.If(self.port.req.ready):
            m.next = following

    def _window(self, m, room, row):
        """Reads whether the row is limited, and whether it is the first of its window."""
        with m.State("ASK_WINDOW"):
            self._ask(m, row.windows, "WINDOW")
        with m.State("WINDOW"):
            word = Value.cast(self.port.data)[:32]
            m.d.sync += row.limited.eq(word[:31].any())
            with m.If(self.port.valid):
                m.d.comb += room.start.eq(word[:31].any() & word[31])
                m.next = "ASK"

    def _score(self, m, command, selector, room, row):
        """What the selector gets: scores of groups, or values; the scores' module, and whether the next value
        is its group's last."""
        scores, ends, value = place(m, "scores", GroupScores()), Signal(name="group_ends"), row.words[:32]
        m.d.comb += [
            ends.eq(row.within == command.group_size - 1),
            scores.valid.eq(row.selects & row.scoring),
            scores.value.eq(value),
            scores.last.eq(ends),
            selector.used.eq(Mux(row.scoring, command.group_used, command.used)),
            selector.valid.eq(Mux(row.scoring, scores.scored, row.selects)),
            selector.value.eq(Mux(row.scoring, scores.score, value)),
            selector.skip.eq(~row.scoring & (command.group_count != 0) & ~row.open[0]),
            room.other.eq(row.expert),
            selector.late.eq(row.repeats & ~row.scoring & room.late),
        ]
        return scores, ends

    def _select(self, m, command, room, row, scores, ends):
        """Reads the row's values, for the scores of groups and then for the selector."""
        lane_bits = exact_log2(self.local_config.lanes)
        expert = row.expert
        with m.State("ASK"):
            self._ask(m, row.values + (expert >> lane_bits), "ANSWER")
        with m.State("ANSWER"):
            m.d.sync += row.words.eq(self.port.data)
            with m.If(self.port.valid):
                m.next = "SELECT"
        with m.State("SELECT"):
            m.d.comb += row.selects.eq(1)
            m.d.sync += [row.words.eq(row.words >> 32), expert.eq(expert + 1), row.within.eq(row.within + 1)]
            with m.If(ends):
                m.d.sync += [row.within.eq(0), row.open.eq(row.open >> 1)]
            with m.If(expert == command.experts - 1):
                m.d.sync += [expert.eq(0), row.within.eq(0), row.place.eq(0)]
                m.next = "ASK_WEIGHT"
                with m.If(row.limited & ~row.repeats & room.some):
                    m.next = "COMPARE"
                with m.If(row.scoring):
                    m.next = "OPEN"
            with m.Elif(expert[:lane_bits].all()):
                m.next = "ASK"

    def _open(self, m, selector, row, scores):
        """Opens the groups that are selected, when all have scores."""
        with m.State("OPEN"):
            with m.If(~scores.busy):
                m.d.comb += selector.take.eq(1)
                m.d.sync += row.open.eq(row.open | (1 << selector.number)[:MOST_GROUPS])
                with m.If(selector.last):
                    m.d.comb += selector.start.eq(1)
                    m.d.sync += row.scoring.eq(0)
                    m.next = "ASK"

    def _compare(self, m, command, selector, room, row, rerouted):
        """Whether an expert is full that is selected; then values are read again, and full experts come
        late."""
        refused = (row.refused + room.full)[: len(row.refused)]
        with m.State("COMPARE"):
            m.d.comb += selector.take.eq(1)
            m.d.sync += row.refused.eq(refused)
            with m.If(selector.last):
                m.d.comb += selector.again.eq(1)
                m.d.sync += row.refused.eq(0)
                m.next = "ASK_WEIGHT"
                with m.If(refused != 0):
                    m.d.comb += selector.start.eq(1)
                    m.d.sync += [
                        row.repeats.eq(1),
                        row.scoring.eq(command.group_count != 0),
                        rerouted.eq(rerouted + refused),
                    ]
                    m.next = "ASK"

    def _keep(self, m, selector, sorter, room, row, write):
        """Reads the weights of the row's experts, writes them, and gives them to the sorter."""
        lane_bits = exact_log2(self.local_config.lanes)
        number = selector.number
        m.d.comb += room.number.eq(number)
        with m.State("ASK_WEIGHT"):
            self._ask(m, row.weights + (number >> lane_bits), "WEIGHT")
        with m.State("WEIGHT"):
            m.d.sync += row.words.eq(Value.cast(self.port.data) >> (number[:lane_bits] << 5))
            with m.If(self.port.valid):
                m.next = "KEEP"
        with m.State("KEEP"):
            self._put(m, write, (row.word + row.place)[: len(row.word)], row.words[:32], 1)
            m.d.comb += write.valid.eq(1)
            with m.If(write.ready):
                m.d.comb += [sorter.i.valid.eq(1), selector.take.eq(1), room.takes.eq(row.limited)]
                m.d.sync += row.place.eq(row.place + 1)
                m.next = "ASK_WEIGHT"
                with m.If(selector.last):
                    m.next = "NEXT"
