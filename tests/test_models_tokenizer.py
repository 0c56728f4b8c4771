"""The tokenizers against llama.cpp's, and text as tokens arrive."""

import json
import unicodedata
import urllib.request

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from poblano_host.models import load_model
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.tokenizer import Tokenizer
from tests.models_files import TEXTS, tiny_tokenizer
from tests.models_tiny import tiny_model

MODEL = load_model("default")


def check_against_llama_cpp(tokenizer, path):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 256
    params.cpuparams.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    for text in TEXTS:
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.listening_address}/tokenize", body, headers)
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["tokens"] == tokenizer.encode(text), text
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_default_tokenizer_against_llama_cpp(tmp_path):
    export_gguf(MODEL, tmp_path / "model.gguf")
    check_against_llama_cpp(MODEL.tokenizer, tmp_path / "model.gguf")
    check_against_llama_cpp(load_gguf(tmp_path / "model.gguf").tokenizer, tmp_path / "model.gguf")


def test_qwen2_tokenizer_against_llama_cpp(tmp_path):
    """From tokenizer.json text is normalised to NFC first, which GGUF and llama.cpp don't do."""
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_json(tmp_path / "tokenizer.json")
    assert tokenizer.pre == "qwen2"
    model = tiny_model(family="qwen2", dim=128, vocab=416, tokenizer=tokenizer)
    export_gguf(model, tmp_path / "model.gguf")
    ours = load_gguf(tmp_path / "model.gguf").tokenizer
    check_against_llama_cpp(ours, tmp_path / "model.gguf")
    for text in TEXTS:
        assert tokenizer.encode(text) == ours.encode(unicodedata.normalize("NFC", text))


@pytest.mark.slow
def test_smollm2_tokenizer_against_llama_cpp():
    from poblano_host.models.loader import smollm2_path

    check_against_llama_cpp(load_model("smollm2").tokenizer, smollm2_path())


@pytest.mark.slow
def test_smollm2_chat_prompt():
    tokenizer = load_model("smollm2").tokenizer
    ids = tokenizer.encode(tokenizer.chat_prompt("What is a poblano?"))
    assert ids.count(tokenizer.id_of("<|im_start|>")) == 3 and ids.count(tokenizer.id_of("<|im_end|>")) == 2
    assert tokenizer.is_special(ids[0])
    assert tokenizer.decode(ids).endswith(
        "<|im_start|>user\nWhat is a poblano?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_chat_prompt_without_chatml():
    assert MODEL.tokenizer.chat_prompt("text") == "text"


def test_special_tokens():
    end = MODEL.tokenizer.id_of("<|endoftext|>")
    assert MODEL.tokenizer.is_special(end) and MODEL.tokenizer.is_added(end)
    assert not MODEL.tokenizer.is_special(end + 1) and not MODEL.tokenizer.is_added(end + 1)
    assert MODEL.tokenizer.id_of("no such token") is None


@settings(deadline=None)
@given(st.one_of(st.text().map(MODEL.tokenizer.encode), st.lists(st.integers(0, MODEL.config.vocab - 1))))
def test_stream_equals_decode(ids):
    stream = MODEL.tokenizer.stream()
    assert "".join([*map(stream.push, ids), stream.flush()]) == MODEL.tokenizer.decode(ids)


def test_stream_waits_for_a_whole_character():
    ids = MODEL.tokenizer.encode("日")
    stream = MODEL.tokenizer.stream()
    assert len(ids) > 1 and [stream.push(i) for i in ids] == [""] * (len(ids) - 1) + ["日"]
    assert stream.flush() == ""
    stream.push(ids[0])
    assert stream.flush() == "\ufffd"
