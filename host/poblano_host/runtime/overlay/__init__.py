"""Programs of any memory image on a chip with little memory: the host keeps the image, and pages of it come
and go."""

from .backend import Device, PagedBackend, SimulatedDevice
from .program import PagingError, Piece, split

__all__ = ["Device", "PagedBackend", "PagingError", "Piece", "SimulatedDevice", "split"]
