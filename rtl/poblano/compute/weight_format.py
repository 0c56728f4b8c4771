"""The formats of a weight stream: what the operands of a MATMUL command mean."""

import enum

from ..config import BLOCK

__all__ = ["Element", "ScaleFormat", "step_bytes"]


class Element(enum.IntEnum):
    """A weight's format: the command's ``element``."""

    S8 = 0
    S4 = 1
    U4 = 2

    @property
    def bits(self):
        return 8 if self is Element.S8 else 4


class ScaleFormat(enum.IntEnum):
    """The format of a weight block's scale: the command's ``scale``."""

    NONE = 0
    F16 = 1
    F32 = 2

    @property
    def bytes(self):
        return (0, 2, 4)[self]


def step_bytes(array, *, element=Element.S8, scale=ScaleFormat.NONE, minimum=False):
    """Bytes of the weight stream for one step along K (``array.segments`` blocks) of one group of ``array.cols`` columns."""
    blocks = array.segments * array.cols
    return blocks * (ScaleFormat(scale).bytes + 2 * bool(minimum) + BLOCK * Element(element).bits // 8)
