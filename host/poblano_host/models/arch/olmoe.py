"""OLMoE (Muennighoff et al., 2024): Llama with experts, and with a norm of all heads of queries and one of
keys."""

from dataclasses import dataclass

from poblano.config import BLOCK

from ..config import ModelError, stored
from .family import Family, plain_heads, plain_hugging_face
from .llama import graph
from .mixture import EXPERT_NAMES, MixtureConfig, mixture
from .qwen3 import HEAD_NORMS

__all__ = ["FAMILY"]


@dataclass(frozen=True, kw_only=True)
class OLMoEConfig(MixtureConfig):
    renormalise: bool = stored(None, "norm_topk_prob", False)

    def check(self, where):
        super().check(where)
        if self.head_dim % BLOCK:  # the mean of padded heads would be another
            raise ModelError(f"{where}: head_dim {self.head_dim} is not a multiple of {BLOCK}")


def whole_norms(c):
    network = lambda b, c, y: mixture(b, c, y, renormalise=c.renormalise)
    return graph(c, network=network, whole_norms=True)


FAMILY = Family(
    name="olmoe",
    graph=whole_norms,
    config_type=OLMoEConfig,
    names=EXPERT_NAMES | HEAD_NORMS,
    gguf=plain_heads,
    hugging_face=lambda c: plain_hugging_face(c) | {"clip_qkv": None},
    gguf_halves=True,
)
