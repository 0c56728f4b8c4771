"""Qwen2-MoE (Yang et al., 2024): Qwen2 with experts, and one more that every token uses as far as a score
says."""

from dataclasses import dataclass

from poblano.config import BLOCK

from ..config import ModelError, stored
from .family import Family, plain_heads, plain_hugging_face
from .llama import graph
from .mixture import EXPERT_NAMES, SmallMixtureConfig, mixture
from .parts import gated_network
from .qwen2 import BIASES, UNUSED_WINDOW, plain_window

__all__ = ["FAMILY", "IGNORED", "every_layer"]

SHARED = "_shexp"
IGNORED = (*UNUSED_WINDOW, "feed_forward_length", "intermediate_size")
"""Fields of layers without experts, too, of which there are none."""


@dataclass(frozen=True, kw_only=True)
class Qwen2MoEConfig(SmallMixtureConfig):
    shared_dim: int = stored("expert_shared_feed_forward_length", "shared_expert_intermediate_size")
    renormalise: bool = stored(None, "norm_topk_prob", False)

    def check(self, where):
        super().check(where)
        value = self.shared_dim
        if type(value) is not int or value < 1 or value % BLOCK:
            raise ModelError(f"{where}: shared_dim {value!r} is not a multiple of {BLOCK}")


def network(b, c, y):
    """The experts' sum, and the shared one times the sigmoid of its score."""
    chosen = mixture(b, c, y, renormalise=c.renormalise)
    shared = gated_network(b, c, y, ending=SHARED, hidden=c.shared_dim)
    score = b.linear(f"ffn_gate_inp{SHARED}", y, 1)
    return chosen, b.sigmoid_scaled(f"ffn_scaled{SHARED}", shared, score)


def biased(c):
    return graph(c, network=network, bias=True)


def every_layer(c):
    """Every layer has experts, and attends to all positions."""
    return plain_hugging_face(c) | plain_window(c) | {"decoder_sparse_step": 1, "mlp_only_layers": []}


FAMILY = Family(
    name="qwen2moe",
    model_type="qwen2_moe",
    graph=biased,
    config_type=Qwen2MoEConfig,
    names=EXPERT_NAMES
    | BIASES
    | {"model.layers.*.mlp.shared_expert_gate.weight": f"blk.*.ffn_gate_inp{SHARED}.weight"}
    | {
        f"model.layers.*.mlp.shared_expert.{x}_proj.weight": f"blk.*.ffn_{x}{SHARED}.weight"
        for x in ("gate", "up", "down")
    },
    gguf=lambda c: plain_heads(c) | {"attention.sliding_window": 0},
    hugging_face=lambda c: every_layer(c) | {"qkv_bias": True},
    ignored=IGNORED,
    gguf_halves=True,
)
