"""DeepSeek-V3 (DeepSeek-AI, 2024): latent attention, and experts from groups beside shared ones."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from poblano.config import BLOCK

from ..config import ModelError, stored
from .family import Family, stacked_experts
from .grouped import GROUPED_NAMES, SIGMOID, GroupedConfig, check_scoring, grouped_graph

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class DeepSeekConfig(GroupedConfig):
    """``head_dim`` is a query's, and ``kv_heads`` is 1: all heads share the latent."""

    kv_heads: int = stored("attention.head_count_kv", None, 1)
    head_dim: int = stored("attention.key_length_mla", "qk_head_dim")
    rope_dim: int = stored("rope.dimension_count", "qk_rope_head_dim")
    value_dim: int = stored("attention.value_length_mla", "v_head_dim")
    rank: int = stored("attention.kv_lora_rank", "kv_lora_rank")
    query_rank: int | None = stored("attention.q_lora_rank", "q_lora_rank", None)

    def check(self, where):
        super().check(where)
        if self.kv_heads != 1:
            raise ModelError(
                f"{where}: latent attention of {self.kv_heads} KV heads is not supported, only 1"
            )
        for name, unit in (("rope_dim", 2), ("value_dim", BLOCK), ("rank", BLOCK)):
            value = getattr(self, name)
            if type(value) is not int or value < 1 or value % unit:
                raise ModelError(f"{where}: {name} {value!r} is not a multiple of {unit}")
        if self.rope_dim >= self.head_dim or (self.head_dim - self.rope_dim) % BLOCK:
            raise ModelError(
                f"{where}: {self.rope_dim} elements of heads of {self.head_dim} rotate; the others must be a "
                f"multiple of {BLOCK}"
            )
        value = self.query_rank
        if value is not None and (type(value) is not int or value < 0 or value % BLOCK):
            raise ModelError(f"{where}: query_rank {value!r} is not a multiple of {BLOCK}")
        if self.rope.kind != "none":
            raise ModelError(
                f"{where}: RoPE scaling {self.rope.kind!r} of latent attention is not supported, only none"
            )


def latent_attention(b, c, y):
    """Attention of the normalised ``y``, before its output projection."""
    query, q = "attn_q", y
    if c.query_rank:
        q = b.norm("attn_q_a_norm", b.linear("attn_q_a", y, c.query_rank), eps=c.norm_eps)
        query = "attn_q_b"
    q = b.linear(query, q, c.heads * c.head_dim)
    latent = b.linear("attn_kv_a_mqa", y, c.rank + c.rope_dim)
    sizes = {name: getattr(c, name) for name in ("heads", "head_dim", "rope_dim", "value_dim", "rank")}
    scale, frequencies = c.head_dim**-0.5, c.rope.frequencies(c.rope_base, c.rope_dim)
    return b.latent_attention(
        "attn", q, latent, **sizes, frequencies=frequencies, scale=scale, eps=c.norm_eps
    )


def normalise(where, form, fields):
    """DeepSeek-V2's GGUF files say of a softmax, or nothing; ``config.json`` has the parts of a query."""
    if form == "gguf":
        check_scoring(where, fields)
        return fields
    parts = [fields.get(f"qk_{part}_head_dim") for part in ("nope", "rope")]
    return fields | {"qk_head_dim": None if None in parts else sum(parts)}


def gathered(config, where, tensors, kinds):
    """Experts below each other, and each head's keys, transposed, and values in tensors of their own."""
    tensors, kinds = stacked_experts(config, where, tensors, kinds)
    keys, rows = config.head_dim - config.rope_dim, config.head_dim - config.rope_dim + config.value_dim
    for name in [name for name in tensors if name.endswith(".attn_kv_b.weight")]:
        tensor, kind = tensors.pop(name), kinds.pop(name)
        if tensor.shape != (config.heads * rows, config.rank):
            raise ModelError(
                f"{where}: tensor {name} has shape {tensor.shape}, not {(config.heads * rows, config.rank)}"
            )
        heads = tensor.reshape(config.heads, rows, config.rank)
        parts = {"k": heads[:, :keys].swapaxes(1, 2), "v": heads[:, keys:]}
        for part, array in parts.items():
            split = name.replace("_kv_b", f"_{part}_b")
            tensors[split] = np.ascontiguousarray(array).reshape(-1, array.shape[-1])
            kinds[split] = kind
    return tensors, kinds


def plain_latents(c):
    """What GGUF files say of the cache: latents take the places of keys and values."""
    return {
        "expert_gating_func": SIGMOID,
        "attention.key_length": c.rank + c.rope_dim,
        "attention.value_length": c.rank,
    }


ATTENTION = {
    "q_a_proj": "attn_q_a",
    "q_a_layernorm": "attn_q_a_norm",
    "q_b_proj": "attn_q_b",
    "kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "kv_a_layernorm": "attn_kv_a_norm",
    "kv_b_proj": "attn_kv_b",
}

FAMILY = Family(
    name="deepseek",
    gguf_name="deepseek2",
    model_type="deepseek_v3",
    graph=partial(grouped_graph, attend=latent_attention),
    config_type=DeepSeekConfig,
    names=GROUPED_NAMES
    | {
        f"model.layers.*.self_attn.{theirs}.weight": f"blk.*.{ours}.weight"
        for theirs, ours in ATTENTION.items()
    },
    gguf=plain_latents,
    hugging_face=lambda c: {
        "hidden_act": "silu",
        "attention_bias": False,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "moe_layer_freq": 1,
        "rope_interleave": True,
    },
    ignored=(
        *("num_key_value_heads", "qk_nope_head_dim", "head_dim", "ep_size", "aux_loss_alpha", "seq_aux"),
    ),
    normalise=normalise,
    gguf_halves=False,
    gathered=gathered,
)
