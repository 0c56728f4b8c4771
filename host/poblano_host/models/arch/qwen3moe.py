"""Qwen3-MoE (Yang et al., 2025): Qwen3 with experts."""

from dataclasses import dataclass

from ..config import stored
from .family import Family, plain_heads
from .llama import graph
from .mixture import EXPERT_NAMES, SmallMixtureConfig, mixture
from .qwen2moe import IGNORED, every_layer
from .qwen3 import HEAD_NORMS

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class Qwen3MoEConfig(SmallMixtureConfig):
    renormalise: bool = stored(None, "norm_topk_prob", True)


def head_norms(c):
    network = lambda b, c, y: mixture(b, c, y, renormalise=c.renormalise)
    return graph(c, network=network, head_norms=True)


def normalise(where, form, fields):
    """``config.json`` means another default than GGUF, which can't state it."""
    return fields if form == "gguf" else {"norm_topk_prob": False} | fields


FAMILY = Family(
    name="qwen3moe",
    model_type="qwen3_moe",
    graph=head_norms,
    config_type=Qwen3MoEConfig,
    names=EXPERT_NAMES | HEAD_NORMS,
    gguf=lambda c: plain_heads(c) | {"attention.sliding_window": 0},
    hugging_face=every_layer,
    ignored=IGNORED,
    normalise=normalise,
    gguf_halves=True,
)
