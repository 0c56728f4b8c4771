"""Mixtral (Jiang et al., 2024): Llama with experts. Its GGUF files are Llama's, with a number of experts."""

from dataclasses import dataclass
from functools import partial

from ..config import stored
from .family import Family, plain_heads, plain_hugging_face
from .llama import graph
from .mixture import MixtureConfig, expert_names, mixture

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class MixtralConfig(MixtureConfig):
    rope_base: float = stored("rope.freq_base", "rope_theta", 1e6)
    experts: int = stored("expert_count", "num_local_experts")


FAMILY = Family(
    name="mixtral",
    gguf_name="llama",
    graph=partial(graph, network=partial(mixture, scoring="softmax_selected")),
    config_type=MixtralConfig,
    names=expert_names("block_sparse_moe", "w1", "w3", "w2"),
    gguf=plain_heads,
    hugging_face=lambda c: plain_hugging_face(c) | {"sliding_window": None},
    gguf_halves=False,
)
