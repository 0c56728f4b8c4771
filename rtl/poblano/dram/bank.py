"""A bank of a DRAM: whether a row is open, which, and what may be done to it."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..verilog import place
from .config import DramConfig
from .countdown import Countdown

__all__ = ["BankMachine"]


class BankMachine(wiring.Component):
    """Keeps the state of one bank and the times that only its own commands set.

    Latency: none. Commands are those on the pins; ``may`` is for those on the pins in the next cycle.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    activate, precharge, refresh, all_refreshed : In(1), the row command is for this bank, or refreshes all
    read, write : In(1), the column command is for this bank
    target : In(row bits), the row to activate
    open : Out(1), ``row`` : Out(row bits), the row that is open
    may_activate, may_precharge, may_read, may_write : Out(1), this bank allows it; ``may_activate`` is for
        a refresh too
    """

    def __init__(self, config: DramConfig):
        self.config = config
        bits = exact_log2(config.timing.rows)
        super().__init__(
            {
                "activate": In(1),
                "precharge": In(1),
                "refresh": In(1),
                "all_refreshed": In(1),
                "read": In(1),
                "write": In(1),
                "target": In(bits),
                "open": Out(1),
                "row": Out(bits),
                "may_activate": Out(1),
                "may_precharge": Out(1),
                "may_read": Out(1),
                "may_write": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        t = self.config.cycles
        stays = Signal()  # open
        m.d.comb += stays.eq(self.open & ~self.precharge)
        m.d.sync += self.open.eq(stays | self.activate)
        with m.If(self.activate):
            m.d.sync += self.row.eq(self.target)

        def timer(name, *events):
            """Of (signal, cycles); the Countdown of the last command that still forbids."""
            return place(m, name, Countdown(tuple(cycles for _, cycles in events))), [s for s, _ in events]

        timers = {
            "until_activate": (
                (self.activate, t.act_to_act),
                (self.precharge, t.precharge_to_act),
                (self.refresh, t.refresh_bank),
                (self.all_refreshed, t.refresh_all),
            ),
            "until_precharge": (
                (self.activate, t.act_to_precharge),
                (self.read, t.read_to_precharge),
                (self.write, t.write_to_precharge),
            ),
            "until_read": ((self.activate, t.act_to_read),),
            "until_write": ((self.activate, t.act_to_write),),
        }
        over = {}
        for name, events in timers.items():
            countdown, signals = timer(name, *events)
            m.d.comb += countdown.start.eq(Cat(signals))
            over[name] = countdown.over
        m.d.comb += [
            self.may_activate.eq(~self.open & over["until_activate"]),
            self.may_precharge.eq(stays & over["until_precharge"]),
            self.may_read.eq(stays & over["until_read"]),
            self.may_write.eq(stays & over["until_write"]),
        ]
        return m
