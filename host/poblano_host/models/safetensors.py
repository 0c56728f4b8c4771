"""Hugging Face directories: ``config.json``, ``model.safetensors`` (or several files with an index) and
``tokenizer.json``."""

from pathlib import Path

from .arch import find_family
from .checkpoint import read_checkpoint
from .config import ModelError
from .json_file import read_json
from .metadata import Metadata, hugging_face_rope
from .model import Model
from .mxfp4 import unpacked
from .text_files import folder_text

__all__ = ["load_directory", "read_sizes"]


def _of_text(raw):
    """The fields of the text's model where ``config.json`` is of one that also sees."""
    text = raw.get("text_config")
    return raw | text if isinstance(text, dict) else raw


def _fields(path, raw):
    """``config.json`` with RoPE's base beside the others, wherever it is in the file."""
    rope = hugging_face_rope(path, raw)
    base = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    return Metadata(path, "hugging_face", raw | base)


def _packed(path, family, raw):
    """Whether the tensors are quantised in the family's own way."""
    quantised = raw.get("quantization_config")
    method = quantised.get("quant_method") if isinstance(quantised, dict) else None
    if quantised and (method is None or method != family.quantised):
        raise ModelError(
            f"{path}: quantization_config is not supported; "
            f"F32, F16 and BF16 tensors{f' and {family.quantised}' * bool(family.quantised)} are read"
        )
    return bool(quantised)


def _canonical(path, family, config, arrays, kinds):
    """Arrays and stored types by canonical name."""
    names = {name: family.canonical(name) for name in arrays if not family.unused(name)}
    for name, canonical in names.items():
        if canonical is None:
            raise ModelError(f"{path}: unknown tensor {name}")
    if len(set(names.values())) < len(names):
        raise ModelError(f"{path}: two tensors have one meaning")
    tensors = {
        canonical: family.of_hugging_face(canonical, arrays[name]) for name, canonical in names.items()
    }
    kinds = {canonical: kinds[name] for name, canonical in names.items()}
    tensors, kinds = unpacked(path, tensors, kinds)
    return family.gathered(config, path, tensors, kinds)


def _config(path, raw, family, fields, *, bos_id=None, eos_id=None):
    """The configuration that ``config.json`` states."""
    try:
        return fields.config(
            family,
            name=raw.get("_name_or_path", path.parent.name),
            vocab=fields.get("vocab_size"),
            bos_id=bos_id,
            eos_id=eos_id,
            tied=bool(raw.get("tie_word_embeddings", family.tied)),
        )
    except ModelError:
        raise
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: a size or constant is no number: {error}") from None


def read_sizes(path):
    """The :class:`~.config.ModelConfig` of a file like ``config.json``, whatever else there is."""
    path = Path(path)
    raw = _of_text(read_json(path))
    family = find_family(raw.get("model_type"), path, of="model_type")
    return _config(path, raw, family, _fields(path, raw))


def load_directory(folder):
    """The :class:`Model` in a directory; matrices become float32. :class:`ModelError` names what is wrong."""
    folder = Path(folder)
    path = folder / "config.json"
    raw = _of_text(read_json(path))
    family = find_family(raw.get("model_type"), path, of="model_type")
    packed = _packed(path, family, raw)
    fields = _fields(path, raw)
    vocab = fields.get("vocab_size")
    text = folder_text(folder, raw, vocab if isinstance(vocab, int) else None)
    config = _config(path, raw, family, fields, bos_id=text.bos_id, eos_id=text.eos_id)
    path, arrays, kinds = read_checkpoint(folder, packed=packed)
    tensors, stored = _canonical(path, family, config, arrays, kinds)
    if config.tied:
        tensors.pop("output.weight", None)
    elif "output.weight" not in tensors:
        raise ModelError(f"{path}: tensor lm_head.weight is missing and tie_word_embeddings is not set")
    return Model.of_file(path, config, tensors, text.tokenizer, halves=True, stored=stored)
