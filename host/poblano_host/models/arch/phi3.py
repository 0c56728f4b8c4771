"""Phi-3 (Abdin et al., 2024): Llama's layer with attention to a sliding window; files have queries, keys and
values in one matrix, and gate and up in another."""

from .family import NAMES, Family, WindowConfig, fused_qkv, plain_gguf, plain_hugging_face
from .llama import graph

__all__ = ["FAMILY"]


def windowed(c):
    return graph(c, window=c.window)


FAMILY = Family(
    name="phi3",
    graph=windowed,
    config_type=WindowConfig,
    names=NAMES
    | {
        "model.layers.*.self_attn.qkv_proj.weight": "blk.*.attn_qkv.weight",
        "model.layers.*.mlp.gate_up_proj.weight": "blk.*.ffn_up.weight",
    },
    gguf=lambda c: plain_gguf(c) | {"rope.scaling.original_context_length": c.context},
    hugging_face=lambda c: plain_hugging_face(c) | {"original_max_position_embeddings": c.context},
    gguf_halves=True,
    fused=lambda c: {"attn_qkv": fused_qkv(c), "ffn_up": (("ffn_gate", c.ffn_dim), ("ffn_up", c.ffn_dim))},
)
