"""Reads a JSON file that should hold an object."""

import json

from .config import ModelError

__all__ = ["MOST_BYTES", "read_json"]

MOST_BYTES = 1 << 27
"""Of a file: four times the largest published tokenizer."""


def read_json(path, prefix=""):
    """The object in the JSON file at ``path`` (a Path); :class:`ModelError` says what is wrong, after
    ``prefix``."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ModelError(f"{path}: {size} bytes of JSON; at most {MOST_BYTES} are read")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't read: {error.strerror}") from None
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(f"{path}: {prefix}not JSON: {error}") from None
    except RecursionError:
        raise ModelError(f"{path}: {prefix}too deeply nested") from None
    if not isinstance(raw, dict):
        raise ModelError(f"{path}: {prefix}not a JSON object")
    return raw
