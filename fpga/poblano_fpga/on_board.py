"""The whole chip on a board, as a backend: on a serial port, or in simulation at the pins of its UART."""

from contextlib import suppress

from poblano_host.runtime.backend import DeviceBackend
from poblano_host.runtime.device import BridgeDevice
from poblano_host.runtime.overlay import OverlayBackend
from poblano_host.serial.bridge import BridgeClient, open_port

from .chip import chip_board
from .simulation import FASTEST, netlist_port, rtl_port
from .synthesis import synthesise

__all__ = ["OnBoard"]


class OnBoard:
    """Makes backends of the chip on a board: see :func:`~poblano_host.runtime.backend.open_backend`. What
    does not fit the board's memory runs by overlays.

    Parameters
    ----------
    name : of the board
    port : its serial port; None: the board's RTL, or ``netlist``, in simulation
    baud : speed of the line, the board's own by default

    Members
    -------
    config : ChipConfig of the board's chip
    device : BridgeDevice, once a backend has been made; all share it, one after the other
    """

    def __init__(self, name, *, port=None, netlist=False, baud=None):
        self.board = chip_board(name)
        self.port, self.netlist, self.baud = port, netlist, baud
        self.config, self.device = self.board.chip, None

    def __call__(self, config, memory_bytes, ring, *, report=lambda text: None):
        if self.device is None:
            self.device = BridgeDevice(self._client(report))
        fits = memory_bytes <= self.device.memory_bytes
        return (DeviceBackend if fits else OverlayBackend)(config, memory_bytes, ring, self.device)

    def _client(self, report):
        if self.port is not None:
            port = open_port(self.port, self.board.baud)
            # An adapter else keeps short answers for 16 ms.
            with suppress(AttributeError, NotImplementedError, OSError, ValueError):
                port.set_low_latency_mode(True)
            client, baud = BridgeClient(port), self.baud
        else:
            client, baud = BridgeClient(self._simulated(report)), self.baud or self.board.clock_hz // FASTEST
        if baud is not None:
            client.set_baud(baud)
        return client

    def _simulated(self, report):
        if self.netlist:
            return netlist_port(self.board, synthesise(self.board, report=report), report=report)
        return rtl_port(self.board, report=report)
