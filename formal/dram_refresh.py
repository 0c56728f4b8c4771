"""The refreshes of a DRAM: none is put off for too long, whatever AXI asks for."""

from dataclasses import replace
from functools import partial

from amaranth.hdl import *

from poblano.dram import refresher
from poblano.dram.controller import DramController

from .dram_sizes import GROUPED, PHASES, SHARED, commands, small
from .harness import Harness, Mutation, Property


class Debt(Harness):
    """The whole controller, any traffic at AXI; one arbitrary bank is watched at the pins.

    Rounds are late and urgent when 1 and 2 are due, of 3 that may be put off, for the proof's sake; the controller has 6 and 7 of 8.
    """

    def __init__(self, timing):
        super().__init__()
        self.config = small(timing)

    def prove(self, m):
        refresher.LATE, refresher.URGENT = 1, 2
        config, timing = self.config, self.config.timing
        dram = self.add("dut", DramController(config)).dram
        group, bank = self.constant("group", range(timing.groups)), self.constant("bank", range(timing.banks))
        refresh = Signal()
        m.d.comb += refresh.eq(commands(dram, group, bank)["REF"])
        interval = timing.clocks(config.clock_ns)["refi"] // timing.ratio
        cycle, passed = Signal(range(interval)), Signal()
        m.d.comb += passed.eq(cycle == interval - 1)
        m.d.sync += cycle.eq(Mux(passed, 0, cycle + 1))
        # Intervals that have passed less refreshes of the bank: its debt.
        debt = Signal(range(-2, timing.postponed + 3))
        m.d.sync += debt.eq(debt + passed - refresh)
        self.check("put off", debt <= timing.postponed)
        self.check("not in advance", debt >= -1)
        longest = (1 + timing.postponed) * interval
        age = Signal(range(longest + 2))
        m.d.sync += age.eq(Mux(refresh, 0, age + 1))
        self.check("longest", age <= longest)
        self.cover("refresh", refresh & (debt == 1))
