"""GGUF files as they are: fields and tensors, of a file or of the parts of one; nothing that a file says is
believed before it is known to lie in it."""

from dataclasses import dataclass
import mmap
from pathlib import Path
import re
import struct

import gguf
import numpy as np

from .config import ModelError

__all__ = ["StoredTensor", "read_gguf"]

VERSIONS = (2, 3)
MOST_ELEMENTS = 1 << 24
"""Of an array: sixteen times the largest published vocabulary."""
MOST_DIMENSIONS, MOST_ENTRIES = 4, 1 << 17
"""Of a tensor; and fields or tensors of a file."""
SCALARS = {
    gguf.GGUFValueType.UINT8: "u1",
    gguf.GGUFValueType.INT8: "i1",
    gguf.GGUFValueType.UINT16: "<u2",
    gguf.GGUFValueType.INT16: "<i2",
    gguf.GGUFValueType.UINT32: "<u4",
    gguf.GGUFValueType.INT32: "<i4",
    gguf.GGUFValueType.FLOAT32: "<f4",
    gguf.GGUFValueType.BOOL: "?",
    gguf.GGUFValueType.UINT64: "<u8",
    gguf.GGUFValueType.INT64: "<i8",
    gguf.GGUFValueType.FLOAT64: "<f8",
}
PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


class _Corrupt(Exception):
    """What is wrong with a file's bytes."""


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor of a file: its type, its shape (rows before columns) and its bytes (rows, bytes of a row)."""

    kind: gguf.GGMLQuantizationType
    shape: tuple[int, ...]
    data: np.ndarray


class _Reader:
    """Reads the bytes of a file one behind the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self, count, size, what):
        """:class:`_Corrupt` unless ``count`` things of at least ``size`` bytes are left."""
        if count * size > len(self.data) - self.at:
            raise _Corrupt(f"{what} at byte {self.at} passes the end of the file")

    def number(self, form, what):
        self.left(1, struct.calcsize(form), what)
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self, what):
        size = self.number("<Q", what)
        self.left(size, 1, what)
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def scalars(self, kind, count, what):
        """A list of numbers."""
        form = np.dtype(SCALARS[kind])
        self.left(count, form.itemsize, what)
        values = np.frombuffer(self.data, form, count, self.at).tolist()
        self.at += count * form.itemsize
        return values

    def value(self, what):
        """A field's value: a number, a string or a list of them."""
        kind = gguf.GGUFValueType(self.number("<I", what))
        if kind is gguf.GGUFValueType.STRING:
            return self.string(what)
        if kind is not gguf.GGUFValueType.ARRAY:
            return self.scalars(kind, 1, what)[0]
        kind, count = gguf.GGUFValueType(self.number("<I", what)), self.number("<Q", what)
        if kind is gguf.GGUFValueType.ARRAY:
            raise _Corrupt(f"{what} is an array of arrays, which is not read")
        if count > MOST_ELEMENTS:
            raise _Corrupt(f"{what} has {count} elements; at most {MOST_ELEMENTS} are read")
        if kind is not gguf.GGUFValueType.STRING:
            return self.scalars(kind, count, what)
        self.left(count, 8, what)
        return [self.string(what) for _ in range(count)]


def _fields(reader, count):
    reader.left(count, 13, f"the first of {count} fields")
    fields = {}
    for _ in range(count):
        name = reader.string("a field's name")
        if name in fields:
            raise _Corrupt(f"field {name} occurs twice")
        fields[name] = reader.value(f"field {name}")
    return fields


def _tensor_info(reader):
    """(name, shape, type, offset) of the next tensor."""
    name = reader.string("a tensor's name")
    what = f"tensor {name}"
    dimensions = reader.number("<I", what)
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise _Corrupt(f"{what} has {dimensions} dimensions")
    shape = tuple(reversed(reader.scalars(gguf.GGUFValueType.UINT64, dimensions, what)))
    number = reader.number("<I", what)
    if number not in gguf.GGMLQuantizationType.__members__.values():
        raise _Corrupt(f"{what} has the unknown type {number}")
    if 0 in shape:
        raise _Corrupt(f"{what} of shape {shape} is empty")
    return name, shape, gguf.GGMLQuantizationType(number), reader.number("<Q", what)


def _tensors(reader, infos, alignment):
    """The :class:`StoredTensor` s by name, whose bytes begin at the next multiple of ``alignment``."""
    if not isinstance(alignment, int) or alignment < 1:
        raise _Corrupt(f"general.alignment is {alignment!r}")
    start = -(-reader.at // alignment) * alignment
    tensors, places = {}, []
    for name, shape, kind, offset in infos:
        if name in tensors:
            raise _Corrupt(f"tensor {name} occurs twice")
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        if shape[-1] % elements:
            raise _Corrupt(
                f"tensor {name} has rows of {shape[-1]} elements, not a multiple of {elements} as {kind.name}"
            )
        row, rows = shape[-1] // elements * size, 1
        for n in shape[:-1]:
            rows *= n
        if start + offset + rows * row > len(reader.data):
            raise _Corrupt(f"tensor {name} passes the end of the file")
        data = np.frombuffer(reader.data, np.uint8, rows * row, start + offset).reshape(rows, row)
        tensors[name] = StoredTensor(kind, shape, data)
        places.append((offset, offset + rows * row, name))
    places.sort()
    for (_, end, name), (first, _, other) in zip(places, places[1:]):
        if first < end:
            raise _Corrupt(f"tensors {name} and {other} overlap")
    return tensors


def _read(data):
    reader = _Reader(data)
    magic, version = reader.number("4s", "the magic"), reader.number("<I", "the version")
    if magic != b"GGUF":
        raise _Corrupt(f"the first bytes are {magic!r}, not b'GGUF'")
    if version not in VERSIONS:
        raise _Corrupt(f"version {version} is not read, only 2 and 3")
    tensors, fields = (
        reader.number("<Q", "the number of tensors"),
        reader.number("<Q", "the number of fields"),
    )
    if max(tensors, fields) > MOST_ENTRIES:
        raise _Corrupt(f"{fields} fields and {tensors} tensors; at most {MOST_ENTRIES} are read")
    values = _fields(reader, fields)
    reader.left(tensors, 32, f"the first of {tensors} tensors")
    infos = [_tensor_info(reader) for _ in range(tensors)]
    return values, _tensors(reader, infos, values.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT))


def _read_file(path):
    try:
        with open(path, "rb") as file:
            empty = file.seek(0, 2) == 0
            data = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't read: {error.strerror}") from None
    try:
        return _read(data)
    except (_Corrupt, ValueError) as error:  # also no UTF-8, and a value of no known type
        raise ModelError(f"{path}: truncated or corrupt GGUF: {error}") from None


def read_gguf(path):
    """The fields and the :class:`StoredTensor` s by name of a GGUF file; :class:`ModelError` says what is
    wrong.

    Of a file that is split (``NAME-00001-of-00003.gguf``), ``path`` is any part, and all parts are read.
    """
    part = PART.fullmatch(str(path))
    fields, tensors = _read_file(path)
    count = fields.get("split.count", 1)
    if count in (0, 1):
        return fields, tensors
    if part is None or int(part[3]) != count:
        raise ModelError(f"{path}: one of {count} parts, which is not named NAME-00001-of-{count:05}.gguf")
    fields, tensors = {}, {}
    for n in range(count):
        name = Path(f"{part[1]}-{n + 1:05}-of-{part[3]}.gguf")
        more, some = _read_file(name)
        if (more.get("split.no"), more.get("split.count")) != (n, count):
            raise ModelError(
                f"{name}: not part {n + 1} of {count}, as its fields split.no and split.count say"
            )
        twice = tensors.keys() & some.keys()
        if twice:
            raise ModelError(f"{name}: tensor {min(twice)} is in another part too")
        fields, tensors = more | fields, tensors | some
    total = fields.get("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise ModelError(f"{path}: the parts have {len(tensors)} tensors, not {total}")
    return fields, tensors
