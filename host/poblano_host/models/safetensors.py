"""Hugging Face directories: ``config.json``, ``model.safetensors`` (or several files with an index) and
``tokenizer.json``."""

from pathlib import Path

from .arch import find_family
from .checkpoint import read_checkpoint
from .config import ModelError
from .json_file import read_json
from .metadata import Metadata
from .model import Model
from .text_files import folder_text

__all__ = ["load_directory"]


def _fields(path, raw):
    """``config.json`` with its RoPE's constants beside the others, wherever they are in the file."""
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelError(f"{path}: RoPE scaling {rope!r} is not supported")
    kind = rope.get("rope_type", rope.get("type", "default"))
    base = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    return Metadata(path, "hugging_face", raw | base | {"RoPE scaling": kind})


def _canonical(path, family, arrays, kinds):
    """Arrays and stored types by canonical name."""
    names = {name: family.canonical(name) for name in arrays}
    for name, canonical in names.items():
        if canonical is None:
            raise ModelError(f"{path}: unknown tensor {name}")
    if len(set(names.values())) < len(names):
        raise ModelError(f"{path}: two tensors have one meaning")
    return ({canonical: values[name] for name, canonical in names.items()} for values in (arrays, kinds))


def load_directory(folder):
    """The :class:`Model` in a directory; matrices become float32. :class:`ModelError` names what is wrong."""
    folder = Path(folder)
    path = folder / "config.json"
    raw = read_json(path)
    family = find_family(raw.get("model_type"), path)
    if raw.get("quantization_config"):
        raise ModelError(f"{path}: quantization_config is not supported; F32, F16 and BF16 tensors are read")
    fields = _fields(path, raw)
    vocab = fields.get("vocab_size")
    text = folder_text(folder, raw, vocab if isinstance(vocab, int) else None)
    tied = bool(raw.get("tie_word_embeddings", False))
    try:
        config = fields.config(
            family,
            name=raw.get("_name_or_path", folder.name),
            vocab=vocab,
            bos_id=text.bos_id,
            eos_id=text.eos_id,
            tied=tied,
        )
    except ModelError:
        raise
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: a size or constant is no number: {error}") from None
    path, arrays, kinds = read_checkpoint(folder)
    tensors, stored = _canonical(path, family, arrays, kinds)
    if tied:
        tensors.pop("output.weight", None)
    elif "output.weight" not in tensors:
        raise ModelError(f"{path}: tensor lm_head.weight is missing and tie_word_embeddings is not set")
    return Model.of_file(path, config, tensors, text.tokenizer, halves=True, stored=stored)
