"""Latent attention as common attention, whose keys and values are made of each token's latent."""

from dataclasses import dataclass, replace

import numpy as np

from poblano.config import BLOCK

from .graph import Graph
from .latent_attention import LatentAttention
from .model import BlockTensor
from .operators import Attention, Linear, Operator, Rope
from .padding import OwnGraph, padded_rows

__all__ = ["PartNorm", "plain_latents"]


@dataclass(frozen=True, kw_only=True)
class PartNorm(Operator):
    """The root mean square norm of the first ``elements`` elements, with a gain; the others stay as they
    are."""

    gain: str
    elements: int
    width: int
    eps: float

    @property
    def tensors(self):
        return {self.gain: (self.elements,)}

    def reference(self, step, x):
        part, rest = x[:, : self.elements], x[:, self.elements :]
        mean = (part * part).mean(-1, keepdims=True)
        normed = part / np.sqrt(mean + np.float32(self.eps)) * step.tensors[self.gain]
        return np.concatenate((normed, rest), -1)


def plain_latents(model):
    """``model`` with every LatentAttention as an Attention with a head of keys and values for each of
    queries: it computes the same.

    A token's normed latent, and behind it the elements that rotate, are a row from which a Linear makes the
    keys of all heads, and another the values. Matrices that change more than by rows or blocks of zeros
    become float32.
    """
    graph, tensors = model.graph, dict(model.tensors)
    if not graph.of(LatentAttention):
        return model
    layers = []
    for layer in graph.layers:
        nodes = {node.name: [node] for node in layer}
        for node in layer:
            if isinstance(node, LatentAttention):
                nodes |= _plain(graph, node, tensors)
        layers.append(tuple(node for some in nodes.values() for node in some))
    graph = Graph(graph.prologue, tuple(layers), graph.epilogue)
    tensors = {name: tensors[name] for name in graph.shapes()}
    return OwnGraph(model.config, tensors, model.tokenizer, own=graph)


def _plain(graph, node, tensors):
    """The operators in the places of those around the LatentAttention ``node``, by name; ``tensors`` get
    their weights."""
    size = -(-max(node.head_dim, node.value_dim) // BLOCK) * BLOCK
    rest = -(-node.rope_dim // BLOCK) * BLOCK
    heads, row, name = node.heads, node.rank + rest, node.name
    before = (0.0,) * ((node.head_dim - node.rope_dim) // 2)
    behind = (0.0,) * ((size - node.head_dim) // 2)
    sizes = dict(heads=heads, head_dim=size)
    rope = dict(sizes, frequencies=before + node.frequencies + behind)
    query, latent = (graph.node(value) for value in node.inputs)
    tensors[query.weight] = padded_rows(tensors[query.weight], node.head_dim, size)
    tensors[latent.weight] = padded_rows(tensors[latent.weight], node.rank + node.rope_dim, row)
    tensors[node.key] = _keys(node, _floats(tensors[node.key]), size, row)
    tensors[node.value] = _columns(padded_rows(tensors[node.value], node.value_dim, size), row)
    wide = dict(width=heads * size, k=row, inputs=(f"{name}_latent",))
    found = {
        query.name: [replace(query, width=heads * size)],
        latent.name: [replace(latent, width=row)],
        name: [
            PartNorm(
                name=f"{name}_latent",
                inputs=(latent.name,),
                gain=node.gain,
                elements=node.rank,
                width=row,
                eps=node.eps,
            ),
            Linear(name=f"{name}_k", weight=node.key, **wide),
            Linear(name=f"{name}_v", weight=node.value, **wide),
            Rope(name=f"{name}_q_rope", inputs=(query.name,), **rope),
            Rope(name=f"{name}_k_rope", inputs=(f"{name}_k",), **rope),
            Attention(
                name=name,
                inputs=(f"{name}_q_rope", f"{name}_k_rope", f"{name}_v"),
                kv_heads=heads,
                scale=node.scale,
                **sizes,
            ),
        ],
    }
    norm = graph.node(query.inputs[0])
    if isinstance(graph.node(norm.inputs[0]), Linear):  # of a low rank, not the layer's
        fields = dict(gain=norm.gain, width=norm.width, eps=norm.eps)
        found[norm.name] = [PartNorm(name=norm.name, inputs=norm.inputs, elements=norm.width, **fields)]
    for user in graph.consumers(name):
        found[user.name] = [replace(user, k=heads * size)]
        if size != node.value_dim:
            weight = padded_rows(_floats(tensors[user.weight]).T, node.value_dim, size)
            tensors[user.weight] = np.ascontiguousarray(weight.T)
    return found


def _floats(tensor):
    return tensor.dequantise() if isinstance(tensor, BlockTensor) else tensor


def _keys(node, stored, size, row):
    """The matrix (heads * ``size``, ``row``) that makes the keys of all heads of a normed latent and the
    elements that rotate."""
    keys = np.zeros((node.heads, size, row), np.float32)
    split, end = node.head_dim - node.rope_dim, node.head_dim
    keys[:, :split, : node.rank] = stored.reshape(node.heads, node.rank, split).swapaxes(1, 2)
    keys[:, split:end, node.rank : node.rank + node.rope_dim] = np.eye(node.rope_dim)
    return keys.reshape(-1, row)


def _columns(tensor, columns):
    """``tensor`` with zeros behind each row up to ``columns`` elements."""
    more = lambda array, to, **mode: np.pad(array, ((0, 0), (0, to - array.shape[1])), **mode)
    if not isinstance(tensor, BlockTensor):
        return more(tensor, columns)
    blocks = columns // BLOCK
    minimum = None if tensor.minimum is None else more(tensor.minimum, blocks)
    scale = more(tensor.scale, blocks, mode="edge")  # a power of two can't be 0
    return replace(tensor, q=more(tensor.q, columns), scale=scale, minimum=minimum)
