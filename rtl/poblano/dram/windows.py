"""The times between commands to different banks."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..verilog import place
from .config import DramConfig
from .countdown import Countdown

__all__ = ["CommandWindows"]


class CommandWindows(wiring.Component):
    """Says which commands the commands to other banks allow, for each bank group.

    Latency: none. Commands are those on the pins; ``may`` is for those on the pins in the next cycle.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    activate, refresh : In(1), at most one of them, for a bank of ``row_group`` : In(range(groups))
    read, write : In(1), at most one of them, for a bank of ``column_group`` : In(range(groups))
    may_activate, may_refresh, may_read, may_write : Out(groups)
    """

    def __init__(self, config: DramConfig):
        self.config = config
        names = ("activate", "refresh", "read", "write")
        groups = config.timing.groups
        super().__init__(
            {name: In(1) for name in names}
            | {name: In(range(groups)) for name in ("row_group", "column_group")}
            | {f"may_{name}": Out(groups) for name in names}
        )

    def elaborate(self, platform):
        m = Module()
        t = self.config.cycles

        def over(name, *events):
            """Of (signal, cycles): whether the times of all commands are over."""
            countdown = place(m, name, Countdown(tuple(cycles for _, cycles in events)))
            m.d.comb += countdown.start.eq(Cat(signal for signal, _ in events))
            return countdown.over

        activate, refresh, read, write = self.activate, self.refresh, self.read, self.write
        other = over("activate_other", (activate, t.act_to_act_other), (refresh, t.refresh_to_refresh))
        read_other = over("read_other", (read, t.column_other), (write, t.write_to_read_other))
        write_other = over("write_other", (write, t.column_other), (read, t.read_to_write))
        few = self._four_activations(m, activate, over)
        for g in range(self.config.timing.groups):
            row, column = self.row_group == g, self.column_group == g
            same = over(f"activate_same{g}", ((activate | refresh) & row, t.act_to_act_same))
            read_same = over(
                f"read_same{g}", (read & column, t.column_same), (write & column, t.write_to_read_same)
            )
            write_same = over(f"write_same{g}", (write & column, t.column_same))
            m.d.comb += [
                self.may_refresh[g].eq(other & same),
                self.may_activate[g].eq(other & same & few),
                self.may_read[g].eq(read_other & read_same),
                self.may_write[g].eq(write_other & write_same),
            ]
        return m

    def _four_activations(self, m, activate, over):
        """Whether fewer than four activations are in the window: each takes the next of four timers."""
        turn = Signal(4, init=1)
        with m.If(activate):
            m.d.sync += turn.eq(turn.rotate_left(1))
        window = self.config.cycles.four_acts
        free = Cat(over(f"window{n}", (activate & turn[n], window)) for n in range(4))
        return (free & turn).any()
