"""What a plan may use of the local memories."""

from dataclasses import dataclass

__all__ = ["Room"]


@dataclass(frozen=True)
class Room:
    """A part of the local memories of a tile, the same in every tile.

    lines, blocks : (first, end), of vector and of activation memory
    normed : the block of activation memory where rows of a projection's input begin; None: the first
    logits : rows of logits that there is room for at least
    half : the rest is another half of the step's, which wants the arrays and memory at the same time
    """

    lines: tuple
    blocks: tuple
    normed: int | None = None
    logits: int = 0
    half: bool = False

    @classmethod
    def whole(cls, tile):
        """All of a tile's memories."""
        return cls((0, tile.vmem_lines), (0, tile.amem_blocks))
