"""dots.llm1 (rednote-hilab, 2025): Qwen3's attention, and DeepSeek-V3's feed-forward networks."""

from functools import partial

from ..config import ModelError
from .family import Family, plain_heads, plain_hugging_face
from .grouped import GROUPED_NAMES, SIGMOID, GroupedConfig, check_scoring, grouped_graph
from .parts import attention
from .qwen2 import UNUSED_WINDOW, plain_window
from .qwen3 import HEAD_NORMS

__all__ = ["FAMILY"]


def attend(b, c, y):
    return attention(b, c, y, head_norms=True, frequencies=c.frequencies, rope_scale=c.rope.attention)


def normalise(where, form, fields):
    """``config.json`` has the layers behind some number attend to a window, where there are as many."""
    if form == "gguf":
        check_scoring(where, fields)
        return fields
    first, layers = fields.get("max_window_layers"), fields.get("num_hidden_layers")
    if fields.get("sliding_window") and first is not None and first < layers:
        raise ModelError(f"{where}: max_window_layers {first!r} is not supported, only {layers!r}")
    return fields


FAMILY = Family(
    name="dots1",
    graph=partial(grouped_graph, attend=attend),
    config_type=GroupedConfig,
    names=GROUPED_NAMES | HEAD_NORMS,
    gguf=lambda c: plain_heads(c) | {"expert_gating_func": SIGMOID},
    hugging_face=lambda c: plain_hugging_face(c) | plain_window(c) | {"moe_layer_freq": 1},
    ignored=(*UNUSED_WINDOW, "scoring_func", "topk_method"),
    normalise=normalise,
    gguf_halves=True,
)
