"""The command processor: registers, fetch, check, dispatch in order, and the units' queues."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ChipConfig
from ..interfaces import AXIReadSignature, UnitSignature
from ..verilog import place
from .checker import CommandChecker
from .commands import COUNT_BITS, ErrorCode
from .fetch import CommandFetch
from .queue import UnitQueue
from .registers import COUNTER_BASE, COUNTER_STRIDE, COUNTERS, IDENTITY, REGISTERS, VERSION_NUMBER

__all__ = ["AXILiteSignature", "CommandProcessor"]

ADDRESS_BITS = 12
OKAY, SLVERR = 0, 2
RING_ALIGNMENT = 4096
SMALLEST_RING = 64


class AXILiteSignature(wiring.Signature):
    """AXI4-Lite, master's side: 12-bit byte addresses, 32-bit data."""

    def __init__(self):
        super().__init__({
            "aw": Out(stream.Signature(ADDRESS_BITS)),
            "w": Out(stream.Signature(data.StructLayout({"data": 32, "strb": 4}))),
            "b": In(stream.Signature(2)),
            "ar": Out(stream.Signature(ADDRESS_BITS)),
            "r": In(stream.Signature(data.StructLayout({"data": 32, "resp": 2}))),
        })


class CommandProcessor(wiring.Component):
    """Fetches commands, refuses bad ones, and starts each in its unit when its waits hold.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    axi_lite : In(AXILiteSignature()), the registers of :mod:`.registers`. Writes need all strobes; a write of a read-only
        register, and any access of an address without a register, is answered with SLVERR.
    fetch : Out(AXIReadSignature)
    units : Out(UnitSignature()).array(units)
    clear : Out(1), synchronous reset of all units, after they are idle.
    irq : Out(1), an enabled bit of IRQ_STATUS is set.
    trace_start, trace_done : Out(units), a command started or completed this cycle.
    read_beats, write_beats : In(1), a beat passed the memory port.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__({
            "axi_lite": In(AXILiteSignature()),
            "fetch": Out(AXIReadSignature(addr_width=config.memory.addr_width, data_width=config.memory.data_width,
                                          id_width=1)),
            "units": Out(UnitSignature()).array(config.units),
            "clear": Out(1),
            "irq": Out(1),
            "trace_start": Out(config.units),
            "trace_done": Out(config.units),
            "read_beats": In(1),
            "write_beats": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        count = self.config.units
        values = {name: Signal(32, name=name.lower()) for name in REGISTERS}
        enable, resetting, error = Signal(), Signal(), Signal()
        counters = [{name: Signal(32, name=f"unit{n}_{name.lower()}") for name in COUNTERS} for n in range(count)]
        write = self._registers(m, values, counters)

        restart = Signal()  # resets fetch, checker and queues
        m.d.comb += self.clear.eq(restart)
        fetch = place(m, "command_fetch", CommandFetch(self.config), reset=restart)
        checker = place(m, "checker", CommandChecker(self.config), reset=restart)
        queues = [place(m, f"queue{n}", UnitQueue(depth=self.config.queue_depth, units=count), reset=restart)
                  for n in range(count)]
        connect(m, flipped(self.fetch), fetch.axi)
        connect(m, fetch.o, checker.i)

        base = Cat(values["RING_BASE_LO"], values["RING_BASE_HI"])
        ring_size = values["RING_SIZE"]
        ring_bad = ((base % RING_ALIGNMENT != 0) | (ring_size < SMALLEST_RING) | (ring_size & (ring_size - 1)[:32]).any())
        m.d.comb += [
            fetch.base.eq(base),
            fetch.size.eq(ring_size),
            fetch.tail.eq(values["TAIL"]),
            fetch.enable.eq(enable & ~error & ~ring_bad),
            fetch.flush.eq(resetting),
            checker.memory_size.eq(Cat(values["MEMORY_SIZE_LO"], values["MEMORY_SIZE_HI"])),
        ]

        # Dispatch in order.
        code = checker.o.payload.code
        command = checker.o.payload.command
        unit = command[8:16]
        accepted = Signal()
        for n, queue in enumerate(queues):
            m.d.comb += [
                queue.i.payload.command.eq(command),
                queue.i.payload.index.eq(values["HEAD"]),
                queue.i.valid.eq(checker.o.valid & (code == ErrorCode.NONE) & (unit == n) & ~error & ~resetting),
                queue.hold.eq(values["ERROR_CODE"].matches(ErrorCode.AXI_READ, ErrorCode.AXI_WRITE) | resetting),
            ]
            m.d.comb += [queue.counts[k].eq(other.count) for k, other in enumerate(queues)]
            with m.If(queue.i.valid & queue.i.ready):
                m.d.comb += accepted.eq(1)
        m.d.comb += checker.o.ready.eq(accepted)
        with m.If(accepted):
            m.d.sync += values["HEAD"].eq(values["HEAD"] + 1)

        # Errors: the first is kept.
        def fail(code, index, unit):
            return [error.eq(1), values["ERROR_CODE"].eq(code), values["ERROR_INDEX"].eq(index), values["ERROR_UNIT"].eq(unit)]

        with m.If(~error & ~resetting):
            with m.If(checker.o.valid & (code != ErrorCode.NONE)):
                m.d.sync += fail(code, values["HEAD"], unit)
            with m.Elif(fetch.error):
                m.d.sync += fail(ErrorCode.FETCH, values["HEAD"], 0)
            with m.Elif(enable & (values["TAIL"] != values["HEAD"]) & ring_bad):
                m.d.sync += fail(ErrorCode.FIELD, values["HEAD"], 0)
        for n, (port, queue) in enumerate(zip(self.units, queues)):
            with m.If(~error & ~resetting & port.error):
                m.d.sync += fail(port.code, queue.index, n)

        for n, (port, queue) in enumerate(zip(self.units, queues)):
            m.d.comb += [
                port.cmd.payload.eq(queue.cmd.payload), port.cmd.valid.eq(queue.cmd.valid),
                queue.cmd.ready.eq(port.cmd.ready), queue.unit_done.eq(port.done), port.flush.eq(resetting),
                self.trace_start[n].eq(queue.start), self.trace_done[n].eq(queue.done),
            ]

        # Completion and interrupts.
        finished, was_finished = Signal(), Signal(init=1)
        m.d.comb += finished.eq((values["HEAD"] == values["TAIL"]) & Cat(queue.empty for queue in queues).all())
        m.d.sync += was_finished.eq(finished)
        was_error = Signal()
        m.d.sync += was_error.eq(error)
        status = Cat(finished & ~was_finished & ~error, error & ~was_error)
        cleared = Mux(write["IRQ_STATUS"][0], write["IRQ_STATUS"][1][:2], 0)
        irq_status = values["IRQ_STATUS"]
        m.d.sync += irq_status.eq(irq_status[:2] & ~cleared[:2] | status)
        m.d.comb += self.irq.eq((irq_status & values["IRQ_ENABLE"])[:2].any())

        # Queue reset: let AXI transactions end, then reset the units and everything about the queue.
        control_written, control = write["CONTROL"]
        with m.If(control_written):
            m.d.sync += enable.eq(control[0])
            with m.If(control[1]):
                m.d.sync += resetting.eq(1)
        settle = Signal(range(4))
        with m.If(resetting):
            quiet = Cat(port.idle for port in self.units).all() & fetch.idle
            m.d.sync += settle.eq(Mux(quiet, settle + 1, 0))
            with m.If(quiet & (settle == 3)):
                m.d.comb += restart.eq(1)
                m.d.sync += [resetting.eq(0), settle.eq(0), error.eq(0), was_error.eq(0), was_finished.eq(1)]
                m.d.sync += [values[name].eq(0) for name in
                             ("HEAD", "TAIL", "ERROR_CODE", "ERROR_INDEX", "ERROR_UNIT", "IRQ_STATUS")]

        self._count(m, values, counters, queues, control_written & control[2])
        m.d.comb += [
            values["ID"].eq(IDENTITY),
            values["VERSION"].eq(VERSION_NUMBER),
            values["CONFIG0"].eq(Cat(C(self.config.tiles, 8), C(count, 8),
                                     C(self.config.memory.data_bytes.bit_length() - 1, 16))),
            values["CONFIG1"].eq(Cat(C(self.config.tile.array.rows, 16), C(self.config.tile.array.cols, 16))),
            values["CONTROL"].eq(Cat(enable, resetting)),
            values["STATUS"].eq(Cat(~finished, error)),
        ]
        return m

    def _count(self, m, values, counters, queues, clear):
        cycles = Signal(64)
        m.d.comb += [values["CYCLES_LO"].eq(cycles[:32]), values["CYCLES_HI"].eq(cycles[32:])]
        counting = [(cycles, 1), (values["READ_BEATS"], self.read_beats), (values["WRITE_BEATS"], self.write_beats)]
        for n, (port, queue) in enumerate(zip(self.units, queues)):
            m.d.comb += counters[n]["COMPLETED"].eq(queue.count)
            counting += [(counters[n][name.upper()], getattr(port, name)) for name in ("busy", "stall_in", "stall_out")]
        for counter, event in counting:
            m.d.sync += counter.eq(counter + event)
            with m.If(clear):
                m.d.sync += counter.eq(0)

    def _registers(self, m, values, counters):
        """AXI4-Lite; returns, for registers with side effects, whether they are written this cycle and with what."""
        axi = self.axi_lite
        writing, address, word = Signal(), Signal(ADDRESS_BITS), Signal(32)
        with m.If(axi.b.valid & axi.b.ready):
            m.d.sync += axi.b.valid.eq(0)
        both = axi.aw.valid & axi.w.valid & (~axi.b.valid)
        strobed = axi.w.payload.strb == 15
        m.d.comb += [
            axi.aw.ready.eq(both), axi.w.ready.eq(both), writing.eq(both),
            address.eq(axi.aw.payload), word.eq(axi.w.payload.data),
        ]
        effects = {name: (Signal(name=f"write_{name.lower()}"), word) for name in ("CONTROL", "IRQ_STATUS")}
        with m.If(writing):
            m.d.sync += [axi.b.valid.eq(1), axi.b.payload.eq(SLVERR)]
            with m.Switch(address):
                for name, register in REGISTERS.items():
                    if register.access != "ro":
                        with m.Case(register.address):
                            with m.If(strobed):
                                m.d.sync += axi.b.payload.eq(OKAY)
                                if name in effects:
                                    m.d.comb += effects[name][0].eq(1)
                                else:
                                    m.d.sync += values[name].eq(word)

        with m.If(axi.r.valid & axi.r.ready):
            m.d.sync += axi.r.valid.eq(0)
        m.d.comb += axi.ar.ready.eq(~axi.r.valid)
        with m.If(axi.ar.valid & axi.ar.ready):
            m.d.sync += [axi.r.valid.eq(1), axi.r.payload.data.eq(0), axi.r.payload.resp.eq(SLVERR)]
            with m.Switch(axi.ar.payload):
                for name, register in REGISTERS.items():
                    with m.Case(register.address):
                        m.d.sync += [axi.r.payload.data.eq(values[name]), axi.r.payload.resp.eq(OKAY)]
                for n, of_unit in enumerate(counters):
                    for k, name in enumerate(COUNTERS):
                        with m.Case(COUNTER_BASE + n * COUNTER_STRIDE + 4 * k):
                            m.d.sync += [axi.r.payload.data.eq(of_unit[name]), axi.r.payload.resp.eq(OKAY)]
        return effects
