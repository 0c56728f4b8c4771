"""The command processor: registers, fetch, check, dispatch in order, and the units' queues."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.lite import AXILiteSignature, AXILiteSlave
from ..axi.signature import AXIReadSignature
from ..config import ChipConfig
from ..ecc.events import ECCEvents
from ..interfaces import UnitSignature
from ..isa.commands import COMMAND_BYTES, ErrorCode, Opcode
from ..isa.ecc_registers import ecc_places
from ..isa.layout import CommandLayout
from ..isa.opcodes.experts import PASSED
from ..isa.regions import usable
from ..isa.registers import (
    COUNTERS,
    NO_ERROR_UNIT,
    RING_ALIGNMENT,
    SMALLEST_RING,
    Control,
    Irq,
    Status,
    address,
    constants,
    registers_of,
)
from ..moe.route_table import RouteWrite
from ..verilog import place
from .checker import CommandChecker
from .counting import count_events
from .ecc_counters import DramEvents, ECCCounters
from .expert_stage import ExpertStage
from .fetch import CommandFetch
from .page_registers import PageRegisters, PageWrite
from .queue import UnitQueue
from .watchdog import Watchdog

__all__ = ["CommandProcessor"]

EFFECTS = ("CONTROL", "IRQ_STATUS", "PAGE_ENTRY", "PAGE_COUNT")
"""Registers of which not only what they hold matters, but that they are written."""
SETTLE = 4
"""Cycles in a row in which all must be idle before a queue reset ends: their AXI outputs may be
registered."""


class _State:
    """What the processor's parts share."""

    def __init__(self, units):
        self.enable = Signal()
        self.resetting = Signal()  # the queue is being reset
        self.restart = Signal()  # resets fetch, checker, queues and units
        self.booting = Signal(init=1)  # memories are being cleared after a reset
        self.error = Signal()  # ERROR_* hold one
        self.stopped = Signal()  # nothing more is fetched or dispatched
        self.failed = Signal(units)  # units that start nothing more, and complete nothing
        self.new_error = Signal()
        self.waiting = Signal(32)  # commands up to TAIL that are not dispatched


class CommandProcessor(wiring.Component):
    """Fetches commands, refuses bad ones, and starts each in its unit when its waits hold.

    Latency: 10 to 15 cycles from a command's last beat to its start, one for each address range that is
    checked, and one more for each wait.

    Commands go to their units' queues in the ring's order, waiting where a queue is full. The first that is
    refused or could not be fetched stops this, and the commands before it are completed. A unit that has an
    error starts and completes nothing more, whatever it does, and its commands do not wait for a place; what
    does not depend on it goes on. ERROR_* describe the first error. A TAIL written during a queue reset is
    lost.

    With a :class:`.watchdog.Watchdog`, a queue reset does not wait longer than its time for memory, and what
    is between the chip's masters and memory has to keep old answers away. Nothing starts before the local
    memories have been cleared, with ``config.clear_at_reset``.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    axi_lite : In(AXILiteSignature()), the registers of :mod:`.registers`. Writes need all strobes; a write
        of a read-only register, and any access of an address without a register, is answered with SLVERR.
    fetch : Out(AXIReadSignature)
    units : Out(UnitSignature()).array(units)
    clear : Out(1), high for a cycle: synchronous reset of all units, which are idle or have had their time
    moved : In(1), something was transferred between units, local memories or memory (not looked at without a
        watchdog)
    clear_memories : Out(1), high for a cycle after a reset: clear all local memories
    clearing : In(1), local memories are being cleared
    irq : Out(1), an enabled bit of IRQ_STATUS is set
    trace_start, trace_done : Out(units), a command of the unit starts or completes in this cycle
    read_beats, write_beats : In, the beats that pass the memory ports in this cycle
    page_write : Out(PageWrite), with page tables: an entry of them is written
    table : In(RouteWrite), with ``config.experts``, from the tiles
    ecc_events : In(ECCEvents()).array(n), with ``config.ecc``, of each place that is not inside
    dram_events : In(DramEvents).array(homes), with ``config.ecc`` and DRAM controllers
    """

    INTERRUPT = 1
    """Cycles from the last completion to the interrupt."""

    def __init__(self, config: ChipConfig):
        self.config = config
        ecc = {}
        if config.ecc:
            ecc["ecc_events"] = In(ECCEvents()).array(
                len(ecc_places(config)) - (1 if config.experts is None else 2)
            )
            if config.memory.dram is not None:
                ecc["dram_events"] = In(DramEvents(config)).array(config.memory.homes)
        memory, pages = config.memory, {}
        if memory.paging is not None:
            pages["page_write"] = Out(PageWrite(memory.paging, addr_width=memory.home_bits))
        super().__init__(
            ecc
            | pages
            | ({"table": In(RouteWrite())} if config.experts is not None else {})
            | {
                "axi_lite": In(AXILiteSignature()),
                "fetch": Out(AXIReadSignature(config.memory.axi)),
                "units": Out(UnitSignature()).array(config.units),
                "clear": Out(1),
                "moved": In(1),
                "clear_memories": Out(1),
                "clearing": In(1),
                "irq": Out(1),
                "trace_start": Out(config.units),
                "trace_done": Out(config.units),
                "read_beats": In(range(config.memory.homes + 1)),
                "write_beats": In(range(config.memory.homes + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count = self.config.units
        values = {
            name: Signal(r.width, name=name.lower(), init=r.first(self.config))
            for name, r in registers_of(self.config).items()
        }
        counters = [
            {name: Signal(32, name=f"unit{n}_{name.lower()}") for name in COUNTERS} for n in range(count)
        ]
        ecc = place(m, "ecc_counters", ECCCounters(self.config)) if self.config.ecc else None
        written, word, cycles_read = self._registers(m, values, counters, ecc)
        state = _State(count)
        m.d.comb += self.clear.eq(state.restart)
        routes = self.config.experts is not None
        fetch = CommandFetch(self.config.memory, skips=routes)
        place(m, "command_fetch", fetch, reset=state.restart)
        checker = place(m, "checker", CommandChecker(self.config), reset=state.restart)
        queue = lambda: UnitQueue(depth=self.config.queue_depth, units=count, passes=routes)
        queues = [place(m, f"queue{n}", queue(), reset=state.restart) for n in range(count)]
        stage = self._experts(m, values, state, fetch, queues) if routes else None
        connect(m, flipped(self.fetch), fetch.axi)
        if (paging := self.config.memory.paging) is not None:
            self._pages(m, values, written, word, checker, paging)
        ring_bad = self._ring(m, values, state, fetch, checker, stage)
        self._dispatch(m, values, state, checker, queues, stage)
        expired = self._errors(m, values, state, fetch, checker, queues, ring_bad, stage)
        self._interrupts(m, values, state, queues, written["IRQ_STATUS"], word)
        clear_counters = self._control(m, values, state, fetch, expired, written["CONTROL"], word)
        self._boot(m, state)
        count_events(m, self, values, counters, queues, state.failed, clear_counters, cycles_read, stage)
        m.d.comb += [values[name].eq(value) for name, value in constants(self.config).items()]
        if ecc is not None:
            inside = [fetch.events] if stage is None else [stage.events, fetch.events]
            m.d.comb += [to.eq(of) for to, of in zip(ecc.events, [*self.ecc_events, *inside])]
            m.d.comb += ecc.clear.eq(clear_counters)
            if self.config.memory.dram is not None:
                m.d.comb += [to.eq(of) for to, of in zip(ecc.dram, self.dram_events)]
        return m

    def _pages(self, m, values, written, word, checker, paging):
        """The registers of page tables; PAGE_INDEX goes on with each entry."""
        pages = place(m, "page_registers", PageRegisters(paging, addr_width=self.config.memory.home_bits))
        m.d.comb += [
            pages.index.eq(values["PAGE_INDEX"]),
            pages.bytes.eq(values["PAGE_BYTES"]),
            pages.word.eq(word),
            pages.entry.eq(written["PAGE_ENTRY"]),
            pages.count.eq(written["PAGE_COUNT"]),
            checker.pages.eq(pages.limits),
            self.page_write.eq(pages.write),
        ]
        if paging.homes > 1:
            m.d.comb += checker.home_end.eq(values["HOME_END"])
        with m.If(written["PAGE_ENTRY"]):
            m.d.sync += values["PAGE_INDEX"].eq(values["PAGE_INDEX"] + 1)

    def _experts(self, m, values, state, fetch, queues):
        """The stage between fetch and checker; HEAD goes on with the commands that it passes over, as they
        are written."""
        stage = place(m, "expert_stage", ExpertStage(self.config), reset=state.restart)
        passing, step = Signal(16), Signal(16)
        m.d.comb += [
            stage.table.eq(self.table),
            fetch.skip.eq(stage.skips),
            fetch.count.eq(stage.skip),
            step.eq(Mux(passing < state.waiting, passing, state.waiting)),
            *(stage.counts[n].eq(queue.count) for n, queue in enumerate(queues)),
        ]
        m.d.sync += [passing.eq(passing - step), values["HEAD"].eq(values["HEAD"] + step)]
        with m.If(stage.skips):
            m.d.sync += passing.eq(stage.skip)
        with m.If(state.restart):
            m.d.sync += passing.eq(0)
        return stage

    def _ring(self, m, values, state, fetch, checker, stage):
        """Commands from the ring to the checker; whether there can't be such a ring."""
        base, size = Cat(values["RING_BASE_LO"], values["RING_BASE_HI"]), values["RING_SIZE"]
        memory_size = Cat(values["MEMORY_SIZE_LO"], values["MEMORY_SIZE_HI"])
        ring_bad = Signal()
        m.d.comb += [
            state.waiting.eq(values["TAIL"] - values["HEAD"]),
            ring_bad.eq(
                (base & (RING_ALIGNMENT - 1)).any()
                | (size < SMALLEST_RING)
                | (size & (size - 1)[:32]).any()
                | (base + size * COMMAND_BYTES > usable(memory_size, self.config))
                | (state.waiting > size)
            ),
            fetch.base.eq(base),
            fetch.size.eq(size),
            fetch.tail.eq(values["TAIL"]),
            fetch.enable.eq(state.enable & ~state.stopped & ~ring_bad),
            fetch.flush.eq(state.resetting),
            checker.memory_size.eq(memory_size),
        ]
        first = checker if stage is None else stage
        m.d.comb += [
            first.i.payload.eq(fetch.o.payload.command),
            first.i.valid.eq(fetch.o.valid & ~fetch.o.payload.error),
            fetch.o.ready.eq(first.i.ready & ~fetch.o.payload.error),
        ]
        if stage is not None:
            connect(m, stage.o, checker.i)
        return ring_bad

    def _dispatch(self, m, values, state, checker, queues, stage):
        """Commands in order to their units' queues, and from these to the units."""
        command = checker.o.payload.command
        unit = CommandLayout()(command).unit
        may_dispatch, dispatched = Signal(), Signal()
        held = state.stopped | state.resetting | (C(0) if stage is None else stage.holds)
        m.d.comb += may_dispatch.eq(checker.o.valid & (checker.o.payload.code == ErrorCode.NONE) & ~held)
        goes_to = lambda n: unit == n
        if stage is not None:
            goes_to = self._passing(m, state, queues, stage, command, unit)
        for n, (port, queue) in enumerate(zip(self.units, queues)):
            m.d.comb += [
                queue.i.payload.command.eq(command),
                queue.i.payload.index.eq(values["HEAD"]),
                queue.i.valid.eq(may_dispatch & goes_to(n)),
                queue.hold.eq(state.failed[n] | state.resetting | state.booting),
                port.cmd.payload.eq(queue.cmd.payload),
                port.cmd.valid.eq(queue.cmd.valid),
                queue.cmd.ready.eq(port.cmd.ready),
                queue.unit_done.eq(port.done & ~port.error & ~state.failed[n]),
                port.flush.eq(state.resetting),
                self.trace_start[n].eq(queue.start),
                self.trace_done[n].eq(queue.done),
            ]
            m.d.comb += [queue.counts[k].eq(other.count) for k, other in enumerate(queues)]
            with m.If(queue.i.valid & (queue.i.ready | state.failed[n])):
                m.d.comb += dispatched.eq(1)
        m.d.comb += checker.o.ready.eq(dispatched)
        if stage is not None:
            m.d.comb += stage.dispatched.eq(dispatched)
        with m.If(dispatched):
            m.d.sync += values["HEAD"].eq(values["HEAD"] + 1)

    def _passing(self, m, state, queues, stage, command, unit):
        """An EXPERT command that passes others over goes to all queues at once, and adds to each unit's count
        what it passes over; whether the command goes to a unit's queue."""
        room = Cat(queue.i.ready | failed for queue, failed in zip(queues, state.failed)).all()
        expert = CommandLayout(Opcode.EXPERT)(command)
        for n, queue in enumerate(queues):
            passed = expert[PASSED[self.config.topology.kind_of(n)]]
            m.d.comb += queue.i.payload.counts.eq(Mux(stage.passes, passed + (unit == n), 1))
        return lambda n: Mux(stage.passes, room, unit == n)

    def _errors(self, m, values, state, fetch, checker, queues, ring_bad, stage):
        """The first error is kept; of several in one cycle a unit's, the lowest unit's, then the watchdog's.
        Whether a reset has had its time."""

        def fail(code, index, unit):
            with m.If(~state.error & ~state.resetting):
                m.d.comb += state.new_error.eq(1)
                m.d.sync += [
                    values["ERROR_CODE"].eq(code),
                    values["ERROR_INDEX"].eq(index),
                    values["ERROR_UNIT"].eq(unit),
                ]

        def stop(code, unit):
            fail(code, values["HEAD"], unit)
            m.d.sync += state.stopped.eq(1)

        code, unit = checker.o.payload.code, CommandLayout()(checker.o.payload.command).unit
        # All before it are dispatched.
        idle = checker.i.ready if stage is None else checker.i.ready & stage.idle
        fetch_failed = fetch.o.valid & fetch.o.payload.error & idle
        with m.If(checker.o.valid & (code != ErrorCode.NONE)):
            stop(code, unit)
        with m.Elif(fetch_failed):
            stop(ErrorCode.FETCH, NO_ERROR_UNIT)
        with m.Elif(state.enable & (state.waiting != 0) & ring_bad):
            stop(ErrorCode.FIELD, NO_ERROR_UNIT)
        if stage is not None and self.config.ecc:
            with m.If(stage.failed):
                stop(ErrorCode.ECC, NO_ERROR_UNIT)
        expired = self._watchdog(m, values, state, fetch, queues, fail) if self.config.watchdog else C(0)
        for n, (port, queue) in reversed(list(enumerate(zip(self.units, queues)))):
            with m.If(port.error & ~state.failed[n]):
                fail(port.code, queue.index, n)
                m.d.sync += state.failed[n].eq(1)
        with m.If(state.new_error):
            m.d.sync += state.error.eq(1)
        return expired

    def _watchdog(self, m, values, state, fetch, queues, fail):
        """The error of a chip on which nothing moves; whether a reset has had its time."""
        watchdog = place(m, "watchdog_timer", Watchdog(units=self.config.units))
        moved = Signal()  # late in its cycle, like what is counted
        moves = Cat(Cat(queue.start, queue.done) for queue in queues).any()
        m.d.sync += moved.eq(self.moved | self.fetch.r.valid | moves)
        running, queued = Cat(q.running for q in queues) & ~state.failed, Cat(~q.empty for q in queues)
        waiting = (state.waiting != 0) | queued.any()
        # Behind an error what has begun still ends, or is a failure too.
        m.d.comb += [
            watchdog.limit.eq(values["WATCHDOG"]),
            watchdog.moved.eq(moved | state.booting),
            watchdog.due.eq(state.enable & Mux(state.error, running.any(), waiting)),
            watchdog.resetting.eq(state.resetting),
            watchdog.in_flight.eq(Cat(~port.idle for port in self.units) & ~state.failed),
            watchdog.running.eq(running),
            watchdog.queued.eq(queued),
            watchdog.fetching.eq(~fetch.idle),
        ]
        # When it strikes all has stood for some time: whom it blames may come some cycles late.
        code, fetches, blamed = Signal(4), Signal(), Signal(self.config.units)
        m.d.sync += [
            watchdog.stalled.eq(Cat(port.stall_in | port.stall_out for port in self.units)),
            code.eq(watchdog.code),
            fetches.eq(watchdog.fetch),
            blamed.eq(Mux(watchdog.fetch, 0, 1 << watchdog.unit)),
        ]
        with m.If(watchdog.strike):
            with m.If(fetches):
                fail(code, values["HEAD"], NO_ERROR_UNIT)
            for n, queue in enumerate(queues):
                with m.If(blamed[n]):
                    fail(code, queue.index, n)
                    m.d.sync += state.failed[n].eq(1)
        return watchdog.expired

    def _boot(self, m, state):
        """Has the local memories cleared after a reset, if they are to be."""
        if not self.config.clear_at_reset:
            m.d.comb += state.booting.eq(0)
            return
        begun = Signal()
        m.d.sync += begun.eq(1)
        m.d.comb += self.clear_memories.eq(~begun)
        with m.If(begun & ~self.clearing):
            m.d.sync += state.booting.eq(0)

    def _interrupts(self, m, values, state, queues, cleared, word):
        """Completion, STATUS and the interrupt; ``cleared``: IRQ_STATUS is written with ``word``."""
        idle, finished, was_finished = Signal(), Signal(), Signal(init=1)
        m.d.comb += [
            idle.eq(Cat(queue.empty for queue in queues).all()),
            finished.eq((state.waiting == 0) & idle),
        ]
        m.d.sync += was_finished.eq(finished | state.restart)
        events = Mux(finished & ~was_finished & ~state.error, Irq.DONE, 0)
        events |= Mux(state.new_error, Irq.ERROR, 0)
        status = values["IRQ_STATUS"]
        m.d.sync += status.eq(status & ~Mux(cleared, word[:2], 0) | events)
        m.d.comb += [
            self.irq.eq((status & values["IRQ_ENABLE"]).any()),
            values["STATUS"].eq(
                Mux(finished, 0, Status.RUNNING)
                | Mux(state.error, Status.ERROR, 0)
                | Mux(idle, Status.IDLE, 0)
            ),
        ]

    def _control(self, m, values, state, fetch, expired, written, word):
        """CONTROL, and the queue's reset: AXI transactions end, or the watchdog's time, then the units and
        all that belongs to the queue are reset. Whether the counters are cleared."""
        clear_counters = Signal()
        with m.If(written):
            m.d.sync += state.enable.eq((word & Control.ENABLE).any())
            m.d.comb += clear_counters.eq((word & Control.CLEAR_COUNTERS).any())
            with m.If((word & Control.QUEUE_RESET).any()):
                m.d.sync += state.resetting.eq(1)
        settle = Signal(range(SETTLE))
        with m.If(state.resetting):
            quiet = Cat(port.idle for port in self.units).all() & fetch.idle & ~state.booting
            m.d.sync += settle.eq(Mux(quiet, settle + 1, 0))
            with m.If(quiet & (settle == SETTLE - 1) | expired & ~state.booting):
                m.d.comb += state.restart.eq(1)
                m.d.sync += [state.resetting.eq(0), settle.eq(0)]
                m.d.sync += [state.error.eq(0), state.stopped.eq(0), state.failed.eq(0)]
                m.d.sync += [
                    values[name].eq(0)
                    for name in ("HEAD", "TAIL", "ERROR_CODE", "ERROR_INDEX", "ERROR_UNIT", "IRQ_STATUS")
                ]
        m.d.comb += values["CONTROL"].eq(
            Mux(state.enable, Control.ENABLE, 0) | Mux(state.resetting, Control.QUEUE_RESET, 0)
        )
        return clear_counters

    def _registers(self, m, values, counters, ecc):
        """The registers on AXI4-Lite: for those with side effects, by name, whether they are written in
        this cycle; the word written; whether CYCLES_LO is read."""
        slave = place(m, "axi_lite_slave", AXILiteSlave())
        connect(m, flipped(self.axi_lite), slave.axi)
        written = {name: Signal(name=f"write_{name.lower()}") for name in EFFECTS}
        with m.Switch(slave.write_address):
            for name, register in registers_of(self.config).items():
                if register.access != "ro":
                    with m.Case(register.address):
                        m.d.comb += slave.write_ok.eq(1)
                        if name in written:
                            m.d.comb += written[name].eq(slave.write)
                        if name not in ("CONTROL", "IRQ_STATUS"):
                            with m.If(slave.write):
                                m.d.sync += values[name].eq(slave.write_data)
        readable = {r.address: values[name] for name, r in registers_of(self.config).items()}
        readable |= {
            address(name, n): signal for n, of_unit in enumerate(counters) for name, signal in of_unit.items()
        }
        with m.Switch(slave.read_address):
            for at, value in readable.items():
                with m.Case(at):
                    m.d.comb += [slave.read_ok.eq(1), slave.read_data.eq(value)]
            if ecc is not None:
                with m.Default():
                    m.d.comb += [slave.read_ok.eq(ecc.known), slave.read_data.eq(ecc.data)]
                m.d.comb += ecc.address.eq(slave.read_address)
        return written, slave.write_data, slave.read & (slave.read_address == address("CYCLES_LO"))
