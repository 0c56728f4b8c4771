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

    Latency: what a command of this cycle forbids is forbidden from the next on.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    activate, precharge, refresh : In(1), the row command of this cycle is for this bank; each only when it
        may be: ``may_activate`` for a refresh too
    read, write : In(1), the column command of this cycle is for this bank
    target : In(row bits), the row to activate
    all_refreshed : In(1), all banks are being refreshed from this cycle on
    open : Out(1), ``row`` : Out(row bits), the row that is open
    may_activate, may_precharge, may_read, may_write : Out(1), this bank allows it
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
        with m.If(self.activate):
            m.d.sync += [self.open.eq(1), self.row.eq(self.target)]
        with m.Elif(self.precharge):
            m.d.sync += self.open.eq(0)

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
            self.may_precharge.eq(self.open & over["until_precharge"]),
            self.may_read.eq(self.open & over["until_read"]),
            self.may_write.eq(self.open & over["until_write"]),
        ]
        return m
