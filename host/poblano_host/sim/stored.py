"""The bits that a simulated DRAM stores."""

import ctypes
from typing import Any

import numpy as np

__all__ = ["StoredBits", "check_bit", "different"]


def check_bit(config, memory_bytes, address, bit):
    """ValueError unless the memory behind a controller of ``config`` (a
    :class:`~poblano.dram.config.DramConfig`) stores that bit of the burst at ``address``."""
    bits = 8 * config.timing.burst_bytes + config.timing.sideband_bits
    if not 0 <= address < memory_bytes:
        raise ValueError(f"address must be below 0x{memory_bytes:x}, not 0x{address:x}")
    if not 0 <= bit < bits:
        raise ValueError(f"a burst of {config.timing.name} has {bits} bits, there is no bit {bit}")


def different(call):
    """The addresses that ``call(addresses, most)`` gives, which returns their number."""
    addresses = np.zeros(call(None, 0), np.uint64)
    call(addresses.ctypes.data_as(ctypes.c_void_p), len(addresses))
    return sorted(addresses.tolist())


class StoredBits:
    """What is stored for the bursts of an object's DRAM: the object's ``config``, ``memory`` and ``_call``
    are used."""

    config: Any
    memory: Any
    _call: Any

    def sideband(self, address):
        """The sideband of the burst at ``address``."""
        return self._call("sideband", address)

    def set_sideband(self, address, value):
        self._call("set_sideband", address, value)

    def flip(self, address, bit):
        """Flip a stored bit of the burst at ``address``: of its data or, after them, of its sideband.

        With ecc, ``memory`` stays as it is, and the flip ends when the controller or ``memory`` 's owner
        writes the burst.
        """
        check_bit(self.config, len(self.memory), address, bit)
        self._call("flip", address, bit)

    @property
    def different(self):
        """Addresses of the bursts whose stored data are not those of ``memory``, or whose sideband is not
        what the code gives for them."""
        return different(lambda *arguments: self._call("different", *arguments))
