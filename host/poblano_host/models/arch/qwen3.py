"""Qwen3 (Yang et al., 2025): Llama's layer with norms of each head of queries and keys, whose size is not
dim / heads."""

from functools import partial

from .family import NAMES, Family, plain_gguf, plain_hugging_face
from .llama import graph
from .qwen2 import UNUSED_WINDOW, plain_window

__all__ = ["FAMILY", "HEAD_NORMS"]

HEAD_NORMS = {f"model.layers.*.self_attn.{x}_norm.weight": f"blk.*.attn_{x}_norm.weight" for x in ("q", "k")}


FAMILY = Family(
    name="qwen3",
    graph=partial(graph, head_norms=True),
    names=NAMES | HEAD_NORMS,
    gguf=lambda c: plain_gguf(c) | {"attention.sliding_window": 0},
    hugging_face=lambda c: plain_hugging_face(c) | plain_window(c),
    ignored=UNUSED_WINDOW,
    gguf_halves=True,
)
