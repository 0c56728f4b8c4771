"""Families of models, a file each: see :class:`Family`."""

from importlib import import_module

from ..config import ModelError
from .family import Family

__all__ = ["FAMILIES", "Family", "find_family"]

FAMILIES = {
    name: import_module(f".{name}", __name__).FAMILY
    for name in ("llama", "qwen2")  # a file of this folder each
}
"""The known families by name."""


def find_family(name, where):
    """The :class:`Family` ``name``; :class:`ModelError` about the file ``where`` if it is not known."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise ModelError(f"{where}: unknown architecture {name!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]
