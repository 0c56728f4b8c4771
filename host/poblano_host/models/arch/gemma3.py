"""Gemma 3 (Kamath et al., 2025), its text: GeGLU, norms before and after attention and network and of each
head of queries and keys, an embedding scaled by sqrt(dim); of six layers five attend to a sliding window."""

from dataclasses import dataclass

from ..config import ModelConfig, ModelError, stored
from ..graph import GraphBuilder
from ..rope import rope_frequencies
from .family import NAMES, Family, per_layer, plain_gguf, plain_hugging_face
from .parts import attention, gated_network
from .qwen3 import HEAD_NORMS

__all__ = ["FAMILY"]

PERIOD = 6
"""Layers of which the last attends to all positions."""
DEFAULTS = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "query_pre_attn_scalar": 256,
}
"""What the configuration of the text in one of text and images leaves out."""
LAYERS_27B = 62
"""Of GGUF files, which do not say how scores are scaled, those of so many layers scale by dim / heads."""


@dataclass(frozen=True, kw_only=True)
class Gemma3Config(ModelConfig):
    rope_base: float = stored("rope.freq_base", "rope_theta", 1e6)
    local_base: float = stored("rope.freq_base_swa", "rope_local_base_freq", 10000.0)
    window: int = stored("attention.sliding_window", "sliding_window")
    period: int = stored("attention.sliding_window_pattern", "sliding_window_pattern", PERIOD)
    query_scalar: float = stored(
        None,
        "query_pre_attn_scalar",
        lambda c: c["dim"] / c["heads"] if c["layers"] == LAYERS_27B else c["head_dim"],
    )

    def check(self, where):
        super().check(where)
        for name in ("window", "period"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ModelError(f"{where}: {name} is {value!r}")


def is_local(c, n):
    """Whether layer ``n`` attends to the window."""
    return (n + 1) % c.period != 0


def graph(c):
    b = GraphBuilder()
    local = dict(frequencies=rope_frequencies(c.local_base, c.head_dim), window=c.window)
    whole = dict(frequencies=c.frequencies, rope_scale=c.rope.attention)
    x = b.embedding("token_embd", c.vocab, c.dim, scale=c.dim**0.5)
    for n in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        places = local if is_local(c, n) else whole
        y = attention(b, c, y, head_norms=True, scale=c.query_scalar**-0.5, **places)
        y = b.norm("post_attention_norm", b.linear("attn_output", y, c.dim), eps=c.norm_eps)
        x = b.residual("attn_residual", x, y)
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        y = b.norm("post_ffw_norm", gated_network(b, c, y, "gelu"), eps=c.norm_eps)
        x = b.residual("ffn_residual", x, y)
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


def normalise(where, form, fields):
    """``config.json`` has the kind of each layer as a list, and RoPE's constants of both kinds, in newer
    files."""
    if form == "gguf":
        return fields
    fields = {key: value for key, value in DEFAULTS.items() if "text_config" in fields} | fields
    rope = fields.get("rope_parameters")
    if isinstance(rope, dict) and isinstance(rope.get("full_attention"), dict):
        whole, local = rope["full_attention"], rope.get("sliding_attention") or {}
        if not isinstance(local, dict) or local.get("rope_type", "default") != "default":
            raise ModelError(f"{where}: RoPE scaling of the sliding window's layers is not supported")
        bases = {"rope_theta": whole.get("rope_theta"), "rope_local_base_freq": local.get("rope_theta")}
        fields |= {"rope_parameters": whole} | {k: v for k, v in bases.items() if v is not None}
    kinds = fields.get("layer_types")
    if isinstance(kinds, list) and "full_attention" in kinds and "sliding_window_pattern" not in fields:
        fields["sliding_window_pattern"] = kinds.index("full_attention") + 1
    return fields


def hugging_face(c):
    kinds = per_layer(c, lambda n: "sliding_attention" if is_local(c, n) else "full_attention")
    fields = plain_hugging_face(c) | {
        "hidden_activation": "gelu_pytorch_tanh",
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "use_bidirectional_attention": False,
        "layer_types": kinds,
    }
    return fields | {"hidden_act": "gelu_pytorch_tanh"}


NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}

TENSORS = (
    NAMES
    | HEAD_NORMS
    | {f"model.layers.*.{theirs}.weight": f"blk.*.{ours}.weight" for theirs, ours in NORMS.items()}
)

FAMILY = Family(
    name="gemma3",
    model_type="gemma3_text",
    graph=graph,
    config_type=Gemma3Config,
    names={f"language_model.{theirs}": ours for theirs, ours in TENSORS.items()} | TENSORS,
    gguf=lambda c: plain_gguf(c) | {"final_logit_softcapping": 0.0, "attn_logit_softcapping": 0.0},
    hugging_face=hugging_face,
    ignored=("cache_implementation", "text_config", "vision_config", "mm_tokens_per_image", "*_token_index"),
    normalise=normalise,
    gguf_halves=True,
    tied=True,
    unused_tensors=("vision_tower.*", "multi_modal_projector.*"),
    shifted=("*norm.weight",),
)
