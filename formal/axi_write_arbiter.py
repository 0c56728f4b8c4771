"""The arbiter of the AXI4 write masters."""

from functools import partial

from amaranth.hdl import *

from poblano.axi.signature import AXIConfig
from poblano.axi.write_arbiter import AXIWriteArbiter
from poblano.stream.select import select

from .harness import Harness, Mutation, Property, Watch, popcount


class WriteArbiter(Harness):
    """Masters keep addresses and beats until they are taken; the memory answers anything, at any time, to
    existing masters.

    Addresses and data are narrow: the block only carries them.
    """

    def __init__(self, ports, ahead):
        super().__init__()
        self.ports, self.ahead = ports, ahead

    def prove(self, m):
        ports = self.ports
        config = AXIConfig(addr_width=1, data_width=8)
        dut = self.add("dut", AXIWriteArbiter(config, ports=ports, ahead=self.ahead))
        who = self.constant("who", range(ports))
        self.assume(who < ports)
        mine = Cat(who == p for p in range(ports))
        of_mine = lambda values: select(mine, values)
        aw, w, b = dut.o.aw, dut.o.w, dut.o.b
        for p, port in enumerate(dut.i):
            for name, channel in (("aw", port.aw), ("w", port.w)):
                waits = self.past(channel.valid & ~channel.ready, f"waits_{name}{p}")
                before = self.past(channel.payload.as_value(), f"before_{name}{p}")
                self.assume(~waits | channel.valid & (channel.payload.as_value() == before))

        # Addresses, of one arbitrary master.
        asks = of_mine([port.aw.valid for port in dut.i])
        put = of_mine([port.aw.valid & port.aw.ready for port in dut.i])
        get = aw.valid & aw.ready & (aw.payload.id[1:] == who)
        Watch(
            self,
            m,
            "watch",
            put=put,
            put_data=of_mine([port.aw.payload for port in dut.i]),
            get=get,
            get_data=Cat(aw.payload.id[0], aw.payload.addr, aw.payload.len),
            capacity=1,
        )
        taken = Cat(port.aw.valid & port.aw.ready for port in dut.i)
        self.check("one", popcount(taken) <= 1)
        waits = self.past(aw.valid & ~aw.ready, "waits")
        self.check("stable", ~waits | aw.valid & (aw.payload.as_value() == self.past(aw.payload, "address")))
        others = Signal(range(ports + 2))
        with m.If(~asks | put):
            m.d.sync += others.eq(0)
        with m.Elif(taken.any()):
            m.d.sync += others.eq(others + 1)
        self.check("bound", others <= ports - 1)
        self.cover("waits longest", others == ports - 1)

        # Data: the bursts whose data pass are those whose addresses were taken, in that order.
        number = select(taken, range(ports))
        passes = Cat(port.w.valid & port.w.ready for port in dut.i)
        Watch(
            self,
            m,
            "order",
            put=taken.any(),
            put_data=Cat(number, C(0, 4 - len(number))),
            get=w.valid & w.ready & w.payload.last,
            get_data=Cat(select(passes, range(ports)), C(0, 4 - len(number))),
            capacity=self.ahead,
        )
        self.check("one beat", popcount(passes) == (w.valid & w.ready))
        own = of_mine([port.w.valid & port.w.ready for port in dut.i])
        self.check("same beat", ~own | (w.payload.as_value() == of_mine([port.w.payload for port in dut.i])))

        # Answers.
        self.assume(~b.valid | (b.payload.id[1:] < ports))
        to_mine = b.payload.id[1:] == who
        self.check("answer", of_mine([port.b.valid for port in dut.i]) == (b.valid & to_mine))
        self.check("answer taken", ~(b.valid & to_mine) | (b.ready == of_mine([p.b.ready for p in dut.i])))
        answer = of_mine([Cat(port.b.payload.id, port.b.payload.resp) for port in dut.i])
        self.check("same answer", ~(b.valid & to_mine) | (answer == Cat(b.payload.id[0], b.payload.resp)))


MODULE = "poblano.axi.write_arbiter"
MUTATIONS = (
    Mutation("overwrites", MODULE, "(~aw.valid | aw.ready) & order.i.ready", "order.i.ready"),
    Mutation("forgets order", MODULE, "(~aw.valid | aw.ready) & order.i.ready", "~aw.valid | aw.ready"),
    Mutation("forgets id", MODULE, "Cat(address.id, number)", "Cat(C(0, 1), number)"),
    Mutation("every beat ends", MODULE, "w.valid & w.ready & w.payload.last", "w.valid & w.ready"),
    Mutation("takes all beats", MODULE, "port.w.ready.eq(owner[p] & w.ready)", "port.w.ready.eq(w.ready)"),
    Mutation("every port", MODULE, "port.b.valid.eq(b.valid & (to == p))", "port.b.valid.eq(b.valid)"),
)
PROPERTIES = tuple(
    Property(
        f"ports-{ports}",
        partial(WriteArbiter, ports, ahead),
        "each master's addresses leave once, unchanged, in order; at most one of each other is taken before; "
        "data pass in the order of the addresses; each answer goes to the master that its id names, only",
        mutations=MUTATIONS if ports == 2 else (),
    )
    for ports, ahead in ((2, 2), (3, 1))
)
