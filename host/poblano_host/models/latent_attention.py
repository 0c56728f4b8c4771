"""Attention whose keys and values are stored as one short vector for all heads (DeepSeek-AI, 2024)."""

from dataclasses import dataclass

import numpy as np

from .operators import Operator, Rope

__all__ = ["LatentAttention"]


@dataclass(frozen=True, kw_only=True)
class LatentAttention(Operator):
    """Causal softmax attention of queries and latents, the operator's inputs; it owns a cache of latents.

    A head's query has ``head_dim`` elements, of which the last ``rope_dim`` rotate, neighbours together, with
    ``frequencies``. A token's latent has ``rank`` elements, which are normed with ``gain``, and ``rope_dim``
    more that rotate. A head's key is those of its matrix of ``key`` times the normed elements, and then the
    rotated ones; its value, of ``value_dim`` elements, is that of its matrix of ``value``. Scores are
    ``scale`` * q.k.

    Of head h the rows ``h * rank`` on of ``key`` are its matrix, transposed, and the rows ``h * value_dim``
    on of ``value``.
    """

    gain: str
    key: str
    value: str
    heads: int
    head_dim: int
    rope_dim: int
    value_dim: int
    rank: int
    frequencies: tuple[float, ...]
    scale: float
    eps: float

    @property
    def width(self):
        return self.heads * self.value_dim

    @property
    def input_widths(self):
        return (self.heads * self.head_dim, self.rank + self.rope_dim)

    @property
    def tensors(self):
        return {
            self.gain: (self.rank,),
            self.key: (self.heads * self.rank, self.head_dim - self.rope_dim),
            self.value: (self.heads * self.value_dim, self.rank),
        }

    def cache(self, context):
        """Empty latents, float32 (context, rank) and (context, rope_dim)."""
        return tuple(np.zeros((context, width), np.float32) for width in (self.rank, self.rope_dim))

    def _rotated(self, step, x):
        """``x`` (tokens, heads * rope_dim) rotated."""
        heads = x.shape[1] // self.rope_dim
        sizes = dict(heads=heads, head_dim=self.rope_dim, frequencies=self.frequencies)
        return Rope(name=self.name, inputs=(), **sizes).reference(step, x).reshape(len(x), heads, -1)

    def reference(self, step, q, latent):
        n, start, rank = len(q), step.start, self.rank
        end, split = start + n, self.head_dim - self.rope_dim
        latents, places = step.caches[self.name]
        part = latent[:, :rank]
        mean = (part * part).mean(-1, keepdims=True)
        latents[start:end] = part / np.sqrt(mean + np.float32(self.eps)) * step.tensors[self.gain]
        places[start:end] = self._rotated(step, latent[:, rank:])[:, 0]
        q = q.reshape(n, self.heads, -1)
        turned = self._rotated(step, q[..., split:].reshape(n, -1))
        keys = step.tensors[self.key].reshape(self.heads, rank, split)
        values = step.tensors[self.value].reshape(self.heads, -1, rank)
        later = np.arange(end) > start + np.arange(n)[:, None]
        out = np.empty((n, self.heads, self.value_dim), np.float32)
        for head in range(self.heads):
            scores = q[:, head, :split] @ keys[head].T @ latents[:end].T + turned[:, head] @ places[:end].T
            scores = np.where(later, np.float32(-np.inf), scores * np.float32(self.scale))
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = scores / scores.sum(-1, keepdims=True) @ latents[:end] @ values[head].T
        return out.reshape(n, -1)
