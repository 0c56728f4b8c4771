"""Qwen3 (Yang et al., 2025): Llama's layer with norms of each head of queries and keys, whose size is not
dim / heads."""

from ..graph import GraphBuilder
from .family import NAMES, Family, plain_gguf, plain_hugging_face
from .parts import attention, gated_network
from .qwen2 import UNUSED_WINDOW, plain_window

__all__ = ["FAMILY", "HEAD_NORMS"]

HEAD_NORMS = {f"model.layers.*.self_attn.{x}_norm.weight": f"blk.*.attn_{x}_norm.weight" for x in ("q", "k")}


def graph(c):
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim)
    for _ in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        y = attention(b, c, y, head_norms=True, frequencies=c.frequencies, rope_scale=c.rope.attention)
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim))
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        x = b.residual("ffn_residual", x, gated_network(b, c, y))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


FAMILY = Family(
    name="qwen3",
    graph=graph,
    names=NAMES | HEAD_NORMS,
    gguf=lambda c: plain_gguf(c) | {"attention.sliding_window": 0},
    hugging_face=lambda c: plain_hugging_face(c) | plain_window(c),
    ignored=UNUSED_WINDOW,
    gguf_halves=True,
)
