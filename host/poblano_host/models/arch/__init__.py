"""Families of models, a file each: see :class:`Family`."""

from importlib import import_module

from ..config import ModelError
from .family import Family

__all__ = ["FAMILIES", "Family", "find_family"]

FAMILIES = {
    name: import_module(f".{name}", __name__).FAMILY
    for name in (  # a file of this folder each
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "smollm3",
        "phi3",
        "granite",
        "gemma3",
        "gpt2",
        "mixtral",
        "olmoe",
        "qwen3moe",
        "qwen2moe",
        "gpt_oss",
        "deepseek",
        "dots1",
    )
}
"""The known families by name."""


def find_family(name, where, *, of="name", fields=None):
    """The :class:`Family` whose ``gguf_name`` or ``model_type`` (``of``) is ``name``, of GGUF's the one whose
    the ``fields`` are; :class:`ModelError` about the file ``where`` if it is not known."""
    known: dict = {}
    for family in FAMILIES.values():
        known.setdefault(getattr(family, of, None) or family.name, []).append(family)
    if not isinstance(name, str) or name not in known:
        raise ModelError(f"{where}: unknown architecture {name!r}; known are {', '.join(known)}")
    return next(family for family in known[name] if fields is None or family.of_gguf(fields))
