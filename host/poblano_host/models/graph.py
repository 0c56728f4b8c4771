"""A model as a graph of operators, and the builder with which a family states it."""

from dataclasses import dataclass, replace
from functools import cached_property

from .experts import Experts
from .latent_attention import LatentAttention
from .operators import (
    Activation,
    Attention,
    Embedding,
    Gated,
    Head,
    HeadNorm,
    LayerNorm,
    Linear,
    Norm,
    Operator,
    Residual,
    Rope,
    Scale,
    SigmoidScaled,
    Softcap,
)

__all__ = ["Graph", "GraphBuilder"]


@dataclass(frozen=True)
class Graph:
    """Operators in an order in which every value is given before it is read; the last gives the logits.

    Parameters
    ----------
    prologue, epilogue : the operators before the first and after the last layer.
    layers : the operators of each layer.
    """

    prologue: tuple[Operator, ...]
    layers: tuple[tuple[Operator, ...], ...]
    epilogue: tuple[Operator, ...]

    @cached_property
    def nodes(self):
        """All operators in order."""
        return (*self.prologue, *(node for layer in self.layers for node in layer), *self.epilogue)

    def node(self, name):
        """The operator that gives the value ``name``; ValueError if none does."""
        if name not in self._nodes:
            raise ValueError(f"the graph has no value {name!r}")
        return self._nodes[name]

    def consumers(self, name):
        """The operators that read the value ``name``, in order; ValueError if no operator gives it."""
        self.node(name)
        return self._consumers.get(name, ())

    def layer(self, name):
        """The number of the layer that gives the value ``name``, None outside; ValueError as of `node`."""
        self.node(name)
        return self._layer.get(name)

    def of(self, kind):
        """The operators of the class ``kind``, in order."""
        return tuple(node for node in self.nodes if isinstance(node, kind))

    def with_capacity(self, capacity):
        """The graph whose experts have a :class:`~.capacity.Capacity`."""
        limited = lambda nodes: tuple(
            replace(node, capacity=capacity) if isinstance(node, Experts) else node for node in nodes
        )
        return replace(self, layers=tuple(map(limited, self.layers)))

    def shapes(self):
        """The shape of every tensor of the model by canonical name: (N out, K in) or (n,)."""
        return {name: shape for node in self.nodes for name, shape in node.tensors.items()}

    def rotated(self):
        """The heads of the tensors whose rows RoPE rotates, by name: of the projections that Rope reads, and
        of a norm between them, of each head or of all."""
        heads = {}
        for rope in self.of(Rope):
            node = self.node(rope.inputs[0])
            while isinstance(node, HeadNorm):
                heads |= dict.fromkeys(node.tensors, rope.heads // node.heads)
                node = self.node(node.inputs[0])
            heads |= dict.fromkeys(node.tensors, rope.heads)
        return heads

    def stacks(self):
        """The experts or heads of each tensor that has the matrices or the biases of all of them, by name."""
        found = {}
        for node in self.of(Experts):
            names = node.gate, node.up, node.down, node.gate_bias, node.up_bias, node.down_bias
            found |= {name: node.experts for name in names if name is not None}
        for node in self.of(LatentAttention):
            found |= {node.key: node.heads, node.value: node.heads}
        return found

    @cached_property
    def _nodes(self):
        return {node.name: node for node in self.nodes}

    @cached_property
    def _consumers(self):
        consumers = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                consumers[name] = (*consumers.get(name, ()), node)
        return consumers

    @cached_property
    def _layer(self):
        return {node.name: n for n, layer in enumerate(self.layers) for node in layer}


class GraphBuilder:
    """States a graph as its paper does: every method appends an operator and returns its value's name.

    The first argument is the operator's name, those that follow are values. A layer's operators are called
    within ``for _ in builder.layers(count)``: ``attn_q`` in layer 3 gives the value ``layer3.attn_q``, its
    weight is the tensor ``blk.3.attn_q.weight``. What comes before and after is the prologue and the
    epilogue, whose names have no prefix. ValueError for a value that is not there or has another width, for
    a name given twice, and for a tensor that is used with two shapes.
    """

    def __init__(self):
        self._prologue, self._layers, self._epilogue = [], [], []
        self._place, self._value, self._tensor = self._prologue, "", ""
        self._widths, self._shapes = {}, {}

    def layers(self, count):
        """The numbers of ``count`` layers; the operators appended meanwhile are the layers'."""
        for n in range(count):
            self._layers.append([])
            self._place, self._value, self._tensor = self._layers[-1], f"layer{n}.", f"blk.{n}."
            yield n
        self._place, self._value, self._tensor = self._epilogue, "", ""

    def graph(self):
        return Graph(tuple(self._prologue), tuple(map(tuple, self._layers)), tuple(self._epilogue))

    def embedding(self, name, rows, width, *, scale=1.0, positions=None, context=0):
        return self._append(
            Embedding,
            name,
            table=self._tensor + f"{name}.weight",
            rows=rows,
            width=width,
            scale=scale,
            positions=positions,
            context=context,
        )

    def norm(self, name, x, *, eps):
        return self._append(
            Norm, name, x, gain=self._tensor + f"{name}.weight", width=self._width(x), eps=eps
        )

    def layer_norm(self, name, x, *, eps):
        gain, bias = (self._tensor + f"{name}.{part}" for part in ("weight", "bias"))
        return self._append(LayerNorm, name, x, gain=gain, bias=bias, width=self._width(x), eps=eps)

    def head_norm(self, name, x, *, heads, head_dim, eps):
        gain = self._tensor + f"{name}.weight"
        return self._append(
            HeadNorm, name, x, gain=gain, heads=heads, head_dim=head_dim, elements=head_dim, eps=eps
        )

    def linear(self, name, x, width, *, bias=False):
        return self._append(
            Linear,
            name,
            x,
            weight=self._tensor + f"{name}.weight",
            bias=self._tensor + f"{name}.bias" if bias else None,
            width=width,
            k=self._width(x),
        )

    def rope(self, name, x, *, heads, head_dim, frequencies, scale=1.0):
        return self._append(
            Rope, name, x, heads=heads, head_dim=head_dim, frequencies=frequencies, scale=scale
        )

    def attention(self, name, q, k, v, *, heads, kv_heads, head_dim, scale, window=None, sinks=False):
        sizes = dict(heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        tensor = self._tensor + f"{name}_sinks.weight" if sinks else None
        return self._append(Attention, name, q, k, v, **sizes, scale=scale, window=window, sinks=tensor)

    def latent_attention(self, name, q, latent, **fields):
        """With the tensors ``NAME_kv_a_norm``, ``NAME_k_b`` and ``NAME_v_b``; ``fields`` are
        :class:`~.latent_attention.LatentAttention`'s."""
        tensors = {"gain": "kv_a_norm", "key": "k_b", "value": "v_b"}
        named = {part: f"{self._tensor}{name}_{tensor}.weight" for part, tensor in tensors.items()}
        return self._append(LatentAttention, name, q, latent, **named, **fields)

    def experts(self, name, x, *, biases=False, selection_bias=False, **fields):
        """A mixture of the experts of the tensors ``ffn_gate_exps`` and so on, and of the router
        ``ffn_gate_inp``; ``fields`` are :class:`~.experts.Experts`'."""
        tensors = {"router": "ffn_gate_inp"}
        tensors |= {part: f"ffn_{part}_exps" for part in ("gate", "up", "down")}
        named = {part: f"{self._tensor}{tensor}.weight" for part, tensor in tensors.items()}
        if biases:
            named |= {f"{part}_bias": f"{self._tensor}{tensor}.bias" for part, tensor in tensors.items()}
        if selection_bias:
            named["selection_bias"] = f"{self._tensor}exp_probs_b.bias"
        return self._append(Experts, name, x, width=self._width(x), **named, **fields)

    def activation(self, name, x, function):
        return self._append(Activation, name, x, width=self._width(x), function=function)

    def gated(self, name, gate, up, function="silu"):
        return self._append(Gated, name, gate, up, width=self._width(gate), function=function)

    def residual(self, name, x, y):
        return self._append(Residual, name, x, y, width=self._width(x))

    def scale(self, name, x, factor):
        return self._append(Scale, name, x, width=self._width(x), factor=factor)

    def sigmoid_scaled(self, name, x, score):
        return self._append(SigmoidScaled, name, x, score, width=self._width(x))

    def softcap(self, name, x, cap):
        return self._append(Softcap, name, x, width=self._width(x), cap=cap)

    def head(self, name, x, vocab, *, weight):
        """The projection to logits by the tensor ``weight``, which may be the embedding's."""
        return self._append(Head, name, x, weight=weight, width=vocab, k=self._width(x))

    def _width(self, value):
        if value not in self._widths:
            raise ValueError(f"the graph has no value {value!r}")
        return self._widths[value]

    def _append(self, kind, name, *inputs, **fields):
        node = kind(name=self._value + name, inputs=inputs, **fields)
        if node.name in self._widths:
            raise ValueError(f"the graph has two values {node.name!r}")
        for value, width in zip(inputs, node.input_widths):
            if self._width(value) != width:
                raise ValueError(
                    f"{node.name} reads {width} elements of {value!r}, which has {self._width(value)}"
                )
        for tensor, shape in node.tensors.items():
            if self._shapes.setdefault(tensor, shape) != shape:
                raise ValueError(f"{node.name} uses {tensor} as {shape}, another as {self._shapes[tensor]}")
        self._widths[node.name] = node.width
        self._place.append(node)
        return node.name
