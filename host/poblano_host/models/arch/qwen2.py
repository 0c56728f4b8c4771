"""Qwen2 and Qwen2.5 (Yang et al., 2024): Llama's layer with biases on queries, keys and values."""

from ..graph import GraphBuilder
from ..operators import rope_frequencies
from .family import NAMES, Family, plain_gguf, plain_hugging_face

__all__ = ["FAMILY"]


def graph(c):
    b = GraphBuilder()
    frequencies = rope_frequencies(c.rope_base, c.head_dim)
    x = b.embedding("token_embd", c.vocab, c.dim)
    for _ in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        q = b.linear("attn_q", y, c.heads * c.head_dim, bias=True)
        k = b.linear("attn_k", y, c.kv_heads * c.head_dim, bias=True)
        v = b.linear("attn_v", y, c.kv_heads * c.head_dim, bias=True)
        q = b.rope("attn_q_rope", q, heads=c.heads, head_dim=c.head_dim, frequencies=frequencies)
        k = b.rope("attn_k_rope", k, heads=c.kv_heads, head_dim=c.head_dim, frequencies=frequencies)
        y = b.attention(
            "attn", q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, scale=c.head_dim**-0.5
        )
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim))
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        y = b.gated("ffn_gated", b.linear("ffn_gate", y, c.ffn_dim), b.linear("ffn_up", y, c.ffn_dim))
        x = b.residual("ffn_residual", x, b.linear("ffn_down", y, c.dim))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


FAMILY = Family(
    name="qwen2",
    graph=graph,
    names=NAMES
    | {f"model.layers.*.self_attn.{x}_proj.bias": f"blk.*.attn_{x}.bias" for x in ("q", "k", "v")},
    gguf=lambda c: plain_gguf(c) | {"attention.sliding_window": 0},
    hugging_face=lambda c: plain_hugging_face(c) | {"use_sliding_window": False},
    gguf_halves=True,
)
