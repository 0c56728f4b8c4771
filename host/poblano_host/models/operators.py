"""The operators that models are made of: what each reads, its weights, its constants and its float reference.

An operator gives one value, float32 (tokens, width). A reference is numpy float32 on dequantised weights.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Attention",
    "Embedding",
    "Gated",
    "Head",
    "HeadNorm",
    "LayerNorm",
    "Linear",
    "Norm",
    "Operator",
    "Residual",
    "Rope",
    "Scale",
    "SigmoidScaled",
    "Softcap",
    "Step",
]


def _silu(x):
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-x))


def _gelu(x):
    return (
        np.float32(0.5)
        * x
        * (1 + np.tanh(np.float32(GELU_LINEAR / 2) * x + np.float32(GELU_CUBIC / 2) * x**3))
    )


GELU_LINEAR = 2 * (2 / np.pi) ** 0.5
"""gelu(x) = x * sigmoid(GELU_LINEAR * x + GELU_CUBIC * x**3): Hendrycks' approximation by tanh."""
GELU_CUBIC = 0.044715 * GELU_LINEAR

ACTIVATIONS = {"silu": _silu, "gelu": _gelu}
"""The activation functions by name, on float32: silu(x) = x / (1 + exp(-x)), and GELU by tanh."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """What references get beside their inputs: a run of tokens and the state that they find.

    tokens : int array, the token ids.
    start : the position of the first.
    prompt : the positions of the prompt, from 0 on; none if nothing depends on it.
    tensors : float32 arrays by canonical name.
    caches : (keys, values) of each Attention by its name, see :meth:`Attention.cache`.
    """

    tokens: np.ndarray
    start: int = 0
    prompt: int = 0
    tensors: dict[str, np.ndarray]
    caches: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operation of a graph.

    Members
    -------
    name : of the value that it gives.
    inputs : the names of the values that it reads.
    width : elements of its value for each token.
    input_widths : those of its inputs.
    tensors : the shape of each of its weights by canonical name; matrices are (N out, K in).
    """

    name: str
    inputs: tuple[str, ...]

    @property
    def input_widths(self):
        # A field of most operators, a property of the others.
        return (self.width,) * len(self.inputs)  # type: ignore[attr-defined]

    @property
    def tensors(self):
        return {}

    def reference(self, step, *inputs):
        """float32 (tokens, width) of float32 ``inputs`` (tokens, their widths) in a :class:`Step`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Embedding(Operator):
    """The tokens' rows of ``table`` (``rows``, ``width``), times ``scale``, and, if there is a table
    ``positions`` (``context``, ``width``), its rows of the tokens' positions added."""

    table: str
    rows: int
    width: int
    scale: float = 1.0
    positions: str | None = None
    context: int = 0

    @property
    def tensors(self):
        learned = {} if self.positions is None else {self.positions: (self.context, self.width)}
        return {self.table: (self.rows, self.width)} | learned

    def reference(self, step):
        x = step.tensors[self.table][step.tokens] * np.float32(self.scale)
        if self.positions is None:
            return x
        return x + step.tensors[self.positions][step.start : step.start + len(x)]


@dataclass(frozen=True, kw_only=True)
class Norm(Operator):
    """x / sqrt(mean(x**2) + eps) * gain: the root mean square norm."""

    gain: str
    width: int
    eps: float

    @property
    def tensors(self):
        return {self.gain: (self.width,)}

    def reference(self, step, x):
        mean = (x * x).mean(-1, keepdims=True)
        return x / np.sqrt(mean + np.float32(self.eps)) * step.tensors[self.gain]


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Norm):
    """The Norm of x - mean(x), plus a bias."""

    bias: str

    @property
    def tensors(self):
        return super().tensors | {self.bias: (self.width,)}

    def reference(self, step, x):
        return super().reference(step, x - x.mean(-1, keepdims=True)) + step.tensors[self.bias]


@dataclass(frozen=True, kw_only=True)
class HeadNorm(Operator):
    """The root mean square norm of each of ``heads`` heads, with one gain (``head_dim``,) for all. A norm of
    all heads together has one head, of all their elements.

    The mean is over the first ``elements`` of a head, of which the others are zeros.
    """

    gain: str
    heads: int
    head_dim: int
    elements: int
    eps: float

    @property
    def width(self):
        return self.heads * self.head_dim

    @property
    def tensors(self):
        return {self.gain: (self.head_dim,)}

    def reference(self, step, x):
        heads = x.reshape(len(x), self.heads, self.head_dim)
        mean = (heads * heads).sum(-1, keepdims=True) / np.float32(self.elements)
        return (heads / np.sqrt(mean + np.float32(self.eps)) * step.tensors[self.gain]).reshape(x.shape)


@dataclass(frozen=True, kw_only=True)
class Linear(Operator):
    """x @ weight.T + bias, of a weight (``width``, ``k``) and a bias (``width``,) or None."""

    weight: str
    bias: str | None = None
    width: int
    k: int

    @property
    def input_widths(self):
        return (self.k,)

    @property
    def tensors(self):
        bias = {} if self.bias is None else {self.bias: (self.width,)}
        return {self.weight: (self.width, self.k)} | bias

    def reference(self, step, x):
        y = x @ step.tensors[self.weight].T
        return y if self.bias is None else y + step.tensors[self.bias]


@dataclass(frozen=True, kw_only=True)
class Rope(Operator):
    """Rotary position embedding: elements 2i and 2i+1 of every head rotate by position * frequencies[i], and
    are multiplied by ``scale``.

    The ``heads`` heads lie side by side; ``frequencies`` are ``head_dim / 2`` in radians.
    """

    heads: int
    head_dim: int
    frequencies: tuple[float, ...]
    scale: float = 1.0

    @property
    def width(self):
        return self.heads * self.head_dim

    def angles(self, positions):
        """float64 (len(positions), head_dim / 2)."""
        return np.asarray(positions)[:, None] * np.array(self.frequencies)

    def factors(self, positions):
        """float64 cos and sin of the angles, times the scale."""
        angles = self.angles(positions)
        return self.scale * np.cos(angles), self.scale * np.sin(angles)

    def reference(self, step, x):
        n = len(x)
        cos, sin = (
            factor[:, None].astype(np.float32)
            for factor in self.factors(np.arange(step.start, step.start + n))
        )
        x = x.reshape(n, self.heads, self.head_dim)
        even, odd = x[..., 0::2], x[..., 1::2]
        return np.stack((even * cos - odd * sin, even * sin + odd * cos), -1).reshape(n, -1)


@dataclass(frozen=True, kw_only=True)
class Attention(Operator):
    """Causal softmax attention of queries, keys and values, the operator's inputs; it owns a KV cache.

    Query head h reads KV head ``h // (heads // kv_heads)``; scores are ``scale`` * q.k. A token sees its own
    position and all before or, with a ``window``, so many with its own. ``sinks`` is None, or the tensor of
    one more score of each head: it takes part in the softmax, but has no value.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    window: int | None = None
    sinks: str | None = None

    @property
    def width(self):
        return self.heads * self.head_dim

    @property
    def tensors(self):
        return {} if self.sinks is None else {self.sinks: (self.heads,)}

    @property
    def input_widths(self):
        kv = self.kv_heads * self.head_dim
        return (self.width, kv, kv)

    def cache(self, context):
        """Empty keys and values, float32 (kv_heads, context, head_dim) each."""
        shape = (self.kv_heads, context, self.head_dim)
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def reference(self, step, q, k, v):
        n, start = len(q), step.start
        end = start + n
        split = lambda x: x.reshape(n, -1, self.head_dim).swapaxes(0, 1)  # (heads, n, head_dim)
        keys, values = step.caches[self.name]
        keys[:, start:end], values[:, start:end] = split(k), split(v)
        back = start + np.arange(n)[:, None] - np.arange(end)
        seen = (back >= 0) & (back < (end if self.window is None else self.window))
        mask = np.where(seen, np.float32(0), np.float32(-np.inf))
        sinks = np.full(self.heads, -np.inf) if self.sinks is None else step.tensors[self.sinks]
        out = np.empty((n, self.heads, self.head_dim), np.float32)
        for head, query in enumerate(split(q)):
            kv = head // (self.heads // self.kv_heads)
            scores = query @ keys[kv, :end].T * np.float32(self.scale) + mask
            most = np.maximum(scores.max(-1, keepdims=True), np.float32(sinks[head]))
            scores, sink = np.exp(scores - most), np.exp(np.float32(sinks[head]) - most)
            out[:, head] = scores / (scores.sum(-1, keepdims=True) + sink) @ values[kv, :end]
        return out.reshape(n, -1)


@dataclass(frozen=True, kw_only=True)
class Activation(Operator):
    """A function of :data:`ACTIVATIONS` of x."""

    width: int
    function: str

    def reference(self, step, *inputs):
        return ACTIVATIONS[self.function](inputs[0])


@dataclass(frozen=True, kw_only=True)
class Gated(Activation):
    """The activation of gate times up, the operator's inputs."""

    def reference(self, step, *inputs):
        return super().reference(step, *inputs) * inputs[1]


@dataclass(frozen=True, kw_only=True)
class Residual(Operator):
    """x + y: the residual stream x and what a part of the layer adds."""

    width: int

    def reference(self, step, x, y):
        return x + y


@dataclass(frozen=True, kw_only=True)
class Scale(Operator):
    """x * factor."""

    width: int
    factor: float

    def reference(self, step, x):
        return x * np.float32(self.factor)


@dataclass(frozen=True, kw_only=True)
class SigmoidScaled(Operator):
    """x * sigmoid(score), of one score for each token."""

    width: int

    @property
    def input_widths(self):
        return (self.width, 1)

    def reference(self, step, x, score):
        with np.errstate(over="ignore"):
            return x / (1 + np.exp(-score))


@dataclass(frozen=True, kw_only=True)
class Softcap(Operator):
    """cap * tanh(x / cap)."""

    width: int
    cap: float

    def reference(self, step, x):
        return np.float32(self.cap) * np.tanh(x / np.float32(self.cap))


@dataclass(frozen=True, kw_only=True)
class Head(Linear):
    """The projection to logits: a Linear whose ``width`` is the vocabulary."""
