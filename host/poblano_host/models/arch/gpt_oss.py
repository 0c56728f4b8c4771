"""gpt-oss (OpenAI, 2025): experts in MXFP4 with biases and a clamped SwiGLU, biases of attention, a sink for
each head, and a sliding window in every other layer."""

from dataclasses import dataclass
import re

import numpy as np

from ..config import stored
from ..graph import GraphBuilder
from .family import NAMES, Family, WindowConfig, per_layer, plain_heads
from .mixture import MixtureConfig, mixture
from .parts import attention

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class GptOssConfig(MixtureConfig, WindowConfig):
    rope_base: float = stored("rope.freq_base", "rope_theta", 150000.0)
    experts: int = stored("expert_count", "num_local_experts")
    ffn_dim: int = stored("expert_feed_forward_length", "intermediate_size")
    window: int = stored("attention.sliding_window", "sliding_window")
    limit: float = stored(None, "swiglu_limit", 7.0)
    slope: float = stored(None, "swiglu_alpha", 1.702)


def is_local(n):
    """Whether layer ``n`` attends to the window."""
    return n % 2 == 0


def graph(c):
    b = GraphBuilder()
    options = dict(bias=True, frequencies=c.frequencies, rope_scale=c.rope.attention, sinks=True)
    of_experts = dict(biases=True, scoring="softmax_selected", limit=c.limit, slope=c.slope)
    x = b.embedding("token_embd", c.vocab, c.dim)
    for n in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        y = attention(b, c, y, window=c.window if is_local(n) else None, **options)
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim, bias=True))
        y = b.norm("post_attention_norm", x, eps=c.norm_eps)
        x = b.residual("ffn_residual", x, mixture(b, c, y, **of_experts))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


def gathered(config, where, tensors, kinds):
    """Gate and up have turns in the rows of one tensor, and matrices that are in no blocks are (E, K, N)."""
    found, stored = {}, {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(blk\.\d+\.ffn_)(gate_up|down)(_exps\.(?:weight|bias))", name)
        if match is None:
            found[name], stored[name] = tensor, kinds[name]
            continue
        if match[3].endswith("bias"):
            tensor = tensor.ravel()
        elif len(tensor.shape) == 3:
            tensor = np.ascontiguousarray(tensor.swapaxes(1, 2)).reshape(-1, tensor.shape[1])
        parts = match[2].split("_")
        for n, part in enumerate(parts):
            index = slice(n, None, len(parts))
            rows = tensor.rows(index) if hasattr(tensor, "rows") else tensor[index]
            found[f"{match[1]}{part}{match[3]}"], stored[f"{match[1]}{part}{match[3]}"] = rows, kinds[name]
    return found, stored


ATTENTION = {
    f"model.layers.*.self_attn.{theirs}_proj.bias": f"blk.*.attn_{ours}.bias"
    for theirs, ours in {"q": "q", "k": "k", "v": "v", "o": "output"}.items()
} | {
    "model.layers.*.self_attn.sinks": "blk.*.attn_sinks.weight",
    "model.layers.*.post_attention_layernorm.weight": "blk.*.post_attention_norm.weight",
}
EXPERTS = {
    f"model.layers.*.mlp.experts.{part}_proj{ending}": f"blk.*.ffn_{part}_exps.{kind}"
    for part in ("gate_up", "down")
    for ending, kind in {"": "weight", "_bias": "bias", "_blocks": "blocks", "_scales": "scales"}.items()
} | {f"model.layers.*.mlp.router.{kind}": f"blk.*.ffn_gate_inp.{kind}" for kind in ("weight", "bias")}

FAMILY = Family(
    name="gpt_oss",
    gguf_name="gpt-oss",
    graph=graph,
    config_type=GptOssConfig,
    names={theirs: ours for theirs, ours in NAMES.items() if ".mlp." not in theirs} | ATTENTION | EXPERTS,
    gguf=lambda c: plain_heads(c) | {"attention.sliding_window_pattern": 2},
    hugging_face=lambda c: {
        "hidden_act": "silu",
        "attention_bias": True,
        "layer_types": per_layer(c, lambda n: "sliding_attention" if is_local(n) else "full_attention"),
    },
    ignored=("experts_per_token", "initial_context_length", "feed_forward_length", "quantization_config"),
    gguf_halves=True,
    gathered=gathered,
    quantised="mxfp4",
)
