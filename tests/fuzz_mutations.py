"""Damage to files: of bytes, of JSON and of text, from a random generator of numpy."""

from copy import deepcopy
import json
import struct

import gguf

from poblano_host.models.gguf_file import read_gguf

__all__ = ["damaged_bytes", "damaged_gguf", "damaged_json", "damaged_text"]

NUMBERS = (
    0,
    1,
    2,
    7,
    255,
    1 << 15,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
VALUES = (
    *(None, True, False, "", "x", "a" * 999, "\ud800", [], {}, [[]], [None], {"": None}, [1, 2], ["a"]),
    *(-1, 0, 1, 2, 33, 1 << 31, 1 << 32, 1 << 63, 10**30, 3_000_000, 0.5, -0.0, 1e308, 1e999, float("nan")),
)
WORDS = (
    "-1",
    "0x",
    "1e999",
    "1" * 40,
    "0b2",
    "nan",
    "wait",
    ">=",
    ";",
    "=",
    "tile0.matmul",
    "\x00",
    "é",
    "LOAD",
    "-",
)


def _value(generator):
    """One of the values; what becomes of it is not seen by a later case."""
    return deepcopy(VALUES[generator.integers(len(VALUES))])


def damaged_bytes(data, generator, head):
    """``data`` with some bytes changed, moved, left out or cut off; most often in the first ``head``."""
    data = bytearray(data)
    for _ in range(generator.integers(1, 4)):
        if not data:
            break
        place = int(generator.integers(len(data) if generator.random() < 0.2 else min(head, len(data))))
        length = int(generator.integers(1, 64))
        match generator.integers(8):
            case 0:
                data[place] ^= 1 << generator.integers(8)
            case 1:
                data[place] = int(generator.integers(256))
            case 2 | 3 | 4:
                size = int(generator.choice((4, 8)))
                number = int(NUMBERS[generator.integers(len(NUMBERS))]) & (1 << 8 * size) - 1
                data[place : place + size] = number.to_bytes(size, "little")
            case 5:
                del data[place : place + length]
            case 6:
                data[place:place] = data[place : place + length]
            case 7:
                del data[place:]
    return bytes(data)


def _places(value, found, depth=0):
    """(container, key) of every value in parsed JSON; of long lists and objects, some."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, item in items if len(items) < 40 else items[:10] + items[-10:]:
        found.append((value, key))
        if isinstance(item, (dict, list)) and depth < 8:
            _places(item, found, depth + 1)
    return found


def _string(text):
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data


def _field(value, generator):
    """A field's type and value as bytes."""
    kinds = gguf.GGUFValueType
    if isinstance(value, str):
        return struct.pack("<I", kinds.STRING) + _string(value)
    if isinstance(value, bool):
        return struct.pack("<I?", kinds.BOOL, value)
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        narrow = -(1 << 31) <= value < 1 << 32 and generator.random() < 0.9
        kind = f"{'U' * (value >= 0)}INT{32 if narrow else 64}"
        form = {"INT32": "i", "UINT32": "I", "INT64": "q", "UINT64": "Q"}[kind]
        return struct.pack("<I" + form, kinds[kind], value)
    if isinstance(value, (int, float)):
        return struct.pack("<Id", kinds.FLOAT64, min(value, 1e308))
    if isinstance(value, list) and all(isinstance(item, (str, int)) for item in value):
        strings = [item for item in value if isinstance(item, str)]
        kind = kinds.STRING if strings or not value else kinds.INT64
        head = struct.pack("<IIQ", kinds.ARRAY, kind, len(value))
        return head + b"".join(
            _string(str(item)) if kind == kinds.STRING else struct.pack("<q", item % (1 << 63))
            for item in value
        )
    depth = int(generator.integers(1, 5000))  # an array of arrays
    return (
        struct.pack("<I", kinds.ARRAY) + struct.pack("<IQ", kinds.ARRAY, 1) * depth + struct.pack("<IQ", 0, 0)
    )


def damaged_gguf(path, generator):
    """A GGUF file written anew with other fields and other facts about its tensors, or with damaged bytes."""
    if generator.random() < 0.4:
        return damaged_bytes(path.read_bytes(), generator, 12000)
    fields, tensors = read_gguf(path)
    fields, tensors = dict(fields), dict(tensors)
    changed: dict = {}
    for _ in range(generator.integers(1, 3)):
        name = str(generator.choice(sorted(fields if generator.random() < 0.7 else tensors)))
        if name not in fields:
            changed[name] = generator.integers(4)
        elif generator.random() < 0.2:
            del fields[name]
        elif isinstance(fields[name], list) and generator.random() < 0.7 and fields[name]:
            fields[name] = [*fields[name]]
            place = int(generator.integers(len(fields[name])))
            fields[name][place] = _value(generator)
        else:
            fields[name] = _value(generator)
    head = b"".join(_string(name) + _field(value, generator) for name, value in fields.items())
    infos, data = b"", b""
    for name, tensor in tensors.items():
        shape, kind, at = list(reversed(tensor.shape)), int(tensor.kind), len(data)
        match changed.get(name):
            case 0:
                shape[generator.integers(len(shape))] = int(NUMBERS[generator.integers(len(NUMBERS))])
            case 1:
                kind = int(generator.integers(45))
            case 2:
                at = int(NUMBERS[generator.integers(len(NUMBERS))])
            case 3:
                name = str(generator.choice((*tensors, "x", "blk.0.attn_q.bias", "blk.1.attn_q.weight")))
        infos += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, at)
        data += tensor.data.tobytes()
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + head + infos
    return head + bytes(-len(head) % 32) + data


def damaged_json(text, generator):
    """JSON with some values replaced or left out, or with damaged bytes."""
    if generator.random() < 0.2:
        return damaged_bytes(text.encode(), generator, 4000)
    raw = json.loads(text)
    for _ in range(generator.integers(1, 4)):
        places = _places(raw, [])
        if not places:
            break
        container, key = places[generator.integers(len(places))]
        choice = generator.integers(len(VALUES) + 4)
        if choice < len(VALUES):
            container[key] = deepcopy(VALUES[choice])
        elif choice == len(VALUES):
            del container[key]
        elif choice == len(VALUES) + 1:
            deep: list = []
            for _ in range(500):
                deep = [deep]
            container[key] = deep
        elif choice == len(VALUES) + 2 and isinstance(container, dict):
            container["x" + str(key)] = container[key]
        else:
            container[key] = [container[key]]
    data = json.dumps(raw)
    if generator.random() < 0.02:
        data = data[:1] + '"deep":' + "[" * 100_000 + "]" * 100_000 + "," + data[1:]
    return data.encode()


def damaged_text(text, generator):
    """A text with words replaced, left out or put in, or with damaged bytes."""
    if generator.random() < 0.3:
        return damaged_bytes(text.encode(), generator, len(text))
    words = text.split(" ")
    for _ in range(generator.integers(1, 4)):
        place = int(generator.integers(len(words)))
        word = str(WORDS[generator.integers(len(WORDS))])
        match generator.integers(4):
            case 0:
                words[place] = word
            case 1:
                words.insert(place, word)
            case 2:
                words[place] = words[place].partition("=")[0] + "=" + word
            case 3:
                words[place] = words[place][: len(words[place]) // 2]
    return " ".join(words).encode()
