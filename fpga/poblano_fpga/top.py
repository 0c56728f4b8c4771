"""A board's top: clock, reset and pins around the design."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from poblano.verilog import emit, place

__all__ = ["BoardTop", "PORTS", "top_verilog"]

PORTS = {"clk": "input", "rx": "input", "tx": "output", "led_active": "output", "led_busy": "output"}


class BoardTop(wiring.Component):
    """The board's system with the clock of the board's PLL, in reset until that has locked.

    Members
    -------
    clk : In(1), the crystal; rx : In(1), from the host; tx : Out(1)
    led_active, led_busy : Out(1), as the board's LEDs want them
    fixed : Out, a bit for each of the board's ``fixed`` pins, if there are any
    sdram_cke, ... : Out, of a board whose system has an SDRAM, its pins, with ``sdram_clk`` and, as an
        IOPort, ``sdram_dq``
    """

    def __init__(self, board):
        self.board = board
        members = {"clk": In(1), "rx": In(1), "tx": Out(1, init=1), "led_active": Out(1), "led_busy": Out(1)}
        if board.fixed:
            members["fixed"] = Out(len(board.fixed))
        if board.sdram is not None:
            pins = board.sdram.members
            members |= {f"sdram_{name}": pins[name] for name in pins if not name.startswith("dq_")}
            members["sdram_clk"] = Out(1)
            self.io_ports = {"sdram_dq": IOPort(pins["dq_o"].shape, name="sdram_dq")}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        board = self.board
        m.domains.sync = ClockDomain()
        clock, locked = Signal(), Signal()
        m.submodules.pll = {"ice40": self._ice40, "ecp5": self._ecp5, "gowin": self._gowin}[board.family](
            clock, locked
        )
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked)
        system = place(m, "system", board.system())
        invert = lambda value: ~value if board.led_low else value
        m.d.comb += [
            system.rx.eq(self.rx),
            self.tx.eq(system.tx),
            self.led_active.eq(invert(system.active)),
            self.led_busy.eq(invert(system.busy)),
        ]
        if board.fixed:
            m.d.comb += self.fixed.eq(Cat(C(level, 1) for level in board.fixed.values()))
        if board.sdram is not None:
            self._sdram_pins(m, system.sdram)
        return m

    def _sdram_pins(self, m, sdram):
        """The SDRAM's pins on an ECP5: its clock is the design's, inverted."""
        m.submodules.sdram_clock = Instance(
            "ODDRX1F", i_SCLK=ClockSignal(), i_RST=C(0), i_D0=C(0), i_D1=C(1), o_Q=self.sdram_clk
        )
        for name in self.board.sdram.members:
            if not name.startswith("dq_"):
                m.d.comb += getattr(self, f"sdram_{name}").eq(getattr(sdram, name))
        dq = self.io_ports["sdram_dq"]
        for n in range(len(dq)):
            m.submodules[f"sdram_dq{n}"] = Instance(
                "BB", i_I=sdram.dq_o[n], i_T=~sdram.dq_oe, o_O=sdram.dq_i[n], io_B=dq[n]
            )

    def _ice40(self, clock, locked):
        widths = dict(DIVR=4, DIVF=7, DIVQ=3, FILTER_RANGE=3)
        parameters = {f"p_{name}": C(value, widths[name]) for name, value in self.board.pll.items()}
        return Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            **parameters,
            i_PACKAGEPIN=self.clk,
            i_RESETB=C(1),
            i_BYPASS=C(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
        )

    def _ecp5(self, clock, locked):
        return Instance(
            "EHXPLLL",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            **{f"p_{name}": value for name, value in self.board.pll.items()},
            i_CLKI=self.clk,
            i_CLKFB=clock,
            i_RST=C(0),
            i_STDBY=C(0),
            i_PHASESEL0=C(0),
            i_PHASESEL1=C(0),
            i_PHASEDIR=C(1),
            i_PHASESTEP=C(1),
            i_PHASELOADREG=C(1),
            i_PLLWAKESYNC=C(0),
            i_ENCLKOP=C(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )

    def _gowin(self, clock, locked):
        return Instance(
            "rPLL",
            **{f"p_{name}": value for name, value in self.board.pll.items()},
            p_DEVICE="GW2AR-18C",
            p_DYN_IDIV_SEL="false",
            p_DYN_FBDIV_SEL="false",
            p_DYN_ODIV_SEL="false",
            p_PSDA_SEL="0000",
            p_DYN_DA_EN="false",
            p_DUTYDA_SEL="1000",
            p_CLKOUT_FT_DIR=C(1, 1),
            p_CLKOUTP_FT_DIR=C(1, 1),
            p_CLKOUT_DLY_STEP=0,
            p_CLKOUTP_DLY_STEP=0,
            p_CLKFB_SEL="internal",
            p_CLKOUT_BYPASS="false",
            p_CLKOUTP_BYPASS="false",
            p_CLKOUTD_BYPASS="false",
            p_DYN_SDIV_SEL=2,
            p_CLKOUTD_SRC="CLKOUT",
            p_CLKOUTD3_SRC="CLKOUT",
            i_CLKIN=self.clk,
            i_CLKFB=C(0),
            i_RESET=C(0),
            i_RESET_P=C(0),
            i_FBDSEL=C(0, 6),
            i_IDSEL=C(0, 6),
            i_ODSEL=C(0, 6),
            i_DUTYDA=C(0, 4),
            i_PSDA=C(0, 4),
            i_FDLY=C(0, 4),
            o_CLKOUT=clock,
            o_LOCK=locked,
        )


def top_verilog(board):
    """Verilog of the board's top, module ``top``."""
    return emit(BoardTop(board), "top", clock_gates=False)
