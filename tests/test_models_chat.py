"""Chat templates against llama.cpp's renderer; templates that fail or have no end; where files keep them."""

import json
import shutil
from types import SimpleNamespace

import pytest

from poblano_host.models import ModelError, load_model
from poblano_host.models.chat import chat_ids, render_chat
from poblano_host.models.gguf import load_gguf
from poblano_host.models.loader import DEFAULT
from poblano_host.models.safetensors import load_directory
from tests.chat_templates import CONVERSATIONS, TEMPLATES
from tests.models_text import LlamaCpp, byte_pairs, scored_pieces, write_gguf

ONE_TURN = CONVERSATIONS["one turn"]


SENTENCE_PIECE = ("llama2", "mistral", "gemma3", "phi3")


@pytest.mark.parametrize("family", TEMPLATES)
def test_families_against_llama_cpp(family, tmp_path):
    """The text, with and without a system turn, and its ids. llama.cpp takes a begin of text that it puts
    before the ids away from the text."""
    text = scored_pieces() if family in SENTENCE_PIECE else byte_pairs("llama-bpe")
    path = write_gguf(tmp_path / "model.gguf", text, template=TEMPLATES[family])
    model, llama_cpp = load_gguf(path), LlamaCpp(path)
    for conversation in CONVERSATIONS.values():
        text, theirs = render_chat(model, conversation), llama_cpp.render(conversation)
        assert text == theirs or (model.tokenizer.framing.add_bos and text == f"<s>{theirs}")
        assert chat_ids(model, conversation) == llama_cpp.tokenize(theirs, add_special=True)


@pytest.mark.slow
def test_smollm2_has_its_own_system_turn():
    model = load_model("smollm2")
    text = render_chat(model, [{"role": "user", "content": "What is a poblano?"}])
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is a poblano?<|im_end|>\n<|im_start|>assistant\n"
    )


def with_template(template):
    """What :func:`render_chat` looks at of a model."""
    tokenizer = SimpleNamespace(framing=SimpleNamespace(template=template))
    return SimpleNamespace(config=SimpleNamespace(name="odd", bos_id=None, eos_id=None), tokenizer=tokenizer)


@pytest.mark.parametrize(
    "template, message",
    [
        (
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "it takes more than 3 seconds",
        ),
        ("{{ 'a' * 10**10 }}", "it needs too much memory"),
        (
            "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "it needs too much memory",
        ),
        ("{{ 'ab' * 10**6 }}", "it makes more than 1048576 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "it calls itself without end"),
        ("{{" + "(" * 100_000, "it calls itself without end"),
        ("{{ raise_exception('no\nway') }}", "no way"),
        ("{% if %}", "line 1: Expected an expression, got 'end of statement block'"),
        ("{{ messages[0].nope.x }}", "'dict object' has no attribute 'nope'"),
        ("{{ 'a' + 1 }}", 'can only concatenate str (not "int") to str'),
        ("{{ ''.__class__ }}{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
        ("{% include '/etc/passwd' %}", "no loader for this environment specified"),
    ],
)
def test_bad_templates(template, message):
    with pytest.raises(ModelError) as error:
        render_chat(with_template(template), ONE_TURN)
    assert str(error.value).startswith(f"odd: its chat template fails: {message}")
    assert "\n" not in str(error.value)


def test_no_template():
    with pytest.raises(ModelError, match="^poblano-1m has no chat template$"):
        render_chat(load_model("default"), ONE_TURN)


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"tokenizer_config.json": {"chat_template": "A{{ bos_token }}"}}, "A<|endoftext|>"),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [
                        {"name": "tool_use", "template": "B"},
                        {"name": "default", "template": "C"},
                    ]
                }
            },
            "C",
        ),
        ({"tokenizer_config.json": {"chat_template": "D"}, "chat_template.jinja": "E"}, "E"),
        (
            {"tokenizer_config.json": {"chat_template": [{"name": "rag", "template": "F"}]}},
            "none of its chat templates is named default",
        ),
        ({"tokenizer_config.json": {"chat_template": 3}}, "the chat template is no text"),
        ({"tokenizer_config.json": [3]}, "not a JSON object"),
        ({"tokenizer_config.json": {"add_bos_token": "x"}}, "add_bos_token is 'x', not true or false"),
        ({"tokenizer_config.json": {"bos_token": 5}}, "bos_token is 5, no token"),
        ({"generation_config.json": {"eos_token_id": [0, "x"]}}, "an end token is 'x', which the tokenizer"),
    ],
)
def test_directories(tmp_path, files, expected):
    folder = shutil.copytree(DEFAULT, tmp_path / "model")
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    if " " not in expected:
        assert render_chat(load_directory(folder), ONE_TURN) == expected
        return
    with pytest.raises(ModelError, match=expected):
        load_directory(folder)


def test_ends_of_directories(tmp_path):
    """The lists of both configurations count, and the tokenizer's own end."""
    folder = shutil.copytree(DEFAULT, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [3, 4]}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [5]}))
    model = load_directory(folder)
    assert model.ends == {0, 3, 4, 5} and model.framed("a")[0] == 0
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False}))
    model = load_directory(folder)
    assert model.ends == {0, 3, 4, 5} and model.framed("a") == model.tokenizer.encode("a")
    assert model.config.eos_id == 3
