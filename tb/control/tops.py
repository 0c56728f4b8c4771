"""The control blocks with the ports that the benches want."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from poblano.axi.lite import AXILiteSignature
from poblano.axi.paging import PAGE_ALIGNMENT
from poblano.control.checker import CommandChecker
from poblano.control.processor import CommandProcessor
from poblano.isa.commands import COMMAND_BYTES
from poblano.verilog import place
from tb.control.random_commands import HOME_BYTES, PAGE_BYTES, page_counts

__all__ = ["CheckerTop", "ProcessorTop"]


class CheckerTop(wiring.Component):
    """The checkers of several configurations side by side, each given the same commands; ``code`` has 4
    bits of each."""

    def __init__(self, configs):
        self.configs = configs
        super().__init__(
            {
                "memory_size": In(41),
                "i": In(8 * COMMAND_BYTES),
                "i_valid": In(1),
                "i_ready": Out(1),
                "o": Out(8 * COMMAND_BYTES),
                "code": Out(4 * len(configs)),
                "o_valid": Out(1),
                "o_ready": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        checkers = [place(m, f"checker_{config.name}", CommandChecker(config)) for config in self.configs]
        m.d.comb += [
            self.i_ready.eq(Cat(checker.i.ready for checker in checkers).all()),
            self.o_valid.eq(Cat(checker.o.valid for checker in checkers).all()),
            self.o.eq(checkers[-1].o.payload.command),
            self.code.eq(Cat(checker.o.payload.code for checker in checkers)),
        ]
        for config, checker in zip(self.configs, checkers):
            if config.memory.paging is not None:
                m.d.comb += checker.pages.bytes.eq(PAGE_BYTES)
                for slot, count in enumerate(page_counts(config)):
                    m.d.comb += checker.pages.counts[slot].eq(count)
                if config.memory.homes > 1:
                    m.d.comb += checker.home_end.eq(HOME_BYTES // PAGE_ALIGNMENT)
            m.d.comb += [
                checker.memory_size.eq(self.memory_size),
                checker.i.payload.eq(self.i),
                checker.i.valid.eq(self.i_valid & self.i_ready),
                checker.o.ready.eq(self.o_ready & self.o_valid),
            ]
        return m


class ProcessorTop(wiring.Component):
    """The command processor with AXI's names, and each member of its units' ports as one vector."""

    def __init__(self, config):
        self.config = config
        units, memory = config.units, config.memory
        super().__init__(
            {
                "s_axil": In(AXILiteSignature()),
                "araddr": Out(memory.addr_width),
                "arlen": Out(8),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(memory.data_width),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
                **{f"cmd{n}": Out(8 * COMMAND_BYTES) for n in range(units)},
                "cmd_valid": Out(units),
                "cmd_ready": In(units),
                "flush": Out(units),
                **{name: In(units) for name in ("done", "error", "busy", "stall_in", "stall_out", "idle")},
                "code": In(4),
                "clear": Out(1),
                "irq": Out(1),
                "trace_start": Out(units),
                "trace_done": Out(units),
                "read_beats": In(1),
                "write_beats": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        processor = place(m, "processor", CommandProcessor(self.config))
        connect(m, flipped(self.s_axil), processor.axi_lite)
        fetch = processor.fetch
        m.d.comb += [
            self.araddr.eq(fetch.ar.payload.addr),
            self.arlen.eq(fetch.ar.payload.len),
            self.arvalid.eq(fetch.ar.valid),
            fetch.ar.ready.eq(self.arready),
            fetch.r.payload.data.eq(self.rdata),
            fetch.r.payload.resp.eq(self.rresp),
            fetch.r.payload.last.eq(self.rlast),
            fetch.r.valid.eq(self.rvalid),
            self.rready.eq(fetch.r.ready),
        ]
        for n, unit in enumerate(processor.units):
            m.d.comb += [
                getattr(self, f"cmd{n}").eq(unit.cmd.payload),
                self.cmd_valid[n].eq(unit.cmd.valid),
                unit.cmd.ready.eq(self.cmd_ready[n]),
                self.flush[n].eq(unit.flush),
                unit.code.eq(self.code),
            ]
            m.d.comb += [
                getattr(unit, name).eq(getattr(self, name)[n])
                for name in ("done", "error", "busy", "stall_in", "stall_out", "idle")
            ]
        m.d.comb += [
            getattr(self, name).eq(getattr(processor, name))
            for name in ("clear", "irq", "trace_start", "trace_done")
        ]
        m.d.comb += [
            getattr(processor, name).eq(getattr(self, name)) for name in ("read_beats", "write_beats")
        ]
        return m
