"""Everything that keeps a file from being read, and not only what the loader finds first."""

from collections import Counter
from pathlib import Path

from .arch import find_family
from .config import ModelError
from .gguf_file import read_gguf
from .gguf_types import TYPES
from .json_file import read_json
from .metadata import Metadata
from .text_files import gguf_tokenizer

__all__ = ["file_facts", "missing"]


def _checked(check, *arguments):
    """The message of the :class:`ModelError` that a check raises, if it does, in a list."""
    try:
        check(*arguments)
    except ModelError as error:
        return [str(error)]
    return []


def _gguf_family(fields, path):
    return find_family(fields.get("general.architecture"), path, of="gguf_name", fields=fields.values)


def missing(path, error):
    """Lines about what keeps the file or directory ``path`` from being read: its family, its types of
    tensors, its tokenizer; ``error``, the loader's :class:`ModelError`, if that is something else."""
    path, lines = Path(path), []
    if path.is_dir():
        lines += _checked(
            lambda: find_family(read_json(path / "config.json").get("model_type"), path, of="model_type")
        )
    elif path.suffix == ".gguf" and not _checked(read_gguf, path):
        values, stored = read_gguf(path)
        fields = Metadata(path, "gguf", values)
        lines += _checked(lambda: _gguf_family(fields, path))
        kinds = Counter(tensor.kind for tensor in stored.values() if tensor.kind not in TYPES)
        lines += [
            f"{path}: {count} tensors have the type {kind.name}, which is not read"
            for kind, count in kinds.items()
        ]
        lines += _checked(gguf_tokenizer, fields)
    return lines or [str(error)]


def file_facts(path):
    """(name, text) pairs of what a GGUF file or a directory says of itself, whether or not it is a model that
    can be read."""
    path = Path(path)
    if path.is_dir():
        raw = read_json(path / "config.json")
        return [("family", str(raw.get("model_type"))), ("name", str(raw.get("_name_or_path", path.name)))]
    if path.suffix != ".gguf":
        return []
    values, stored = read_gguf(path)
    kinds = Counter(tensor.kind.name for tensor in stored.values())
    return [
        ("family", str(values.get("general.architecture"))),
        ("name", str(values.get("general.name"))),
        ("tokenizer", str(values.get("tokenizer.ggml.model"))),
        ("stored types", ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())),
    ]
