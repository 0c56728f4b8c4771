"""The command that tells what a model's file is, and what is missing."""

import json
import struct

import gguf
import pytest

from poblano_host.models import load_model
from poblano_host.models.gguf import export_gguf
from tests.chat_templates import TEMPLATES
from tests.models_text import byte_pairs, scored_pieces, write_gguf
from tests.test_models_errors import rewrite


def test_default_model(poblano, tmp_path):
    """Its facts; what its tensors are on the chip, and that they add up to the roofline of a token."""
    status, out, error = poblano("model", "--json", tmp_path / "model.json")
    assert (status, error) == (0, f"wrote {tmp_path / 'model.json'}: the figures\n")
    for text in ("poblano-1m", "byte-level BPE (gpt-2)", "38 F16", "0 '<|endoftext|>'", "blk.*.attn_q"):
        assert text in out
    figures = json.loads((tmp_path / "model.json").read_text())
    assert figures["facts"]["parameters"] == "918,656" and len(figures["tensors"]) == 38
    rows = {row["tensor"]: row for row in figures["tensors"]}
    assert rows["blk.0.attn_q.weight"] == dict(
        tensor="blk.0.attn_q.weight",
        count=1,
        stored="F16",
        shape=[128, 128],
        held="q8_0",
        bytes=128 * 4 * 34,
        cycles=128 * 4 * 34 / 32,
    )
    matrices = sum(row["cycles"] for row in rows.values() if row["held"] == "q8_0")
    assert matrices < figures["least_cycles_of_a_token"] < 1.1 * matrices
    assert poblano("model", "--tensors")[1].count("attn_q.weight") == 4


def test_text_of_a_model(poblano, tmp_path):
    path = write_gguf(tmp_path / "m.gguf", scored_pieces(), template=TEMPLATES["llama2"])
    out = poblano("model", path)[1]
    for text in (
        "SentencePiece",
        "begin ",
        "2 '</s>', 4 '<|im_end|>'",
        f"{len(TEMPLATES['llama2'])} characters",
    ):
        assert text in out


def fails(result, *messages):
    status, out, error = result
    assert status == 2 and error.count("\n") == 1 and error.startswith("poblano: ")
    for message in messages:
        assert message in out + error
    return out


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "good.gguf"
    export_gguf(load_model("default"), path)
    return path


def test_all_that_is_missing(poblano, tmp_path, exported):
    """Not what the loader finds first, but all: the family, types of tensors, the tokenizer."""
    path = tmp_path / "odd.gguf"
    rewrite(exported, path, change={"tokenizer.ggml.pre": "viking"}, kind=gguf.GGMLQuantizationType.Q8_0)
    data = path.read_bytes()
    name = b"\x05\0\0\0\0\0\0\0llama"
    data = data.replace(name, name[:-5] + b"mamba")
    header = b"attn_q.weight" + struct.pack("<IQQI", 2, 128, 128, gguf.GGMLQuantizationType.Q8_0)
    assert data.count(header) == 4
    path.write_bytes(data.replace(header, header[:-4] + struct.pack("<I", gguf.GGMLQuantizationType.I8)))
    out = fails(
        poblano("model", path),
        f"missing: {path}: unknown architecture 'mamba'",
        "tensors have the type I8, which is not read",
        "missing: ",
        "unknown pre-tokenizer 'viking'",
    )
    assert out.count("missing: ") == 3 and "4 I8" in out


def test_what_does_not_fit(poblano, tmp_path):
    fails(poblano("model", "--preset", "nano", "--context", 100_000), "a context of 100000 positions")
    fails(poblano("model", tmp_path / "none.gguf"), "none.gguf: no such file")
    fails(poblano("model", "none"), "none: no model; give default")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    fails(poblano("model", tmp_path), "missing: ", "unknown architecture 'mamba'", "family")
    path = write_gguf(tmp_path / "m.gguf", byte_pairs("qwen2") | {"eot_token_id": 99999})
    fails(poblano("model", path), "missing: ", "an end token is 99999")
