"""Llama 1 to 3 (Touvron et al., 2023): RMS norms, rotary attention with grouped queries, SwiGLU, no
biases."""

from ..graph import GraphBuilder
from .family import NAMES, Family
from .parts import added, attention, gated_network

__all__ = ["FAMILY", "graph"]


def graph(c, *, network=gated_network, **options):
    """The graph of a configuration; ``network`` is of (builder, configuration, normalised value) what a
    layer's feed-forward networks give, a value or several, ``options`` are :func:`~.parts.attention`'s."""
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim)
    for _ in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        y = attention(b, c, y, frequencies=c.frequencies, rope_scale=c.rope.attention, **options)
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim))
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        x = added(b, x, network(b, c, y))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


FAMILY = Family(
    name="llama",
    graph=graph,
    names=NAMES,
    unused_tensors=("*.rotary_emb.inv_freq",),  # what the configuration says already
    gguf_halves=False,
    of_gguf=lambda fields: not fields.get("llama.expert_count"),  # Mixtral's
)
