"""``tokenizer.json`` before the ``tokenizers`` package reads it, which ends the process at some contents."""

from .config import ModelError
from .json_file import read_json

__all__ = ["read_tokenizer_json"]

MOST_TOKENS = 1 << 24
"""Sixteen times the largest published vocabulary; the package has a place for every id up to the largest."""


def read_tokenizer_json(path):
    """The object in a ``tokenizer.json`` (a Path), without what cuts and fills up lists of ids;
    :class:`ModelError` says what is wrong."""
    raw = read_json(path, "not a tokenizer: ")
    model = raw.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    for id in vocabulary.values() if isinstance(vocabulary, dict) else ():
        if not isinstance(id, int) or not 0 <= id < MOST_TOKENS:
            raise ModelError(f"{path}: not a tokenizer: the id {id!r} is none of 0 to {MOST_TOKENS - 1}")
    return raw | {"truncation": None, "padding": None}
