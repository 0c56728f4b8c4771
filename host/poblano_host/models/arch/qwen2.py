"""Qwen2 and Qwen2.5 (Yang et al., 2024): Llama's layer with biases on queries, keys and values."""

from functools import partial

from .family import NAMES, Family, per_layer, plain_gguf, plain_hugging_face
from .llama import graph

__all__ = ["BIASES", "FAMILY", "UNUSED_WINDOW", "plain_window"]

UNUSED_WINDOW = ("sliding_window", "max_window_layers")
"""Fields that say nothing without use_sliding_window."""


BIASES = {f"model.layers.*.self_attn.{x}_proj.bias": f"blk.*.attn_{x}.bias" for x in ("q", "k", "v")}


def plain_window(c):
    """Attention to all positions in every layer."""
    return {"use_sliding_window": False, "layer_types": per_layer(c, lambda n: "full_attention")}


FAMILY = Family(
    name="qwen2",
    graph=partial(graph, bias=True),
    names=NAMES | BIASES,
    gguf=lambda c: plain_gguf(c) | {"attention.sliding_window": 0},
    hugging_face=lambda c: plain_hugging_face(c) | plain_window(c),
    ignored=UNUSED_WINDOW,
    gguf_halves=True,
)
