"""The least work of a step: what the roofline counts; of the caches what is in memory."""

import math

from ..models.operators import Attention, Head, Linear
from .experts import mixtures
from .program import LayerWork

__all__ = ["Work"]


class Work:
    """That of steps of a :class:`.plan.Shape`; :meth:`at` gives it for a position."""

    def __init__(self, memory, shape):
        self.memory, self.graph, self.shape = memory, memory.graph, shape

    def at(self, *positions):
        """A list of :class:`.program.LayerWork`: the layers', and the logits', where the parts' tokens begin
        at ``positions``."""
        count, works = self.shape.count, []
        for n, layer in enumerate(self.graph.layers):
            macs, weight_bytes, other = self._linear(layer, count), self._bytes(layer), 0
            experts = each = 0
            for node in mixtures(layer):
                places, experts = self.memory.experts(node), min(count * node.used, node.experts)
                each = places.size
                macs += count * (3 * node.used * node.hidden + node.experts) * node.width
                weight_bytes += places.router.size + experts * each
            for node in layer:
                if isinstance(node, Attention):
                    for position, part in zip(positions, self.shape.parts, strict=True):
                        keys, moved = self._attention(node, position, part.count)
                        macs += 2 * keys * node.heads * node.head_dim
                        other += moved
            works.append(LayerWork(f"layer{n}", macs, weight_bytes, other, experts, each))
        if rows := self.shape.logits:
            heads = [node for node in self.graph.epilogue if isinstance(node, Head)]
            works.append(LayerWork("output", self._linear(heads, rows), self._bytes(heads)))
        return works

    def _attention(self, node, position, count):
        """Positions that ``count`` tokens of a sequence see, together, and bytes of K and V from memory."""
        window = node.window or position + count
        places = self.memory.cache(node)
        seen = min(position + count, window + count - 1)
        moved = places.layout.token_bytes(seen, node.kv_heads)
        keys = sum(min(position + n + 1, window) for n in range(count))
        return keys, round(moved * places.in_memory(self.memory.config))

    def _linear(self, nodes, rows):
        shapes = [node.tensors[node.weight] for node in nodes if isinstance(node, Linear)]
        return rows * sum(math.prod(shape) for shape in shapes)

    def _bytes(self, nodes):
        return sum(self.memory.matrix(node.weight).size for node in nodes if isinstance(node, Linear))
