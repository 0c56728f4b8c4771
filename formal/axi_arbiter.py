"""The arbiter of the AXI4 read masters."""

from functools import partial

from amaranth.hdl import *

from poblano.axi.arbiter import AXIReadArbiter
from poblano.axi.signature import AXIConfig
from poblano.stream.select import select

from .harness import Harness, Mutation, Property, Watch, popcount


class ReadArbiter(Harness):
    """Masters keep a request until it is taken; the memory answers anything, at any time, in any order, to
    existing masters.

    Addresses and data are narrow: the block only carries them.
    """

    def __init__(self, ports):
        super().__init__()
        self.ports = ports

    def prove(self, m):
        ports = self.ports
        dut = self.add("dut", AXIReadArbiter(AXIConfig(addr_width=1, data_width=8), ports=ports))
        who = self.constant("who", range(ports))
        self.assume(who < ports)
        mine = Cat(who == p for p in range(ports))
        ar, r = dut.o.ar, dut.o.r
        for p, port in enumerate(dut.i):
            waits = self.past(port.ar.valid & ~port.ar.ready, f"waits{p}")
            self.assume(
                ~waits
                | (
                    port.ar.valid
                    & (port.ar.payload.as_value() == self.past(port.ar.payload.as_value(), f"address{p}"))
                )
            )

        # Addresses, of one arbitrary master.
        asks = select(mine, [port.ar.valid for port in dut.i])
        put = select(mine, [port.ar.valid & port.ar.ready for port in dut.i])
        asked = select(mine, [port.ar.payload for port in dut.i])
        get = ar.valid & ar.ready & (ar.payload.id[1:] == who)
        Watch(
            self,
            m,
            "watch",
            put=put,
            put_data=asked,
            get=get,
            get_data=Cat(ar.payload.id[0], ar.payload.addr, ar.payload.len),
            capacity=1,
        )
        self.check("owner", ~ar.valid | (ar.payload.id[1:] < ports))
        self.check("one", popcount(Cat(port.ar.valid & port.ar.ready for port in dut.i)) <= 1)
        waits = self.past(ar.valid & ~ar.ready, "waits")
        self.check(
            "stable",
            ~waits | (ar.valid & (ar.payload.as_value() == self.past(ar.payload.as_value(), "address"))),
        )
        free = ~ar.valid | ar.ready
        self.check(
            "no gap",
            ~free
            | ~Cat(port.ar.valid for port in dut.i).any()
            | Cat(port.ar.valid & port.ar.ready for port in dut.i).any(),
        )

        # Bursts of others that are put before the one that it asks for.
        others = Signal(range(ports + 2))
        with m.If(~asks | put):
            m.d.sync += others.eq(0)
        with m.Elif(Cat(port.ar.valid & port.ar.ready for port in dut.i).any()):
            m.d.sync += others.eq(others + 1)
        self.check("bound", others <= ports - 1)
        self.cover("waits longest", others == ports - 1)

        # Data.
        self.assume(~r.valid | (r.payload.id[1:] < ports))
        own = r.payload.id[1:] == who
        beat = Cat(r.payload.data, r.payload.resp, r.payload.last)
        got = select(
            mine, [Cat(port.r.payload.data, port.r.payload.resp, port.r.payload.last) for port in dut.i]
        )
        self.check("routed", select(mine, [port.r.valid for port in dut.i]) == (r.valid & own))
        self.check("taken", ~(r.valid & own) | (r.ready == select(mine, [port.r.ready for port in dut.i])))
        self.check(
            "data",
            ~(r.valid & own)
            | ((got == beat) & (select(mine, [port.r.payload.id for port in dut.i]) == r.payload.id[0])),
        )
        self.cover("beat", r.valid & r.ready & own)


MODULE = "poblano.axi.arbiter"
MUTATIONS = (
    Mutation("overwrites", MODULE, "free.eq(~ar.valid | ar.ready)", "free.eq(1)"),
    Mutation("every port", MODULE, "port.r.valid.eq(r.valid & (owner == p))", "port.r.valid.eq(r.valid)"),
    Mutation(
        "ready early", MODULE, "port.ar.ready.eq(turn.open[p] & free)", "port.ar.ready.eq(turn.open[p])"
    ),
    Mutation(
        "forgets id",
        MODULE,
        "ar.payload.id.eq(Cat(address.id, number))",
        "ar.payload.id.eq(Cat(C(0, 1), number))",
    ),
    Mutation("any ready", MODULE, "with m.If(owner == p):", "with m.If(owner != p):"),
    Mutation("repeats", MODULE, "ar.valid.eq(turn.grant.any())", "ar.valid.eq(turn.grant.any() | ar.valid)"),
)
PROPERTIES = tuple(
    Property(
        f"ports-{ports}",
        partial(ReadArbiter, ports),
        "each master's bursts leave once, unchanged, in order; at most one of each other is put before; each "
        "beat goes to the master that its id names, only",
        mutations=MUTATIONS if ports == 4 else (),
    )
    for ports in (3, 4, 5)
)
