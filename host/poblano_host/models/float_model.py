"""The float reference: a Llama decoder in numpy float32 on the dequantised weights."""

import numpy as np

from .model import BlockTensor

__all__ = ["FloatModel"]


def _rms_norm(x, gain, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * gain


class FloatModel:
    """``forward`` gives the logits of a batch of positions; keys and values of earlier calls are kept.

    Parameters
    ----------
    model : Model
    rounding : applied to the inputs of the projections (n, K), if given: what quantised activations alone
        would do
    """

    def __init__(self, model, *, rounding=None):
        self._round = (lambda x: x) if rounding is None else rounding
        self.config = model.config
        self._model = model
        self._tensors = {
            name: t.dequantise() if isinstance(t, BlockTensor) else t for name, t in model.tensors.items()
        }
        c = self.config
        self._keys = np.zeros((c.layers, c.kv_heads, c.context, c.head_dim), np.float32)
        self._values = np.zeros_like(self._keys)
        half = np.arange(0, c.head_dim, 2) / c.head_dim
        angles = np.arange(c.context)[:, None] * c.rope_base**-half  # (context, head_dim / 2), float64
        self._cos, self._sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _rotate(self, x, start):
        """RoPE on (n, heads, head_dim), neighbours rotate."""
        n = x.shape[0]
        cos, sin = self._cos[start : start + n, None], self._sin[start : start + n, None]
        even, odd = x[..., 0::2], x[..., 1::2]
        return np.stack((even * cos - odd * sin, even * sin + odd * cos), -1).reshape(x.shape)

    def _attention(self, layer, x, start):
        c, n = self.config, x.shape[0]
        weight = lambda name: self._tensors[f"blk.{layer}.{name}.weight"]
        x = self._round(x)
        q = self._rotate((x @ weight("attn_q").T).reshape(n, c.heads, c.head_dim), start)
        k = self._rotate((x @ weight("attn_k").T).reshape(n, c.kv_heads, c.head_dim), start)
        v = (x @ weight("attn_v").T).reshape(n, c.kv_heads, c.head_dim)
        end = start + n
        self._keys[layer, :, start:end] = k.swapaxes(0, 1)
        self._values[layer, :, start:end] = v.swapaxes(0, 1)
        mask = np.where(np.arange(end) > start + np.arange(n)[:, None], np.float32(-np.inf), np.float32(0))
        out = np.empty((n, c.heads, c.head_dim), np.float32)
        for head in range(c.heads):
            kv = head // (c.heads // c.kv_heads)
            scores = q[:, head] @ self._keys[layer, kv, :end].T * np.float32(c.head_dim**-0.5) + mask
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = scores / scores.sum(-1, keepdims=True) @ self._values[layer, kv, :end]
        return self._round(out.reshape(n, -1)) @ weight("attn_output").T

    def _attended(self, layer, x, start):
        """The residual after the layer's attention, and its norm: the input of the feed-forward network."""
        weight = lambda name: self._tensors[f"blk.{layer}.{name}.weight"]
        x = x + self._attention(layer, _rms_norm(x, weight("attn_norm"), self.config.norm_eps), start)
        return x, _rms_norm(x, weight("ffn_norm"), self.config.norm_eps)

    def _feed_forward(self, layer, y):
        weight = lambda name: self._tensors[f"blk.{layer}.{name}.weight"]
        y = self._round(y)
        gate = y @ weight("ffn_gate").T
        with np.errstate(over="ignore"):
            return self._round(gate / (1 + np.exp(-gate)) * (y @ weight("ffn_up").T)) @ weight("ffn_down").T

    def feed_forward_input(self, tokens, layer):
        """float32 (len(tokens), dim): what the feed-forward network of ``layer`` gets from ``tokens`` at
        positions 0 on."""
        x = self._tensors["token_embd.weight"][np.asarray(tokens)]
        for n in range(layer + 1):
            x, y = self._attended(n, x, 0)
            x = x + self._feed_forward(n, y)
        return y

    def forward(self, tokens, start=0):
        """float32 logits (len(tokens), vocab) of ``tokens`` at positions ``start`` on."""
        c = self.config
        if start + len(tokens) > c.context:
            raise ValueError(
                f"positions {start} to {start + len(tokens) - 1} pass the context of {c.context}"
            )
        x = self._tensors["token_embd.weight"][np.asarray(tokens)]
        for layer in range(c.layers):
            x, y = self._attended(layer, x, start)
            x = x + self._feed_forward(layer, y)
        x = _rms_norm(x, self._tensors["output_norm.weight"], c.norm_eps)
        return self._round(x) @ self._tensors.get("output.weight", self._tensors["token_embd.weight"]).T
