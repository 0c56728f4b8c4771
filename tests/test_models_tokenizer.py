"""The tokenizers against llama.cpp's, and text as tokens arrive."""

import json
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers

from poblano_host.models import ModelError, load_model
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.loader import DEFAULT
from poblano_host.models.pre_tokenizers import PRE_TOKENIZERS
from poblano_host.models.tokenizer import SPACE, Tokenizer
from tests.models_files import TEXTS, tiny_tokenizer
from tests.models_text import SPECIAL, LlamaCpp, byte_pairs, lines, scored_pieces, write_gguf
from tests.models_tiny import tiny_model

MODEL = load_model("default")


def check_against_llama_cpp(tokenizer, path):
    llama_cpp = LlamaCpp(path)
    for text in TEXTS:
        assert llama_cpp.tokenize(text) == tokenizer.encode(text), text
        assert tokenizer.decode(tokenizer.encode(text)) == text


KINDS = {name: (byte_pairs, dict(pre=name)) for name in PRE_TOKENIZERS} | {
    "llama": (scored_pieces, {}),
    "gemma": (scored_pieces, dict(add_space_prefix=False)),
    "scores alike": (scored_pieces, dict(scores=[0.0] * len(scored_pieces()["tokens"]))),
}
"""Every tokenizer of GGUF files, as fields."""


@pytest.mark.parametrize("kind", KINDS)
def test_lines_against_llama_cpp(kind, tmp_path):
    """2,000 lines of mixed text; 200 where another name stands for the same tokenizer."""
    make, fields = KINDS[kind]
    path = write_gguf(tmp_path / "model.gguf", make() | fields if make is scored_pieces else make(**fields))
    tokenizer, llama_cpp = load_gguf(path).tokenizer, LlamaCpp(path)
    first = next((name for name in PRE_TOKENIZERS if PRE_TOKENIZERS[name] is PRE_TOKENIZERS.get(kind)), kind)
    text = lines()[: None if first == kind else 200]
    ours = [tokenizer.encode(line) for line in text]
    if llama_cpp.tokenize(text) != [id for ids in ours for id in ids]:
        for line, ids in zip(text, ours):
            assert llama_cpp.tokenize(line) == ids, line
    for line, ids in zip(text, ours):
        if "\n\n" not in line or not tokenizer.prefixed:  # a space is put behind a token found whole
            assert tokenizer.decode(ids) == (line if make is byte_pairs else line.replace(SPACE, " "))


@pytest.mark.parametrize("make", [lambda **more: byte_pairs("qwen2", **more), scored_pieces])
@pytest.mark.parametrize(
    "fields", [{}, {"add_bos_token": False}, {"add_bos_token": True}, {"add_eos_token": True}]
)
def test_framing_against_llama_cpp(make, fields, tmp_path):
    """Whether tokens go before and behind a prompt, by default and where the file says."""
    path = write_gguf(tmp_path / "model.gguf", make(**fields))
    model, llama_cpp = load_gguf(path), LlamaCpp(path)
    for text in ("Hello there", "", " x", "<|im_start|>a"):
        assert model.framed(text) == llama_cpp.tokenize(text, add_special=True), text


def test_begin_of_llama_3(tmp_path):
    """Llama 3's files need not say that text has a begin; a prompt that has it gets no second."""
    model = load_gguf(write_gguf(tmp_path / "model.gguf", byte_pairs("llama-bpe")))
    begin = [model.config.bos_id]
    assert model.framed("a") == begin + model.tokenizer.encode("a") == model.framed("<s>a")


def test_several_ends(tmp_path):
    """The end of text, those of a turn and a message, and tokens that are known to be ends."""
    fields = scored_pieces()
    ids = {token: id for id, token in enumerate(fields["tokens"])}
    model = load_gguf(
        write_gguf(tmp_path / "model.gguf", fields | {"eom_token_id": 300, "eot_token_id": 301})
    )
    assert model.ends == {ids["</s>"], ids["<|im_end|>"], 300, 301}
    path = write_gguf(tmp_path / "bad.gguf", fields | {"eot_token_id": 1 << 30})
    with pytest.raises(ModelError, match="an end token is 1073741824, which the tokenizer does not have$"):
        load_gguf(path)
    with pytest.raises(ModelError, match="add_bos_token is true, but no such token is named$"):
        load_gguf(
            write_gguf(
                tmp_path / "bad.gguf",
                {k: v for k, v in byte_pairs("gpt-2", add_bos_token=True).items() if k != "bos_token_id"},
            )
        )


def sentence_piece_json(path):
    """The ``tokenizer.json`` of SentencePiece's tokenizer, as Llama 2's."""
    fields = scored_pieces()
    vocabulary = {token: id for id, token in enumerate(fields["tokens"])}
    merges = []
    for token in fields["tokens"][261:-1]:
        pairs = [(token[:n], token[n:]) for n in range(1, len(token))]
        merges += [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.save(str(path))
    return tokenizer


def test_sentence_piece_json(tmp_path):
    """Ids and text are the library's; what streams shows neither the sign for a space nor that of a byte."""
    theirs = sentence_piece_json(tmp_path / "tokenizer.json")
    ours = Tokenizer.from_json(tmp_path / "tokenizer.json")
    assert ours.pre is None and ours.prefixed
    for line in lines()[:300]:
        ids = theirs.encode(line, add_special_tokens=False).ids
        assert ours.encode(line) == ids and ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)
        stream = ours.stream()
        text = "".join([*map(stream.push, ids), stream.flush()])
        assert text == " " + line.replace(SPACE, " ") and "<0x" not in text


def test_default_tokenizer_against_llama_cpp(tmp_path):
    export_gguf(MODEL, tmp_path / "model.gguf")
    check_against_llama_cpp(MODEL.tokenizer, tmp_path / "model.gguf")
    check_against_llama_cpp(load_gguf(tmp_path / "model.gguf").tokenizer, tmp_path / "model.gguf")


def test_qwen2_tokenizer_against_llama_cpp(tmp_path):
    """From tokenizer.json text is normalised to NFC first, which GGUF and llama.cpp don't do."""
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_json(tmp_path / "tokenizer.json")
    assert tokenizer.pre == "qwen2"
    assert Tokenizer.from_json(tmp_path / "tokenizer.json", vocab=398).id_of("<|im_end|>") is None
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


def broken(change):
    def write(raw):
        change(raw)
        return json.dumps(raw)

    return write


@pytest.mark.parametrize(
    "content, message",
    [
        (lambda raw: "[" * 100_000, "not a tokenizer: too deeply nested"),
        (lambda raw: "{}", "not a tokenizer: "),
        (lambda raw: "[1]", "not a JSON object"),
        (
            broken(lambda raw: raw["model"]["vocab"].update({"!": -1})),
            "not a tokenizer: the id -1 is none of",
        ),
        (broken(lambda raw: raw.update(decoder=None)), "with the decoder NoneType is not supported"),
        (
            broken(
                lambda raw: raw.update(
                    pre_tokenizer={
                        "type": "Split",
                        "pattern": {"Regex": "(a"},
                        "behavior": "Isolated",
                        "invert": False,
                    }
                )
            ),
            "not a tokenizer: Oniguruma error",
        ),
    ],
)
def test_bad_json(tmp_path, content, message):
    raw = json.loads((DEFAULT / "tokenizer.json").read_text())
    path = tmp_path / "tokenizer.json"
    path.write_text(content(raw))
    with pytest.raises(ModelError, match=message) as error:
        Tokenizer.from_json(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_ids_beyond_the_model(tmp_path):
    """Ids with gaps; what splits no text."""
    raw = json.loads((DEFAULT / "tokenizer.json").read_text())
    raw["model"]["vocab"]["zzz"] = 1 << 20
    raw["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    tokenizer = Tokenizer.from_json(tmp_path / "tokenizer.json")
    assert len(tokenizer) == (1 << 20) + 1 and tokenizer.pre is None
    assert tokenizer.token_of(5000) is tokenizer.token_of(-1) is tokenizer.token_of(1 << 40) is None
    assert tokenizer.bytes_of(5000) == b""
