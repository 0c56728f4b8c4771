"""What the vector unit does of mixtures of experts: ROUTE, GATHER and SCATTER."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import ExpertsConfig, LocalConfig
from ..ecc.events import ECCEvents
from ..interfaces import BusWrite, LocalWrite, vmem_port
from ..isa.commands import COMMAND_BYTES, Opcode
from ..isa.layout import CommandLayout
from ..verilog import place
from .listed_rows import ListedRows
from .route_table import RouteWrite
from .router import Router

__all__ = ["ExpertCommands"]


class ExpertCommands(wiring.Component):
    """Executes ROUTE commands, makes VECTOR commands of GATHER and SCATTER, and passes on all others.

    Latency: none for other commands; those of :class:`.router.Router` and :class:`.listed_rows.ListedRows`.

    While ``reads``, what executes ``o`` has nothing to do, and the read port is this component's.

    Parameters
    ----------
    local : LocalConfig
    config : ExpertsConfig
    tiles : of the chip

    Members
    -------
    tile : In(5), the own tile's number; constant
    i : In(stream of 512 bits), checked commands; o : Out(stream of 512 bits), what is executed
    executed : In(1), a command of ``o`` is done, in whose cycle the next may be transferred
    done : Out(1), a command of ``i`` is done
    active : Out(1), a command that is not passed on is in progress
    bad : Out(1), a list named a row that there is not; stays high
    reads : Out(1), port : Out(ReadPortSignature), of vector memory
    local, bus : Out(stream of LocalWrite, of BusWrite), ``local`` if only the own tile is written
    table : Out(RouteWrite), to the command processor
    events : Out(ECCEvents), with ``ecc``
    """

    def __init__(self, local: LocalConfig, config: ExpertsConfig, *, tiles):
        self.local_config, self.config, self.tiles = local, config, tiles
        super().__init__(
            ({"events": Out(ECCEvents())} if local.ecc else {})
            | {
                "tile": In(5),
                "i": In(stream.Signature(8 * COMMAND_BYTES)),
                "o": Out(stream.Signature(8 * COMMAND_BYTES)),
                "executed": In(1),
                "done": Out(1),
                "active": Out(1),
                "bad": Out(1),
                "reads": Out(1),
                "port": Out(vmem_port(local)),
                "local": Out(stream.Signature(LocalWrite(local))),
                "bus": Out(stream.Signature(BusWrite(local, tiles=tiles))),
                "table": Out(RouteWrite()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        local = self.local_config
        listed = place(m, "listed_rows", ListedRows(local))
        router = place(m, "router", Router(local, self.config, tiles=self.tiles))
        routes, free = Signal(), Signal()
        m.d.comb += [
            routes.eq(CommandLayout()(self.i.payload).opcode == Opcode.ROUTE),
            free.eq(self.o.ready & ~listed.active & ~router.active),
            router.cmd.payload.eq(self.i.payload),
            router.cmd.valid.eq(self.i.valid & routes & free),
            listed.i.payload.eq(self.i.payload),
            listed.i.valid.eq(self.i.valid & ~routes & ~router.active),
            self.i.ready.eq(Mux(routes, free, listed.i.ready & ~router.active)),
            listed.executed.eq(self.executed),
            self.done.eq(listed.done | router.done),
            self.active.eq(listed.active | router.active),
            self.bad.eq(listed.bad),
            router.tile.eq(self.tile),
            self.table.eq(router.table),
        ]
        connect(m, listed.o, flipped(self.o))
        connect(m, router.local, flipped(self.local))
        connect(m, router.bus, flipped(self.bus))
        m.d.comb += [
            self.reads.eq(listed.reading | router.active),
            self.port.req.valid.eq(Mux(router.active, router.port.req.valid, listed.port.req.valid)),
            self.port.req.payload.eq(Mux(router.active, router.port.req.payload, listed.port.req.payload)),
        ]
        for reader, reads in ((router, router.active), (listed, ~router.active)):
            m.d.comb += [
                reader.port.req.ready.eq(self.port.req.ready & reads),
                reader.port.valid.eq(self.port.valid & reads),
                reader.port.data.eq(self.port.data),
            ]
            if local.ecc:
                m.d.comb += reader.port.failed.eq(self.port.failed)
        if local.ecc:
            m.d.comb += self.events.eq(router.events)
        return m
