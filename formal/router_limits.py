"""What the router's proof says of rows of windows, in which experts have room for some rows."""

from amaranth.hdl import *

__all__ = ["Limits"]


class Limits:
    """The parts of the router's harness that are about experts' room."""

    def _limit(self, m):
        """Rows of windows: no expert gets more than there is room for, but of values that were read again, of
        which full experts came late."""
        room, selector, state, inside = self.room, self.selector, self.state, self.inside
        self.full = full = Signal(self.CONFIG.experts)  # experts
        m.d.comb += [
            room.full.eq(full.bit_select(room.number, 1)),
            room.late.eq(full.bit_select(room.other, 1)),
            room.some.eq(full != 0),
        ]
        with m.If(room.takes & self.free("fills")):
            m.d.sync += full.eq(full | 1 << room.number)
        with m.If(room.start):
            m.d.sync += full.eq(0)
        self.limited, answer = Signal(), state["WINDOW"] & self.dut.port.valid
        word = Value.cast(self.dut.port.data)[:32]
        with m.If(answer):
            m.d.sync += self.limited.eq(word[:31] != 0)
        with m.If(self.begins | state["NEXT"]):
            m.d.sync += self.limited.eq(0)
        self.check("its window", ~answer | self._here(self._at("c")))
        starts = state["IDLE"] | answer & (word[:31] != 0) & word[31]
        self.check("starts", room.start == starts)
        again = inside["repeats"]
        late = again & ~self.scoring & full.bit_select(self.expert, 1)
        self.check("late", ~selector.valid | (selector.late == late))
        self.check("takes", room.takes == (self.assigns & self.limited))
        steady = self.past(~room.takes, "none_taken") & (self.past(room.number, "room_before") == room.number)
        self.check("room steady", ~room.takes | steady & (room.number == self.number))
        self.check("room's capacity", state["IDLE"] | (room.capacity == self.command.capacity))
        refused = full.bit_select(self.number, 1)
        self.check("room", ~room.takes | again | ~refused)
        self.cover("repeats", again & selector.valid)
        self._compare(m, refused)

    def _compare(self, m, refused):
        """The experts that are selected are given once more, if none is full."""
        selector, compares = self.selector, self.state["COMPARE"]
        self.known, self.given = Signal(), [Signal(3, name=f"given{n}") for n in range(self.CONFIG.used)]
        self.refused, self.rerouted = Signal(3), Signal(4)
        total = (self.refused + refused)[:3]
        with m.If(compares):
            m.d.sync += [Array(self.given)[self.taken].eq(self.number), self.refused.eq(total)]
            with m.If(selector.last):
                m.d.sync += [self.refused.eq(0), self.rerouted.eq(self.rerouted + total)]
            with m.If(selector.again):
                m.d.sync += self.known.eq(1)
        with m.If(selector.start):
            m.d.sync += self.known.eq(0)
        with m.If(self.begins):
            m.d.sync += self.rerouted.eq(0)
        self.assume(~(self.known & self.asks) | (self.number == Array(self.given)[self.taken]))
        again = compares & selector.last & (total != 0)
        self.check("again", ~compares | (selector.start == again))
        self.check("counted", self.state["IDLE"] | (self.dut.table.rerouted == self.rerouted))

    def _limit_invariant(self):
        """Which experts are full of those that are selected."""
        inside, state, full, used = self.inside, self.state, self.full, self.command.used
        again, compares = inside["repeats"], state["COMPARE"]
        row = self.reads | state["OPEN"] | compares | self.keeps
        self.check("limited", ~row | (inside["limited"] == self.limited))
        self.check("has capacity", ~self.windows | (self.command.capacity != 0))
        self.check("not limited yet", ~self.windows | ~self.limited & ~again)
        self.check("limited by capacity", ~row | ~self.limited | (self.command.capacity != 0))
        self.check("again of a window", ~row | ~again | self.limited)
        self.check("compares", ~compares | self.limited & ~again & (self.taken < used) & ~self.known)
        known = self.keeps | state["NEXT"]
        self.check("known", ~self.known | known & self.limited & ~again)
        most = self.row[:3] * used[:2] + Mux(row & again, used, 0)
        self.check("so many", state["IDLE"] | (self.rerouted <= most))
        self.check("refused", (inside["refused"] == self.refused) & (compares | (self.refused == 0)))
        given = [(number, full.bit_select(number, 1)) for number in self.given]
        taken = sum((its & (n < self.taken) for n, (_, its) in enumerate(given)), C(0))
        self.check("those", ~compares | (self.refused == taken))
        for n, (number, its) in enumerate(given):
            left = self.known & (n >= self.taken) & (n < used)
            self.check(f"has room {n}", ~left | ~its)
            there = compares & (n < self.taken) | self.known & (n < used)
            self.check(f"given {n}", ~there | (number < self.command.experts))
            self.check(f"last {n}", ~there | (n != self.taken - 1) | (number == self.last_number))
            if n:
                self.check(f"given up to {n}", ~there | (number > self.given[n - 1]))
        first = self.keeps & self.limited & ~again & ~self.known
        others = full >> (self.last_number + 1)
        self.check("taken alone", ~first | Mux(self.taken == 0, full == 0, others == 0))
