"""Hugging Face directories: ``config.json``, ``model.safetensors`` and ``tokenizer.json`` of a Llama
model."""

import json
from pathlib import Path

import numpy as np
import safetensors
from safetensors import safe_open

from .model import Model, ModelConfig, ModelError, interleave_rope
from .tokenizer import Tokenizer

__all__ = ["load_directory"]

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _canonical(name):
    """GGUF's name of a Hugging Face tensor, or None."""
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    parts = name.split(".")
    inner = ".".join(parts[3:-1])
    if parts[:2] == ["model", "layers"] and parts[-1] == "weight" and inner in _NAMES:
        return f"blk.{parts[2]}.{_NAMES[inner]}.weight"
    return None


def load_directory(folder):
    """The :class:`Model` in a directory; matrices become float32. :class:`ModelError` names what is wrong."""
    folder = Path(folder)
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ModelError(f"{path}: not a JSON object")
    architecture = raw.get("model_type")
    if architecture != "llama":
        raise ModelError(f"{path}: unknown architecture {architecture!r}; known are llama")
    if raw.get("hidden_act", "silu") != "silu":
        raise ModelError(f"{path}: hidden_act {raw['hidden_act']!r} is not supported, only 'silu'")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ModelError(f"{path}: RoPE scaling {kind!r} is not supported")
    kv_heads = raw.get("num_key_value_heads")
    first = lambda ids: ids[0] if isinstance(ids, list) and ids else ids  # several ends of text: the first
    try:
        config = ModelConfig(
            architecture=architecture,
            name=raw.get("_name_or_path", folder.name),
            dim=raw["hidden_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            kv_heads=raw["num_attention_heads"] if kv_heads is None else kv_heads,
            head_dim=raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"],
            ffn_dim=raw["intermediate_size"],
            vocab=raw["vocab_size"],
            context=raw["max_position_embeddings"],
            rope_base=float(rope.get("rope_theta", raw.get("rope_theta", 10000.0))),
            norm_eps=float(raw["rms_norm_eps"]),
            bos_id=first(raw.get("bos_token_id")),
            eos_id=first(raw.get("eos_token_id")),
        )
    except KeyError as error:
        raise ModelError(f"{path}: {error.args[0]} is missing") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: a size or constant is no number: {error}") from None
    config.check(path)
    shapes = config.shapes()

    tensors = {}
    path = folder / "model.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():
                canonical = _canonical(name)
                if canonical is None:
                    raise ModelError(f"{path}: unknown tensor {name}")
                value = file.get_tensor(name).astype(np.float32)
                if value.shape != shapes.get(canonical):
                    pass  # Model.check names it
                elif canonical.endswith("attn_q.weight"):
                    value = interleave_rope(value, config.heads)
                elif canonical.endswith("attn_k.weight"):
                    value = interleave_rope(value, config.kv_heads)
                tensors[canonical] = value
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path}: truncated or corrupt safetensors: {error}") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: unreadable tensor: {error}") from None
    if raw.get("tie_word_embeddings", False):
        tensors.pop("output.weight", None)
    elif "output.weight" not in tensors:
        raise ModelError(f"{path}: tensor lm_head.weight is missing and tie_word_embeddings is not set")
    model = Model(config, tensors, Tokenizer.from_json(folder / "tokenizer.json"))
    model.check(path)
    return model
