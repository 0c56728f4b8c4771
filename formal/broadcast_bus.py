"""The broadcast bus."""

from functools import partial

from amaranth.hdl import *

from poblano.bus.broadcast import BroadcastBus
from poblano.config import LocalConfig
from poblano.stream.select import select

from .harness import Harness, Mutation, Property, popcount


class Bus(Harness):
    """Sources keep a transfer until it is taken. One arbitrary source and one arbitrary tile are watched;
    the lowest address bit tells the watched source's writes from others."""

    def __init__(self, tiles):
        super().__init__()
        self.tiles = tiles

    def prove(self, m):
        local = LocalConfig(lanes=1, segments=1, sum_width=1, vmem_addr_width=1, amem_addr_width=1)
        dut = self.add("dut", BroadcastBus(local, sources=2 * self.tiles + 1, tiles=self.tiles))
        sources, tiles = len(dut.i), len(dut.o)
        source, tile = self.constant("source", range(sources)), self.constant("tile", range(max(2, tiles)))
        self.assume((source < sources) & (tile < tiles))
        mine = Cat(source == s for s in range(sources))
        here = Cat(tile == t for t in range(tiles))
        for s, port in enumerate(dut.i):
            waits = self.past(port.valid & ~port.ready, f"waits{s}")
            self.assume(
                ~waits | (port.valid & (port.payload.tiles == self.past(port.payload.tiles, f"tiles{s}")))
            )
            self.assume(port.payload.write.addr[0] == (source == s))
        valid, ready = (
            select(mine, [port.valid for port in dut.i]),
            select(mine, [port.ready for port in dut.i]),
        )
        addressed = select(mine, [port.payload.tiles for port in dut.i])
        done = valid & ready
        takes = Cat(port.valid & port.ready & port.payload.addr[0] for port in dut.o)
        take = (takes & here).any()

        got = Signal()
        m.d.sync += got.eq(~done & (got | take))
        self.check("asked", ~take | (valid & addressed.bit_select(tile, 1)))
        self.check("once", ~(take & got))
        self.check("all", ~done | ((got | take) == addressed.bit_select(tile, 1)))
        self.check("last", ~done | (addressed == 0) | takes.any())
        for t, port in enumerate(dut.o):
            write = select(mine, [port.payload.write for port in dut.i])
            self.check(
                f"payload{t}", ~(port.valid & port.payload.addr[0]) | (port.payload.as_value() == write)
            )
        offered = select(here, [port.valid for port in dut.o])
        owner = select(here, [port.payload.addr[0] for port in dut.o])
        waits = self.past(offered & ~select(here, [port.ready for port in dut.o]), "waits")
        self.check("stable", ~waits | (offered & (owner == self.past(owner, "owner"))))
        transfers = Cat(port.valid & port.ready for port in dut.i)
        self.check("one", popcount(transfers) <= 1)
        all_ready = Cat(port.ready for port in dut.o).all()
        self.check("at once", ~all_ready | (transfers.any() == Cat(port.valid for port in dut.i).any()))
        self.check(
            "no tile", ~valid | (addressed != 0) | done | (Cat(port.valid for port in dut.i) & ~mine).any()
        )

        others = Signal(range(sources + 2))
        with m.If(~valid | done):
            m.d.sync += others.eq(0)
        with m.Elif(transfers.any()):
            m.d.sync += others.eq(others + 1)
        self.check("bound", others <= sources - 1)
        self.cover("waits longest", others == sources - 1)
        self.cover("done", done & (addressed == 2**tiles - 1))
        if tiles > 1:
            self.cover("apart", done & got & ~take)


MODULE = "poblano.bus.broadcast"
FAN = "poblano.stream.broadcast"
MUTATIONS = (
    Mutation("again", FAN, "self.i.valid & self.to[n] & ~taken[n]", "self.i.valid & self.to[n]"),
    Mutation("one is enough", FAN, "self.i.ready.eq(have.all())", "self.i.ready.eq(have.any())"),
    Mutation("forgets to clear", FAN, "taken.eq(Mux(have.all(), 0, have))", "taken.eq(have)"),
    Mutation("all at once", FAN, "taken.eq(Mux(have.all(), 0, have))", "taken.eq(0)"),
    Mutation(
        "every source", MODULE, "source.ready.eq(turn.open[i] & fan.i.ready)", "source.ready.eq(fan.i.ready)"
    ),
    Mutation("not in turn", MODULE, "turn.accept.eq(active & fan.i.ready)", "turn.accept.eq(active)"),
)
PROPERTIES = tuple(
    Property(
        f"tiles-{tiles}",
        partial(Bus, tiles),
        "each addressed tile takes each transfer exactly once, unchanged, no other does; it ends in the "
        "cycle of the last; at most one transfer of each other source comes before",
        mutations=MUTATIONS if tiles == 2 else (),
    )
    for tiles in (1, 2, 3)
)
