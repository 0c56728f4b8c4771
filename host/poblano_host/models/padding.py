"""Heads of any size as heads of whole blocks of 32."""

from dataclasses import dataclass, field, replace

import numpy as np

from poblano.config import BLOCK

from .graph import Graph
from .model import BlockTensor, Model
from .operators import Attention, HeadNorm, Linear, Rope

__all__ = ["OwnGraph", "padded_heads", "padded_rows"]


@dataclass(frozen=True, eq=False)
class OwnGraph(Model):
    """A model with a graph of its own, not its family's."""

    own: Graph = field(kw_only=True)

    @property
    def graph(self):
        return self.own


def padded_heads(model):
    """``model`` with zeros behind the elements of each head up to whole blocks of 32: it computes the same.

    Rows of matrices in blocks stay on their grid. The output projection of attention has its columns moved,
    and becomes float32 where it was in blocks.
    """
    nodes, tensors, graph = {}, dict(model.tensors), model.graph
    for attention in graph.of(Attention):
        old, new = attention.head_dim, -(-attention.head_dim // BLOCK) * BLOCK
        if old == new:
            continue
        nodes[attention.name] = replace(attention, head_dim=new)
        heads = (attention.heads, attention.kv_heads, attention.kv_heads)
        for value, count in zip(attention.inputs, heads):
            _pad_projection(graph, graph.node(value), count, new, nodes, tensors, model.tensors)
        for user in graph.consumers(attention.name):
            nodes[user.name] = replace(user, k=attention.heads * new)
            weight = model.tensors[user.weight]
            weight = weight.dequantise() if isinstance(weight, BlockTensor) else weight
            tensors[user.weight] = padded_rows(weight.T, old, new).T
    if not nodes:
        return model
    padded = lambda some: tuple(nodes.get(node.name, node) for node in some)
    layers = tuple(padded(layer) for layer in graph.layers)
    graph = Graph(padded(graph.prologue), layers, padded(graph.epilogue))
    return OwnGraph(model.config, tensors, model.tokenizer, own=graph)


def _pad_projection(graph, node, heads, new, nodes, tensors, stored):
    """The operators from a projection of ``heads`` heads to the attention, whose last is ``node``."""
    while not isinstance(node, Linear):
        old = node.head_dim
        if isinstance(node, Rope):
            still = (0.0,) * ((new - old) // 2)
            nodes[node.name] = replace(node, head_dim=new, frequencies=node.frequencies + still)
        elif isinstance(node, HeadNorm):
            nodes[node.name] = replace(node, head_dim=new)
            tensors[node.gain] = padded_rows(stored[node.gain], old, new)
        else:
            raise AssertionError(f"{node.name}: heads of a {type(node).__name__}")
        node = graph.node(node.inputs[0])
    nodes[node.name] = replace(node, width=heads * new)
    for name in node.tensors:
        tensors[name] = padded_rows(stored[name], node.width // heads, new)


def padded_rows(tensor, old, new):
    """``tensor`` with zeros behind each ``old`` rows up to ``new``."""
    if isinstance(tensor, BlockTensor):
        scale = tensor.scale.reshape(-1, old, tensor.scale.shape[-1])  # a power of two can't be 0
        scale = np.pad(scale, ((0, 0), (0, new - old), (0, 0)), mode="edge")
        minimum = None if tensor.minimum is None else padded_rows(tensor.minimum, old, new)
        q = padded_rows(tensor.q, old, new)
        return replace(tensor, q=q, scale=scale.reshape(-1, scale.shape[-1]), minimum=minimum)
    heads = tensor.reshape(-1, old, *tensor.shape[1:])
    heads = np.pad(heads, ((0, 0), (0, new - old), *((0, 0) for _ in tensor.shape[1:])))
    return np.ascontiguousarray(heads.reshape(-1, *tensor.shape[1:]))
