"""The DMA engine: blocks between memory and the tiles' local memories."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.signature import AXIReadSignature, AXIWriteSignature
from ..config import LocalConfig, MemoryConfig
from ..ecc.events import ECCEvents
from ..interfaces import BusWrite, UnitSignature, block_port, vmem_port
from ..isa.commands import ErrorCode, Opcode
from ..isa.layout import CommandLayout
from ..verilog import gated_clock, place
from .load import LoadEngine
from .store import StoreEngine

__all__ = ["DMAUnit"]


class DMAUnit(wiring.Component):
    """Executes LOAD and the STOREs, in order, a memory beat a cycle at best.

    Latency: 2 cycles from a command to its first address in memory.

    A LOAD is done when its last write is in all its tiles, a STORE when memory has answered all its writes.
    Commands that go the same way overlap, ``config.pending_transfers`` at most; a command that goes the other
    way, or a NOP, begins when all before it are done.

    With ``config.ecc``, a word that check bits could not correct is an error of the oldest command.

    Parameters
    ----------
    config : MemoryConfig
    local : LocalConfig of the tiles
    tiles : of the chip

    Members
    -------
    unit : In(UnitSignature())
    read : Out(AXIReadSignature)
    write : Out(AXIWriteSignature)
    bus : Out(stream(BusWrite))
    vmem, amem : Out(ReadPortSignature).array(tiles)
    events : Out(ECCEvents), with ``config.ecc``, of the engines' own queues
    """

    def __init__(self, config: MemoryConfig, local: LocalConfig, *, tiles):
        self.config, self.local, self.tiles = config, local, tiles
        super().__init__(
            ({"events": Out(ECCEvents())} if config.ecc else {})
            | {
                "unit": In(UnitSignature()),
                "read": Out(AXIReadSignature(config.command_axi)),
                "write": Out(AXIWriteSignature(config.command_axi)),
                "bus": Out(stream.Signature(BusWrite(local, tiles=tiles))),
                "vmem": Out(vmem_port(local)).array(tiles),
                "amem": Out(block_port(local)).array(tiles),
            }
        )

    def elaborate(self, platform):
        m = Module()
        unit = self.unit
        clock = gated_clock(m, "engines", unit.busy | unit.cmd.valid | unit.flush | ~unit.idle)
        load = place(m, "load", LoadEngine(self.config, self.local, tiles=self.tiles), clock=clock)
        store = place(m, "store", StoreEngine(self.config, self.local, tiles=self.tiles), clock=clock)
        connect(m, load.axi, flipped(self.read))
        connect(m, store.axi, flipped(self.write))
        connect(m, load.bus, flipped(self.bus))
        for t in range(self.tiles):
            connect(m, store.vmem[t], flipped(self.vmem[t]))
            connect(m, store.amem[t], flipped(self.amem[t]))

        opcode = CommandLayout()(unit.cmd.payload).opcode
        is_load, is_nop = opcode == Opcode.LOAD, opcode == Opcode.NOP
        loading = Signal()  # the pending commands are LOADs
        most = self.config.pending_transfers
        pending = Signal(range(most + 1))
        may, taken, failed, nop_done, done = Signal(), Signal(), Signal(), Signal(), Signal()
        error, code = load.error | store.error, Mux(load.error, ErrorCode.AXI_READ, ErrorCode.AXI_WRITE)
        ends = load.done | store.done | nop_done
        if self.config.ecc:
            poisoned = load.poisoned | store.poisoned
            error, code, ends = error | poisoned, Mux(poisoned, ErrorCode.ECC, code), ends & ~poisoned
            m.d.comb += self.events.as_value().eq(load.events.as_value() | store.events.as_value())
        m.d.comb += [
            may.eq(
                ~unit.flush & ~failed & ((pending == 0) | ~is_nop & (loading == is_load) & (pending != most))
            ),
            load.cmd.payload.eq(unit.cmd.payload),
            store.cmd.payload.eq(unit.cmd.payload),
            load.cmd.valid.eq(unit.cmd.valid & may & is_load),
            store.cmd.valid.eq(unit.cmd.valid & may & ~is_load & ~is_nop),
            unit.cmd.ready.eq(may & (is_nop | Mux(is_load, load.cmd.ready, store.cmd.ready))),
            taken.eq(unit.cmd.valid & unit.cmd.ready),
            done.eq(ends & ~failed),
            load.flush.eq(unit.flush | failed),
            store.flush.eq(unit.flush | failed),
            unit.done.eq(done),
            unit.idle.eq(load.idle & store.idle),
            unit.busy.eq(pending != 0),
        ]
        with m.If(taken):
            m.d.sync += loading.eq(is_load)
        with m.If(error):
            m.d.sync += failed.eq(1)
        m.d.sync += [
            nop_done.eq(taken & is_nop),
            pending.eq(pending + taken - done),
            unit.error.eq(error & ~failed),
            unit.code.eq(code),
        ]
        # A LOAD waits for memory or for the bus; a STORE for local memories or for memory to take its writes.
        reading = Cat(port.req.valid & ~port.req.ready for port in [*self.vmem, *self.amem]).any()
        writing = self.write.aw.valid & ~self.write.aw.ready | self.write.w.valid & ~self.write.w.ready
        m.d.comb += [
            unit.stall_in.eq(unit.busy & Mux(loading, ~self.bus.valid, reading & ~writing)),
            unit.stall_out.eq(unit.busy & Mux(loading, self.bus.valid & ~self.bus.ready, writing)),
        ]
        return m
