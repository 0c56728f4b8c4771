"""What a family of models states of itself, and the names and limits that most families share."""

from collections.abc import Callable
from dataclasses import dataclass
import re

from ..config import ModelConfig
from ..graph import Graph

__all__ = ["NAMES", "Family", "plain_gguf", "plain_hugging_face"]

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "model.layers.*.input_layernorm.weight": "blk.*.attn_norm.weight",
    "model.layers.*.self_attn.q_proj.weight": "blk.*.attn_q.weight",
    "model.layers.*.self_attn.k_proj.weight": "blk.*.attn_k.weight",
    "model.layers.*.self_attn.v_proj.weight": "blk.*.attn_v.weight",
    "model.layers.*.self_attn.o_proj.weight": "blk.*.attn_output.weight",
    "model.layers.*.post_attention_layernorm.weight": "blk.*.ffn_norm.weight",
    "model.layers.*.mlp.gate_proj.weight": "blk.*.ffn_gate.weight",
    "model.layers.*.mlp.up_proj.weight": "blk.*.ffn_up.weight",
    "model.layers.*.mlp.down_proj.weight": "blk.*.ffn_down.weight",
}
"""GGUF's names of Hugging Face's tensors; * is a layer's number."""


def plain_gguf(config):
    """What GGUF files may say of features that no operator has."""
    return {
        "rope.scaling.type": "none",
        "rope.dimension_count": config.head_dim,
        "attention.value_length": config.head_dim,
        "expert_count": 0,
    }


def plain_hugging_face(config):
    """What ``config.json`` may say of the same."""
    return {"hidden_act": "silu", "RoPE scaling": "default"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models.

    Parameters
    ----------
    name : its architecture in GGUF and its ``model_type`` in ``config.json``.
    graph : the graph of a configuration, whose tensors have GGUF's names.
    config_type : the configuration's class.
    names : GGUF's names of Hugging Face's tensors, see :data:`NAMES`.
    gguf, hugging_face : a configuration's fields of files that are refused with another value than this.
    gguf_halves : whether RoPE rotates the halves of a head in GGUF, as it always does in Hugging Face's
        files, and not neighbouring elements.
    """

    name: str
    graph: Callable[[ModelConfig], Graph]
    config_type: type[ModelConfig] = ModelConfig
    names: dict[str, str]
    gguf: Callable[[ModelConfig], dict] = plain_gguf
    hugging_face: Callable[[ModelConfig], dict] = plain_hugging_face
    gguf_halves: bool

    def canonical(self, name):
        """GGUF's name of Hugging Face's tensor ``name``, or None."""
        layer = re.search(r"(?<=\.)\d+(?=\.)", name)
        if layer is None:
            return self.names.get(name)
        pattern = self.names.get(f"{name[: layer.start()]}*{name[layer.end() :]}")
        return None if pattern is None else pattern.replace("*", layer[0])
