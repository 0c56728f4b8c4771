"""Steps in two halves: one attends, which memory limits, while the other multiplies, which the arrays do."""

from dataclasses import dataclass

from poblano.config import BLOCK

from .cache import SCALE_BYTES
from .errors import CompileError
from .image import align
from .plan import SPAN, Plan, Shape
from .room import Room

__all__ = ["Half", "halves"]

SHARES = range(2, 7)
"""Eighths of the local memories that the first half may have."""
UNIT = 64
"""Lines and blocks that a half begins at a multiple of."""


@dataclass(frozen=True)
class Half:
    """Parts of a step that are computed as if they were a step: their ``shape`` and ``plan``, ``first`` token
    and the ``parts`` before them."""

    shape: Shape
    plan: Plan
    first: int
    parts: int


def halves(sizes, shape, config):
    """The two :class:`Half` s of a step of a :class:`.plan.Shape`; None if it is to be computed whole, or if
    there is no room for two.

    Weights are read for each half, so the arrays must take longer for the products than memory does for
    twice the weights, and attention must be worth it.
    """
    if len(shape.parts) < 2 or sizes.experts:
        return None
    middle = min(range(1, len(shape.parts)), key=lambda n: abs(2 * shape.firsts[n] - shape.count))
    two = shape.parts[:middle], shape.parts[middle:]
    counts = [sum(part.count for part in parts) for parts in two]
    if not _worth(sizes, shape, counts, config):
        return None
    logits = min(shape.logits, counts[1])
    shapes = Shape(two[0], shape.logits - logits), Shape(two[1], logits)
    for eighths in sorted(SHARES, key=lambda n: abs(n - 8 * counts[0] / shape.count)):
        try:
            return _planned(sizes, shape, shapes, counts, middle, eighths, config)
        except CompileError:
            pass
    return None


def _planned(sizes, shape, shapes, counts, middle, eighths, config):
    tile, stride = config.tile, max(sizes.dim_blocks, sizes.attended_blocks)
    line = align(tile.vmem_lines * eighths // 8, UNIT)
    behind = align(shape.count * stride, UNIT)
    block = align(behind + (tile.amem_blocks - behind) * eighths // 8, UNIT)
    rooms = (
        Room((0, line), (behind, block), 0, half=True),
        Room((line, tile.vmem_lines), (block, tile.amem_blocks), counts[0] * stride, shape.logits, True),
    )
    first, second = (Plan(sizes, part, config, room) for part, room in zip(shapes, rooms))
    return Half(shapes[0], first, 0, 0), Half(shapes[1], second, counts[0], middle)


def _worth(sizes, shape, counts, config):
    """Whether a layer of two halves is expected to take less than one of all tokens."""
    items, bandwidth = config.tile.array.items, float(config.memory.total_bandwidth)
    seen = sum(part.context - min(SPAN, part.context) // 2 for part in shape.parts)
    caches = 2 * seen * sizes.kv_heads * sizes.head_blocks * (BLOCK + SCALE_BYTES) / bandwidth
    if config.memory.kv_bytes:
        caches = 0  # they are on the chip
    attended = 2 * seen * sizes.kv_heads * sizes.head_dim * items / config.macs_per_cycle
    products = lambda rows: max(rows, items) * sizes.layer_macs / config.macs_per_cycle
    weights = sizes.read_bytes(shape.count) / bandwidth
    whole = max(products(shape.count), weights) + max(caches, attended)
    two = max(sum(map(products, counts)) + attended, 2 * weights + caches)
    return two < whole
