"""GPT-2 (Radford et al., 2019): layer norms, biases everywhere, learned positions, GELU without a gate."""

from dataclasses import dataclass

from ..config import ModelConfig, stored
from ..graph import GraphBuilder
from .family import Family, fused_qkv
from .parts import attention

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class GPT2Config(ModelConfig):
    dim: int = stored("embedding_length", "n_embd")
    layers: int = stored("block_count", "n_layer")
    heads: int = stored("attention.head_count", "n_head")
    kv_heads: int = stored("attention.head_count_kv", None, lambda c: c["heads"])
    head_dim: int = stored("attention.key_length", None, lambda c: c["dim"] // c["heads"])
    ffn_dim: int = stored("feed_forward_length", "n_inner", lambda c: 4 * c["dim"])
    context: int = stored("context_length", "n_positions")
    rope_base: float = stored(None, None, 10000.0)
    norm_eps: float = stored("attention.layer_norm_epsilon", "layer_norm_epsilon")


def graph(c):
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim, positions="position_embd.weight", context=c.context)
    for _ in b.layers(c.layers):
        y = attention(b, c, b.layer_norm("attn_norm", x, eps=c.norm_eps), bias=True)
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim, bias=True))
        y = b.linear("ffn_up", b.layer_norm("ffn_norm", x, eps=c.norm_eps), c.ffn_dim, bias=True)
        y = b.linear("ffn_down", b.activation("ffn_gelu", y, "gelu"), c.dim, bias=True)
        x = b.residual("ffn_residual", x, y)
    x = b.layer_norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


PARTS = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
NAMES = {
    "wte.weight": "token_embd.weight",
    "wpe.weight": "position_embd.weight",
    "ln_f.weight": "output_norm.weight",
    "ln_f.bias": "output_norm.bias",
} | {
    f"h.*.{theirs}.{ending}": f"blk.*.{ours}.{ending}"
    for theirs, ours in PARTS.items()
    for ending in ("weight", "bias")
}
"""Hugging Face's names; some files have ``transformer.`` before them."""

FAMILY = Family(
    name="gpt2",
    graph=graph,
    config_type=GPT2Config,
    names={"lm_head.weight": "output.weight"} | {f"transformer.{k}": v for k, v in NAMES.items()} | NAMES,
    gguf=lambda c: {"attention.value_length": c.head_dim},
    hugging_face=lambda c: {
        "activation_function": "gelu_new",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    ignored=("n_ctx", "summary_*", "reorder_and_upcast_attn"),
    gguf_halves=True,
    tied=True,
    fused=lambda c: {"attn_qkv": fused_qkv(c)},
    transposed=tuple(f"blk.*.{ours}.weight" for ours in PARTS.values() if "norm" not in ours),
    unused_tensors=("*h.*.attn.bias", "*h.*.attn.masked_bias"),
)
