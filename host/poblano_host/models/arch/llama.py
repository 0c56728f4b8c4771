"""Llama (Touvron et al., 2023): RMS norms, rotary attention with grouped queries, SwiGLU, no biases."""

from ..graph import GraphBuilder
from ..operators import rope_frequencies
from .family import NAMES, Family

__all__ = ["FAMILY"]


def graph(c):
    b = GraphBuilder()
    frequencies = rope_frequencies(c.rope_base, c.head_dim)
    x = b.embedding("token_embd", c.vocab, c.dim)
    for _ in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        q = b.linear("attn_q", y, c.heads * c.head_dim)
        k = b.linear("attn_k", y, c.kv_heads * c.head_dim)
        v = b.linear("attn_v", y, c.kv_heads * c.head_dim)
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


FAMILY = Family(name="llama", graph=graph, names=NAMES, gguf_halves=False)
