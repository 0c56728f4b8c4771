"""Files that say what can't be: each is refused in one line, before time or memory is spent on it."""

import json
from pathlib import Path
import resource
import shutil
import struct

import gguf
import pytest

from poblano_host.models import ModelError, loader
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.gguf_file import read_gguf
from poblano_host.models.safetensors import load_directory
from poblano_host.models.tokenizer import Tokenizer
from tests.models_files import tiny_tokenizer
from tests.models_tiny import tiny_model
from tests.test_models_errors import refused, rewrite

STRING, ARRAY, UINT32 = (gguf.GGUFValueType[name] for name in ("STRING", "ARRAY", "UINT32"))
DEEP = "[" * 200_000 + "]" * 200_000


@pytest.fixture(autouse=True)
def little_memory():
    """A test that asks for much more memory than there should be fails instead of taking it."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "good.gguf"
    sizes = dict(dim=32, heads=1, kv_heads=1, ffn_dim=32, layers=1, vocab=400, context=32)
    export_gguf(tiny_model(**sizes, tokenizer=Tokenizer(tiny_tokenizer(), "qwen2")), path)
    return path


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def raw(path, fields=b"", tensors=b"", data=b"", *, version=3, counts=None):
    """A GGUF file of bytes; ``counts`` are those of tensors and fields that it states."""
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (0, 0))) + fields + tensors
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def tensor(name, shape, kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


@pytest.mark.parametrize(
    "field, message",
    [
        (
            struct.pack("<IIQ", ARRAY, UINT32, 1 << 60),
            "field x has 1152921504606846976 elements; at most 16777216",
        ),
        (struct.pack("<IIQ", ARRAY, UINT32, 1 << 23), "field x at byte 49 passes the end of the file$"),
        (struct.pack("<IIQ", ARRAY, STRING, 1 << 23), "field x at byte 49 passes the end of the file$"),
        (struct.pack("<IQ", STRING, 1 << 63), "field x at byte 45 passes the end of the file$"),
        (
            struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 50_000,
            "field x is an array of arrays, which",
        ),
        (struct.pack("<II", 99, 0), "99 is not a valid GGUFValueType$"),
        (struct.pack("<IQB", STRING, 1, 255), "'utf-8' codec can't decode byte 0xff"),
        (struct.pack("<II", UINT32, 1) + text("x") + struct.pack("<II", UINT32, 1), "field x occurs twice$"),
    ],
)
def test_gguf_fields(tmp_path, field, message):
    path = raw(tmp_path / "x.gguf", text("x") + field, counts=(0, 2))
    refused(read_gguf, path, "truncated or corrupt GGUF: " + message)


@pytest.mark.parametrize(
    "infos, message",
    [
        (tensor("x", (2,)) + tensor("x", (2,)), "tensor x occurs twice$"),
        (tensor("x", (4, 2)) + tensor("y", (4,), offset=28), "tensors x and y overlap$"),
        (tensor("x", (4,)) + tensor("y", (1 << 40, 1 << 40)), "tensor y passes the end of the file$"),
        (tensor("x", (4,)) + tensor("y", (4,), offset=1 << 63), "tensor y passes the end of the file$"),
        (tensor("x", (4,)) + tensor("y", (0, 4)), r"tensor y of shape \(4, 0\) is empty$"),
        (tensor("x", (4,)) + tensor("y", (1,) * 5), "tensor y has 5 dimensions$"),
        (tensor("x", (4,)) + tensor("y", ()), "tensor y has 0 dimensions$"),
        (tensor("x", (4,)) + tensor("y", (4,), kind=1000), "tensor y has the unknown type 1000$"),
        (
            tensor("x", (4,)) + tensor("y", (320, 2), kind=12),
            "tensor y has rows of 320 elements, not a multiple of 256 as Q4_K$",
        ),
    ],
)
def test_gguf_tensors(tmp_path, infos, message):
    path = raw(tmp_path / "x.gguf", tensors=infos, data=bytes(64), counts=(2, 0))
    refused(read_gguf, path, "truncated or corrupt GGUF: " + message)


def test_gguf_heads(tmp_path):
    path = tmp_path / "x.gguf"
    refused(read_gguf, raw(path, version=1), "version 1 is not read, only 2 and 3$")
    refused(read_gguf, raw(path, version=3 << 24), "version 50331648 is not read")
    refused(
        read_gguf, raw(path, counts=(0, 1 << 62)), "4611686018427387904 fields and 0 tensors; at most 131072"
    )
    refused(
        read_gguf, raw(path, counts=(9, 0)), "the first of 9 tensors at byte 24 passes the end of the file$"
    )
    alignment = text("general.alignment") + struct.pack("<II", UINT32, 0)
    refused(read_gguf, raw(path, alignment, counts=(0, 1)), "general.alignment is 0$")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"change": {"llama.block_count": 3_000_000}}, "3000000 layers, but only 11 tensors$"),
        (
            {
                "change": {"llama.attention.key_length": 1 << 31},
                "drop": ["llama.rope.dimension_count", "llama.attention.value_length"],
            },
            "head_dim (is )?2147483648",
        ),
        (
            {"change": {"llama.attention.head_count": 1 << 31}},
            "heads is 2147483648; no tensor has more than 400",
        ),
        ({"change": {"llama.attention.head_count_kv": [1, 1]}}, r"kv_heads is \[1, 1\]$"),
        (
            {"change": {"llama.embedding_length": (1 << 32) - 32}},
            "dim is 4294967264; no tensor has more than 400",
        ),
        (
            {"change": {"llama.feed_forward_length": (1 << 32) - 32}},
            "ffn_dim is 4294967264; no tensor has more",
        ),
    ],
)
def test_gguf_sizes(good, tmp_path, changes, message):
    path = tmp_path / "bad.gguf"
    if isinstance(next(iter(changes["change"].values())), list):
        changes = {"drop": [*changes["change"]], "add": {k: (v, ARRAY) for k, v in changes["change"].items()}}
    rewrite(good, path, **changes)
    refused(load_gguf, path, message)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(loader.DEFAULT, tmp_path / "model")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_hidden_layers": 3_000_000}, "3000000 layers, but only 38 tensors$"),
        ({"num_hidden_layers": True}, "layers is True$"),
        ({"head_dim": 1 << 31}, "head_dim (is )?2147483648"),
        (
            {"num_attention_heads": 1 << 40},
            "heads is 1099511627776; no tensor has more than 1024 rows or columns",
        ),
        ({"rope_scaling": ["linear", 2]}, r"RoPE scaling \['linear', 2\] is not supported"),
        ({"rope_scaling": "linear"}, "RoPE scaling 'linear' is not supported"),
        ({"max_position_embeddings": 1e999}, "context is inf$"),
    ],
)
def test_config(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=message) as error:
        load_directory(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_deep_json(folder, name):
    path = folder / name
    path.write_text(path.read_text().rstrip()[:-1] + ', "deep": ' + DEEP + "}")
    refused(load_directory, folder, "too deeply nested$", named=path)


def test_other_json(folder):
    path = folder / "tokenizer.json"
    path.write_bytes(b'{"a": "\xff"}')
    refused(
        load_directory, folder, "not a tokenizer: not JSON: 'utf-8' codec can't decode byte 0xff", named=path
    )
    path.unlink()
    refused(load_directory, folder, "no such file$", named=path)
    path.mkdir()
    refused(load_directory, folder, "can't read: Is a directory$", named=path)
    path.rmdir()
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    refused(load_directory, folder, "1099511627776 bytes of JSON; at most 134217728 are read$", named=path)


@pytest.mark.parametrize("id", [1 << 31, (1 << 32) - 1, 1 << 24, -1, "x", None])
def test_ids_of_tokens(folder, id):
    """The tokenizers package ends the process at an id of 2**31."""
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    raw["model"]["vocab"][next(iter(raw["model"]["vocab"]))] = id
    path.write_text(json.dumps(raw))
    refused(load_directory, folder, f"not a tokenizer: the id {id!r} is none of 0 to 16777215$", named=path)


def test_padding_of_tokenizer(folder):
    """Lists of ids are what the text has: neither cut nor filled up."""
    path = folder / "tokenizer.json"
    good = json.loads(path.read_text())
    expected = load_directory(folder).tokenizer.encode("In the beginning")
    cut = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    fill = {"strategy": {"Fixed": 1 << 40}, "direction": "Right", "pad_to_multiple_of": None}
    fill |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
    for change in ({"truncation": cut}, {"padding": fill}):
        path.write_text(json.dumps(good | change))
        assert load_directory(folder).tokenizer.encode("In the beginning") == expected


def test_an_expression_that_does_not_end(folder):
    """The library gives up at a text and panics, which is no Exception."""
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a*)*b|(.+)+$"}, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps(raw | {"pre_tokenizer": split}))
    tokenizer = load_directory(folder).tokenizer
    with pytest.raises(ModelError, match="the tokenizer can't split this text: Onig: Regex search error"):
        tokenizer.encode("a" * 40 + "c in the beginning")


def test_empty_sequence(folder):
    path = folder / "tokenizer.json"
    good = json.loads(path.read_text())
    empty = {"type": "Sequence", "pretokenizers": []}
    path.write_text(json.dumps(good | {"pre_tokenizer": empty}))
    assert load_directory(folder).tokenizer.pre is None
