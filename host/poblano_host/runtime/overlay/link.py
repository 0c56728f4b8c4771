"""The chip on a board, reached through the UART bridge."""

from poblano.board.system import DESIGN

from ...serial.bridge import BridgeError

__all__ = ["LinkDevice"]


class LinkDevice:
    """A chip behind a :class:`~poblano_host.serial.bridge.Link` as an overlay's Device;
    BridgeError if there is none.

    Members
    -------
    requests : made so far; each takes a turn of the line
    """

    patience = 2000

    def __init__(self, link):
        if link.identity.design != DESIGN:
            raise BridgeError(
                f"the board holds the design {link.identity.design!r}, not the whole chip ({DESIGN})"
            )
        self.link = link
        self.memory_bytes = link.identity.memory_bytes
        self.requests = 0

    def _pieces(self, size):
        self.requests += -(-size // self.link.identity.payload)

    def read_memory(self, address, size):
        self._pieces(size)
        return self.link.read_memory(address, size)

    def write_memory(self, address, data):
        self._pieces(len(data))
        self.link.write_memory(address, data)

    def read_register(self, address):
        self.requests += 1
        return self.link.read_register(address)

    def write_register(self, address, value):
        self.requests += 1
        self.link.write_register(address, value)

    def wait(self):
        """Nothing: a request takes the line longer than the chip its commands."""

    def close(self):
        self.link.close()
