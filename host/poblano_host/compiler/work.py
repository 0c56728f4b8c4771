"""The least work of a step: what the roofline counts; of the caches what is in memory."""

import math

from ..models.operators import Attention, Head, Linear
from .program import LayerWork

__all__ = ["Work"]


class Work:
    """That of steps of a :class:`.plan.Shape`; :meth:`at` gives it for a position."""

    def __init__(self, memory, shape):
        self.memory, self.graph, self.shape = memory, memory.graph, shape

    def at(self, position):
        """A list of :class:`.program.LayerWork`: the layers', and the logits'."""
        count, works = self.shape.count, []
        for n, layer in enumerate(self.graph.layers):
            macs, weight_bytes, other = self._linear(layer, count), self._bytes(layer), 0
            for node in layer:
                if isinstance(node, Attention):
                    window = node.window or position + count
                    keys = sum(min(position + n + 1, window) for n in range(count))
                    macs += 2 * keys * node.heads * node.head_dim
                    places = self.memory.cache(node)
                    seen = min(position + count, window + count - 1)
                    moved = places.layout.token_bytes(seen, node.kv_heads)
                    other += round(moved * places.in_memory(self.memory.config))
            works.append(LayerWork(f"layer{n}", macs, weight_bytes, other))
        if self.shape.logits != "none":
            rows = 1 if self.shape.logits == "last" else count
            heads = [node for node in self.graph.epilogue if isinstance(node, Head)]
            works.append(LayerWork("output", self._linear(heads, rows), self._bytes(heads)))
        return works

    def _linear(self, nodes, rows):
        shapes = [node.tensors[node.weight] for node in nodes if isinstance(node, Linear)]
        return rows * sum(math.prod(shape) for shape in shapes)

    def _bytes(self, nodes):
        return sum(self.memory.matrix(node.weight).size for node in nodes if isinstance(node, Linear))
