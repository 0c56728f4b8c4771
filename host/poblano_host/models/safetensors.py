"""Hugging Face directories: ``config.json``, ``model.safetensors`` and ``tokenizer.json``."""

import json
from pathlib import Path

import numpy as np
import safetensors
from safetensors import safe_open

from .arch import find_family
from .config import ModelError
from .metadata import Metadata, hugging_face_rope
from .model import Model
from .tokenizer import Tokenizer

__all__ = ["load_directory"]


def _json(path):
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ModelError(f"{path}: not a JSON object")
    return raw


def _of_text(raw):
    """The fields of the text's model where ``config.json`` is of one that also sees."""
    text = raw.get("text_config")
    return raw | text if isinstance(text, dict) else raw


def _fields(path, raw):
    """``config.json`` with RoPE's base beside the others, wherever it is in the file."""
    rope = hugging_face_rope(path, raw)
    base = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    return Metadata(path, "hugging_face", raw | base)


def _tensors(path, family):
    """float32 arrays by canonical name."""
    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():
                if family.unused(name):
                    continue
                canonical = family.canonical(name)
                if canonical is None:
                    raise ModelError(f"{path}: unknown tensor {name}")
                tensors[canonical] = family.of_hugging_face(
                    canonical, file.get_tensor(name).astype(np.float32)
                )
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path}: truncated or corrupt safetensors: {error}") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: unreadable tensor: {error}") from None
    return tensors


def load_directory(folder):
    """The :class:`Model` in a directory; matrices become float32. :class:`ModelError` names what is wrong."""
    folder = Path(folder)
    path = folder / "config.json"
    raw = _of_text(_json(path))
    family = find_family(raw.get("model_type"), path, of="model_type")
    fields = _fields(path, raw)
    first = lambda ids: ids[0] if isinstance(ids, list) and ids else ids  # several ends of text: the first
    tied = bool(raw.get("tie_word_embeddings", family.tied))
    try:
        config = fields.config(
            family,
            name=raw.get("_name_or_path", folder.name),
            vocab=fields.get("vocab_size"),
            bos_id=first(raw.get("bos_token_id")),
            eos_id=first(raw.get("eos_token_id")),
            tied=tied,
        )
    except ModelError:
        raise
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: a size or constant is no number: {error}") from None
    path = folder / "model.safetensors"
    tensors = _tensors(path, family)
    if tied:
        tensors.pop("output.weight", None)
    elif "output.weight" not in tensors:
        raise ModelError(f"{path}: tensor lm_head.weight is missing and tie_word_embeddings is not set")
    return Model.of_file(path, config, tensors, Tokenizer.from_json(folder / "tokenizer.json"), halves=True)
