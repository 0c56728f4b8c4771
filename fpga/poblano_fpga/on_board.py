"""The whole chip on a board, as a backend: on a serial port, or in simulation at the pins of its UART."""

from contextlib import suppress

from poblano_host.runtime.overlay import PagedBackend
from poblano_host.runtime.overlay.link import LinkDevice
from poblano_host.serial.bridge import Link, open_port

__all__ = ["OnBoard"]

BEST_DIVIDER = 4
"""Clock cycles of a bit in simulation, the fewest."""


class OnBoard:
    """Makes backends of the chip on a board: see :func:`~poblano_host.runtime.session.open_backend`.

    Parameters
    ----------
    name : of the board
    port : its serial port; None: the board's RTL, or ``netlist``, in simulation
    baud : speed of the line, the board's own by default

    Members
    -------
    config : ChipConfig of the board's chip
    device : LinkDevice, once a backend has been made; all share it, one after the other
    """

    def __init__(self, name, *, port=None, netlist=False, baud=None):
        from poblano_fpga.chip import chip_board

        self.board = chip_board(name)
        self.port, self.netlist, self.baud = port, netlist, baud
        self.config, self.device = self.board.chip, None

    def __call__(self, config, memory_bytes, ring, *, report=lambda text: None):
        if self.device is None:
            self.device = LinkDevice(self._link(report))
        return PagedBackend(config, memory_bytes, ring, self.device)

    def _link(self, report):
        if self.port is not None:
            port = open_port(self.port, self.board.baud)
            # An adapter else keeps short answers for 16 ms.
            with suppress(AttributeError, NotImplementedError, OSError, ValueError):
                port.set_low_latency_mode(True)
            link, baud = Link(port), self.baud
        else:
            link, baud = Link(self._simulated(report)), self.baud or self.board.clock_hz // BEST_DIVIDER
        if baud is not None:
            link.set_baud(baud)
        return link

    def _simulated(self, report):
        from poblano_fpga.simulation import netlist_port, rtl_port
        from poblano_fpga.synthesis import synthesise

        if self.netlist:
            return netlist_port(self.board, synthesise(self.board, report=report), report=report)
        return rtl_port(self.board, report=report)
