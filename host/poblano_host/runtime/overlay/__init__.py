"""Memory overlays: programs of any memory image on a chip with little memory. The host keeps the image, and
pages of it are brought when they are needed."""

from .backend import OverlayBackend
from .split import Piece, split

__all__ = ["OverlayBackend", "Piece", "split"]
