"""The block RAM behind AXI4 ports: whose bursts are answered, how, and when."""

from functools import partial

from amaranth.hdl import *
from amaranth.lib import data

from poblano.memory.axi_ram import AXIRam
from poblano.stream.select import select

from .harness import Harness, Mutation, Property, Watch

LONGEST = 3
"""Beats of the bursts."""
SIZE, ADDR_WIDTH = 4, 3
"""Bytes, each a beat: half of the addresses are outside."""


class Ram(Harness):
    """Masters keep what they offer until it is taken; they take answers at any time. Bursts have up to
    three beats."""

    def __init__(self, ports):
        super().__init__()
        self.ports = ports

    def prove(self, m):
        dut = self.add(
            "dut", AXIRam(size=SIZE, addr_width=ADDR_WIDTH, data_width=8, id_widths=(1,) * self.ports)
        )
        who = self.constant("who", range(self.ports))
        self.assume(who < self.ports)
        self.mine = Cat(who == p for p in range(self.ports))
        reads, writes = (
            [getattr(dut, f"{side}{p}") for p in range(self.ports)] for side in ("read", "write")
        )
        self._offers(m, "ar", [port.ar for port in reads])
        self._offers(m, "aw", [port.aw for port in writes])
        self._reads(m, reads)
        self._writes(m, writes)

    def _pick(self, ports, channel, name):
        """A signal of the watched master's channel."""
        return select(self.mine, [getattr(getattr(port, channel), name) for port in ports])

    def _field(self, ports, channel, name):
        """A field of what the watched master's channel carries."""
        return select(self.mine, [getattr(port, channel).payload[name] for port in ports])

    def _offers(self, m, name, channels):
        """Addresses stay until they are taken, one at a time, and each master gets its turn."""
        for p, channel in enumerate(channels):
            waits = self.past(channel.valid & ~channel.ready, f"waits_{name}{p}")
            self.assume(
                ~waits
                | (
                    channel.valid
                    & (channel.payload.as_value() == self.past(channel.payload.as_value(), f"{name}{p}"))
                )
            )
            self.assume(channel.payload.len < LONGEST)
        taken = [channel.valid & channel.ready for channel in channels]
        self.check(f"one {name}", sum(taken, C(0, 4)) <= 1)
        # Bursts of others that are taken while it waits.
        others = Signal(range(self.ports + 2), name=f"others_{name}")
        asks, own = (select(self.mine, values) for values in ([channel.valid for channel in channels], taken))
        with m.If(~asks | own):
            m.d.sync += others.eq(0)
        with m.Elif(Cat(taken).any()):
            m.d.sync += others.eq(others + 1)
        self.check(f"turn of {name}", others < self.ports)

    def _reads(self, m, reads):
        """As many beats as were asked for, with their id, the last one marked."""
        pick, field = self._pick, self._field
        ar_taken, beat = (
            pick(reads, "ar", "valid") & pick(reads, "ar", "ready"),
            pick(reads, "r", "valid") & pick(reads, "r", "ready"),
        )
        last = field(reads, "r", "last")
        beats = Signal(range(LONGEST + 1))
        with m.If(beat):
            m.d.sync += beats.eq(Mux(last, 0, beats + 1))
        length = field(reads, "ar", "len")[:2]
        asked = Watch(
            self,
            m,
            "reads",
            put=ar_taken,
            put_data=Cat(field(reads, "ar", "id"), length),
            get=beat & last,
            get_data=Cat(field(reads, "r", "id"), beats[:2]),
            capacity=2,
        )
        self.check("beats", beats < LONGEST)
        self.check("no answer unasked", ~pick(reads, "r", "valid") | (asked.held != 0))
        answer = Cat(field(reads, "r", name) for name in ("id", "data", "resp", "last"))
        waits = self.past(pick(reads, "r", "valid") & ~pick(reads, "r", "ready"), "waits_r")
        self.check(
            "answer stays", ~waits | (pick(reads, "r", "valid") & (answer == self.past(answer, "answer")))
        )
        self.check("one reader", sum((port.r.valid for port in reads), C(0, 4)) <= 1)
        self.cover("long read", beat & last & (beats == LONGEST - 1))

    def _writes(self, m, writes):
        """Beats are taken between the address and the answer, as many as were announced."""
        pick, field = self._pick, self._field
        aw_taken, b_taken = (
            pick(writes, "aw", "valid") & pick(writes, "aw", "ready"),
            pick(writes, "b", "valid") & pick(writes, "b", "ready"),
        )
        w_taken = pick(writes, "w", "valid") & pick(writes, "w", "ready")
        left = Signal(range(LONGEST + 1))
        outside, ident = Signal(), Signal()
        # What the answer to the burst before has to be.
        owed, expected = Signal(), Signal(data.StructLayout({"id": 1, "resp": 2}))
        address, last = Signal(ADDR_WIDTH), Signal()
        m.d.comb += last.eq(w_taken & (left == 1))
        with m.If(b_taken):
            m.d.sync += owed.eq(0)
        with m.If(w_taken):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1), outside.eq(outside | address[2])]
        with m.If(last):
            bad = outside | address[2]
            m.d.sync += [owed.eq(1), expected.id.eq(ident), expected.resp.eq(Mux(bad, 3, 0))]
        with m.If(aw_taken):
            m.d.sync += [
                left.eq(field(writes, "aw", "len") + 1),
                address.eq(field(writes, "aw", "addr")),
                outside.eq(0),
                ident.eq(field(writes, "aw", "id")),
            ]
        self.check("room for beats", ~w_taken | (left != 0))
        self.check("one burst", ~aw_taken | (left == 0) | last)
        self.check("place for the answer", ~last | ~owed | b_taken)
        self.check("answered whole", pick(writes, "b", "valid") == owed)
        self.check(
            "response",
            ~owed | (field(writes, "b", "id") == expected.id) & (field(writes, "b", "resp") == expected.resp),
        )
        self.check("one writer", sum((port.b.valid for port in writes), C(0, 4)) <= 1)
        self.cover("long write", b_taken & (expected.resp == 3))
        self.cover("back to back", last & owed & aw_taken)


MODULE = "poblano.memory.axi_ram"
MUTATIONS = (
    Mutation("beats lost", MODULE, "issue.eq(active & (~answer.port.any() | accepted))", "issue.eq(active)"),
    Mutation(
        "burst overtaken", MODULE, "free.eq(~active | issue & (burst.left == 0))", "free.eq(~active | issue)"
    ),
    Mutation("one beat more", MODULE, "active.eq(burst.left != 0)", "active.eq(1)"),
    Mutation(
        "wrong end", MODULE, "ends.eq(valid & (burst.left == 0))", "ends.eq(valid & (burst.left[1:] == 0))"
    ),
    Mutation(
        "answer overwritten",
        MODULE,
        "takes.eq(active & ((burst.left != 0) | ~answer.port.any() | answered))",
        "takes.eq(active)",
    ),
    Mutation(
        "error forgotten",
        MODULE,
        "answer.resp.eq(Mux(bad | outside, DECERR, OKAY))",
        "answer.resp.eq(Mux(outside, DECERR, OKAY))",
    ),
    Mutation("data of another", MODULE, "port.w.ready.eq(takes & burst.port[n])", "port.w.ready.eq(takes)"),
)
PROPERTIES = tuple(
    Property(
        f"ports-{ports}",
        partial(Ram, ports),
        "each master's read bursts are answered in order with their ids and all their beats, an answer stays "
        "until it is taken; each write's "
        "beats are taken once and answered once, with an error if one was outside; no master waits for more "
        "than one burst of each other",
        mutations=MUTATIONS if ports == 2 else (),
    )
    for ports in (1, 2, 3)
)
