"""Granite 3 (IBM, 2024): Llama with multipliers of the embedding, the attention's scores, what layers add,
and the logits."""

from dataclasses import dataclass

from ..config import ModelConfig, stored
from ..graph import GraphBuilder
from .family import NAMES, Family, plain_gguf
from .parts import attention, gated_network

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class GraniteConfig(ModelConfig):
    embedding_scale: float = stored("embedding_scale", "embedding_multiplier", 1.0)
    attention_scale: float = stored("attention.scale", "attention_multiplier")
    residual_scale: float = stored("residual_scale", "residual_multiplier", 1.0)
    logit_divisor: float = stored("logit_scale", "logits_scaling", 1.0)


def graph(c):
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim, scale=c.embedding_scale)
    for _ in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        y = attention(
            b, c, y, frequencies=c.frequencies, rope_scale=c.rope.attention, scale=c.attention_scale
        )
        y = b.scale("attn_scaled", b.linear("attn_output", y, c.dim), c.residual_scale)
        x = b.residual("attn_residual", x, y)
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        x = b.residual("ffn_residual", x, b.scale("ffn_scaled", gated_network(b, c, y), c.residual_scale))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    logits = b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    b.scale("logits", logits, 1 / c.logit_divisor)
    return b.graph()


FAMILY = Family(
    name="granite",
    graph=graph,
    config_type=GraniteConfig,
    names=NAMES,
    gguf=lambda c: plain_gguf(c) | {"rope.scaling.finetuned": True},  # False: no rotation
    gguf_halves=False,
    tied=True,
)
