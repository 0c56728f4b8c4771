"""The safetensors files of a Hugging Face directory: one, or several with an index."""

import json
from pathlib import Path

import numpy as np
import safetensors
from safetensors import safe_open

from .config import ModelError
from .json_file import read_json

__all__ = ["read_checkpoint"]

TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""What is read, as numpy's types of the same size."""
PACKED = TYPES | {"U8": "u1"}
"""The same, with the bytes of quantised tensors."""
ONE, INDEX = "model.safetensors", "model.safetensors.index.json"


def _header(path):
    """(the header, the byte at which the tensors begin) of a file that the library has found whole."""
    try:
        with safe_open(path, framework="numpy"):
            pass
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return json.loads(file.read(size)), 8 + size
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't read: {error.strerror or error}") from None
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: truncated or corrupt safetensors: {error}") from None


def _tensors(path, types):
    """(the name, the stored type and the array) of each tensor of a file, whose types are ``types``."""
    header, start = _header(path)
    data = None
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind, (first, end) = entry["dtype"], entry["data_offsets"]
        if kind not in types:
            raise ModelError(
                f"{path}: tensor {name} has unsupported type {kind}; {', '.join(types)} are read"
            )
        if first == end:
            raise ModelError(f"{path}: tensor {name} is empty")
        data = np.memmap(path, np.uint8, "r", start) if data is None else data
        array = np.asarray(data[first:end]).view(types[kind]).reshape(entry["shape"])
        if kind == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        yield name, kind, array if kind == "U8" else array.astype(np.float32, copy=kind != "BF16")


def _files(folder):
    """The paths of the files, and (None if there is no index) the names of the tensors of each."""
    if (folder / ONE).exists() or not (folder / INDEX).exists():
        return [folder / ONE], None
    path = folder / INDEX
    names = read_json(path).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{path}: weight_map is missing")
    files: dict = {}
    for name, file in names.items():
        if not isinstance(file, str) or file in ("", ".", "..") or Path(file).name != file:
            raise ModelError(f"{path}: tensor {name} is in {file!r}, which is no file beside it")
        files.setdefault(folder / file, set()).add(name)
    return sorted(files), files


def read_checkpoint(folder, *, packed=False):
    """(the path for messages, arrays and stored types by name) of the tensors of a directory: float32, and
    with ``packed`` bytes as they are."""
    paths, expected = _files(folder)
    arrays: dict = {}
    kinds: dict = {}
    for path in paths:
        found = set()
        for name, kind, array in _tensors(path, PACKED if packed else TYPES):
            if name in arrays:
                raise ModelError(f"{path}: tensor {name} is in another file too")
            arrays[name], kinds[name] = array, kind
            found.add(name)
        if expected is not None and found != expected[path]:
            name = min(found ^ expected[path])
            raise ModelError(
                f"{path}: tensor {name} is {'not in it' if name not in found else 'not in the index'}"
            )
    if not arrays:
        raise ModelError(f"{paths[0]}: no tensors")
    return paths[0] if expected is None else folder / INDEX, arrays, kinds
