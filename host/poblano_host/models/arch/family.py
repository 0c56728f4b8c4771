"""What a family of models states of itself, and the names, fields and limits that most families share."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
import re

import numpy as np

from ..config import ModelConfig, ModelError, stored
from ..graph import Graph

__all__ = [
    "NAMES",
    "Family",
    "WindowConfig",
    "fused_qkv",
    "per_layer",
    "plain_gguf",
    "plain_heads",
    "plain_hugging_face",
    "stacked_experts",
]

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

IGNORED = {
    "gguf": ("vocab_size", "tensor_data_layout", "rope.scaling.finetuned"),
    "hugging_face": (
        *("architectures", "model_type", "name_or_path", "transformers_version", "torch_dtype", "dtype"),
        *("vocab_size", "tie_word_embeddings", "use_cache", "initializer_range", "pretraining_tp"),
        *("*_token_id", "*dropout*", "*_pdrop", "auto_map", "id2label", "label2id", "num_labels"),
        *("output_attentions", "output_hidden_states", "return_dict", "task_specific_params", "max_length"),
        *("router_aux_loss_coef", "output_router_logits", "router_jitter_noise"),
        *("_*", "unsloth*", "transformers.js_config", "is_llama_config", "attn_implementation"),
    ),
}
"""Fields that do not change what a model computes: its text's, its training's, its library's."""


def plain_gguf(config):
    """What GGUF files may say of features that no operator has."""
    return plain_heads(config) | {"expert_count": 0, "expert_used_count": 0}


def plain_heads(config):
    """What they may say of heads: all elements are rotated, and values have as many as keys."""
    return {"rope.dimension_count": config.head_dim, "attention.value_length": config.head_dim}


def plain_hugging_face(config):
    """What ``config.json`` may say of the same."""
    return {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "partial_rotary_factor": 1.0}


def per_layer(config, value):
    """A list of ``value(n)`` for each layer; of absurdly many layers, which are refused, the first."""
    return [value(n) for n in range(min(config.layers, 10_000))]


@dataclass(frozen=True, kw_only=True)
class WindowConfig(ModelConfig):
    """With the positions that attention sees, its own with them, or None for all."""

    window: int | None = stored("attention.sliding_window", "sliding_window", None)

    def check(self, where):
        super().check(where)
        if self.window is not None and (type(self.window) is not int or self.window < 1):
            raise ModelError(f"{where}: window is {self.window!r}")


def fused_qkv(config):
    """The projection that gives queries, keys and values side by side: its parts and their rows."""
    kv = config.kv_heads * config.head_dim
    return ("attn_q", config.heads * config.head_dim), ("attn_k", kv), ("attn_v", kv)


EXPERT = re.compile(r"(blk\.\d+\.ffn_\w+_exps)\.(0|[1-9]\d*)\.(weight|bias)")
"""The canonical name of the tensor of one expert."""


def stacked_experts(config, where, tensors, kinds):
    """Arrays and stored types by canonical name, those of an expert each as one of all experts."""
    tensors, kinds, stacks = dict(tensors), dict(kinds), {}
    for name in sorted(tensors):
        match = EXPERT.fullmatch(name)
        if match:
            stack = f"{match[1]}.{match[3]}"
            stacks.setdefault(stack, {})[int(match[2])] = tensors.pop(name)
            kinds.setdefault(stack, kinds[name])
    for name, experts in stacks.items():
        for n in range(len(experts)):
            if n not in experts:
                raise ModelError(f"{where}: tensor {name} has no expert {n}, but {max(experts)}")
            if experts[n].shape != experts[0].shape:
                raise ModelError(f"{where}: tensor {name} has experts of different shapes")
        tensors[name] = np.concatenate([experts[n] for n in range(len(experts))])
    return tensors, kinds


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models.

    Parameters
    ----------
    name : its architecture in GGUF and its ``model_type`` in ``config.json``.
    gguf_name, model_type : these names where they differ.
    graph : the graph of a configuration, whose tensors have GGUF's names.
    config_type : the configuration's class.
    names : GGUF's names of Hugging Face's tensors, see :data:`NAMES`.
    gguf, hugging_face : a configuration's fields of files that are refused with another value than this.
    ignored : patterns of further fields of either file without an effect on what is computed.
    normalise : of (the file, ``gguf`` or ``hugging_face``, the fields) the fields in one form, where a kind
        of file has several.
    gguf_halves : whether RoPE rotates the halves of a head in GGUF, as it always does in Hugging Face's
        files, and not neighbouring elements.
    tied : whether the output projection is the embedding where ``config.json`` says nothing of it.
    fused : of a configuration the matrices that files have joined: {name: ((part, rows), ...)}, names
        without layer and ending.
    transposed, shifted : patterns of tensors that Hugging Face has as (K, N), and as gains less 1.
    unused_tensors : patterns of Hugging Face's tensors that are none of the model's.
    of_gguf : of GGUF's fields, whether a file of ``gguf_name`` is of this family.
    gathered : of (the configuration, the file, its arrays and stored types by canonical name) those of the
        graph's tensors, where Hugging Face's files have them in parts.
    quantised : the ``quant_method`` that ``config.json`` may have; the files then have bytes too.
    """

    name: str
    gguf_name: str | None = None
    model_type: str | None = None
    graph: Callable[[ModelConfig], Graph]
    config_type: type[ModelConfig] = ModelConfig
    names: dict[str, str]
    gguf: Callable[[ModelConfig], dict] = plain_gguf
    hugging_face: Callable[[ModelConfig], dict] = plain_hugging_face
    ignored: tuple[str, ...] = ()
    normalise: Callable[[object, str, dict], dict] | None = None
    gguf_halves: bool
    tied: bool = False
    fused: Callable[[ModelConfig], dict] = lambda config: {}
    transposed: tuple[str, ...] = ()
    shifted: tuple[str, ...] = ()
    unused_tensors: tuple[str, ...] = ()
    of_gguf: Callable[[dict], bool] = lambda fields: True
    gathered: Callable = stacked_experts
    quantised: str | None = None

    def canonical(self, name):
        """GGUF's name of Hugging Face's tensor ``name``, or None."""
        number = r"(?<=\.)\d+(?=\.)"
        pattern = self.names.get(re.sub(number, "*", name))
        if pattern is None:
            return None
        numbers = iter(re.findall(number, name))
        return re.sub(r"\*", lambda star: next(numbers), pattern)

    def ignores(self, form, key):
        """Whether the field ``key`` of a ``gguf`` file or ``hugging_face``'s has no effect."""
        return any(fnmatchcase(key, pattern) for pattern in IGNORED[form] + self.ignored)

    def unused(self, name):
        """Whether Hugging Face's tensor ``name`` is none of the model's."""
        return any(fnmatchcase(name, pattern) for pattern in self.unused_tensors)

    def of_hugging_face(self, name, tensor):
        """The array of Hugging Face's ``tensor``, by its canonical ``name``."""
        if any(fnmatchcase(name, pattern) for pattern in self.transposed):
            return np.ascontiguousarray(tensor.T)
        return tensor + np.float32(1) if any(fnmatchcase(name, p) for p in self.shifted) else tensor

    def split(self, config, tensors):
        """``tensors`` of a file with those that are joined in their parts."""
        found = {}
        for name, tensor in tensors.items():
            parts = self._parts(config, name)
            if parts is None or tensor.shape[0] != sum(rows for _, rows in parts):
                found[name] = tensor
                continue
            at = 0
            for part, rows in parts:
                index = slice(at, at + rows)
                found[part] = tensor.rows(index) if hasattr(tensor, "rows") else tensor[index]
                at += rows
        return found

    def fuse(self, config, tensors):
        """The arrays ``tensors`` joined as in files."""
        found = dict(tensors)
        for layer in range(config.layers):
            for joined, parts in self.fused(config).items():
                for ending in ("weight", "bias"):
                    names = [f"blk.{layer}.{part}.{ending}" for part, _ in parts]
                    if names[0] in found:
                        whole = np.concatenate([found.pop(name) for name in names])
                        found[f"blk.{layer}.{joined}.{ending}"] = whole
        return found

    def _parts(self, config, name):
        """The (name, rows) of the parts of a tensor, None if it has none."""
        layer, _, end = name.rpartition(".")[0].rpartition(".")
        parts = self.fused(config).get(end)
        ending = name.rpartition(".")[2]
        return parts and tuple((f"{layer}.{part}.{ending}", rows) for part, rows in parts)
