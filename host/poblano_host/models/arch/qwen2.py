"""Qwen2 and Qwen2.5 (Yang et al., 2024): Llama's layer with biases on queries, keys and values."""

from ..graph import GraphBuilder
from .family import NAMES, Family, per_layer, plain_gguf, plain_hugging_face
from .parts import attention, gated_network

__all__ = ["FAMILY", "UNUSED_WINDOW", "plain_window"]

UNUSED_WINDOW = ("sliding_window", "max_window_layers")
"""Fields that say nothing without use_sliding_window."""


def plain_window(c):
    """Attention to all positions in every layer."""
    return {"use_sliding_window": False, "layer_types": per_layer(c, lambda n: "full_attention")}


def graph(c):
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim)
    for _ in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        y = attention(b, c, y, bias=True, frequencies=c.frequencies, rope_scale=c.rope.attention)
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim))
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        x = b.residual("ffn_residual", x, gated_network(b, c, y))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


FAMILY = Family(
    name="qwen2",
    graph=graph,
    names=NAMES
    | {f"model.layers.*.self_attn.{x}_proj.bias": f"blk.*.attn_{x}.bias" for x in ("q", "k", "v")},
    gguf=lambda c: plain_gguf(c) | {"attention.sliding_window": 0},
    hugging_face=lambda c: plain_hugging_face(c) | plain_window(c),
    ignored=UNUSED_WINDOW,
    gguf_halves=True,
)
