"""The formats of a weight stream: what the operands of a MATMUL command mean."""

import enum

from ..config import BLOCK
from ..formats.element import Activation, Element

__all__ = ["Activation", "Element", "ScaleFormat", "step_bytes", "weight_bytes", "weight_quantum"]


class ScaleFormat(enum.IntEnum):
    """The format of a weight block's scale: the command's ``scale``."""

    NONE = 0
    F16 = 1
    F32 = 2
    E8M0 = 3

    @property
    def bytes(self):
        return (0, 2, 4, 1)[self]


def weight_quantum(element, scale):
    """log2 of what a weight's integer counts: MXINT8's elements have six fraction bits."""
    return -6 if element == Element.S8 and scale == ScaleFormat.E8M0 else Element(element).format.quantum


def step_bytes(config, *, element=Element.S8, scale=ScaleFormat.NONE, minimum=False):
    """Bytes of a chip's weight stream for one step along K (``segments`` blocks) of one group of ``cols``
    columns."""
    array, word = config.tile.array, config.stream_bytes
    blocks = array.segments * array.cols
    whole = lambda size: -(-size // word) * word  # a section fills whole words
    return (
        whole(blocks * ScaleFormat(scale).bytes)
        + whole(2 * blocks * bool(minimum))
        + blocks * BLOCK * Element(element).bits // 8
    )


def weight_bytes(o, config):
    """Bytes of the weight stream that a MATMUL of operands ``o`` takes."""
    step = step_bytes(config, element=Element(o.element), scale=ScaleFormat(o.scale), minimum=o.minimum)
    return o.groups * (o.k_blocks // config.tile.array.segments) * step
