"""Tokenizers and what goes around text, from the fields of GGUF files and from Hugging Face directories."""

from dataclasses import dataclass
from pathlib import Path

from .config import ModelError
from .framing import Framing
from .json_file import read_json
from .pre_tokenizers import PRE_TOKENIZERS
from .scored_tokenizer import ScoredTokenizer
from .tokenizer import Tokenizer

__all__ = ["FolderText", "folder_text", "gguf_tokenizer"]

MODELS = {"gpt2": "byte-level BPE", "llama": "SentencePiece"}
"""GGUF's kinds of tokenizers that are read."""
MOST_BYTES = 1 << 24
"""Of a template."""


def _listed(fields, name, kind):
    """The list ``tokenizer.ggml.<name>`` of elements of a type."""
    values = fields.get(f"tokenizer.ggml.{name}")
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise ModelError(f"{fields.where}: tokenizer.ggml.{name} is no list of {kind.__name__}")
    return values


def gguf_tokenizer(fields):
    """The tokenizer in a GGUF file's :class:`~poblano_host.models.metadata.Metadata`."""
    value = lambda name, default=None: fields.values.get(f"tokenizer.ggml.{name}", default)
    kind, where = fields.get("tokenizer.ggml.model"), fields.where
    if kind not in MODELS:
        known = ", ".join(f"{name} ({words})" for name, words in MODELS.items())
        raise ModelError(f"{where}: unknown tokenizer {kind!r}; {known} are read")
    tokens, types = _listed(fields, "tokens", str), _listed(fields, "token_type", int)
    tokenizer: Tokenizer
    if kind == "gpt2":
        pre = fields.get("tokenizer.ggml.pre")
        tokenizer = Tokenizer.of_merges(tokens, _listed(fields, "merges", str), types, pre, where)
        add_bos = PRE_TOKENIZERS[pre].bos
        fields.only("tokenizer.ggml.add_space_prefix", False)
    else:
        tokenizer = ScoredTokenizer(
            tokens,
            _listed(fields, "scores", (int, float)),
            types,
            prefixed=value("add_space_prefix", True),
            where=where,
        )
        add_bos = value("bos_token_id") is not None
    fields.only("tokenizer.ggml.remove_extra_whitespaces", False)
    tokenizer.framing = Framing.of_file(
        where,
        tokenizer,
        bos=value("bos_token_id"),
        eos=value("eos_token_id"),
        add_bos=value("add_bos_token", add_bos),
        add_eos=value("add_eos_token", False),
        ends=[id for id in (value("eot_token_id"), value("eom_token_id")) if id is not None],
        template=fields.values.get("tokenizer.chat_template"),
    )
    return tokenizer


@dataclass(frozen=True, eq=False)
class FolderText:
    """A directory's tokenizer, and the ids of the tokens for the begin and the end of text, or None."""

    tokenizer: Tokenizer
    bos_id: int | None
    eos_id: int | None


def _read(path):
    """A file's text, None if it is not there."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelError(f"{path}: more than {MOST_BYTES} bytes")
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{path}: can't read: {error.strerror}") from None
    except ValueError as error:
        raise ModelError(f"{path}: not UTF-8: {error}") from None


def _json(path):
    """A file's JSON object, an empty one if it is not there."""
    return read_json(path) if path.exists() else {}


def _template(path, raw, beside):
    """The chat template of ``tokenizer_config.json``, or of the file beside it, which goes first."""
    template = _read(beside)
    if template is not None:
        return template
    template = raw.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        if "default" not in named:
            raise ModelError(f"{path}: none of its chat templates is named default")
        return named["default"]
    return template


def folder_text(folder, config, vocab):
    """The :class:`FolderText` of a directory with a parsed ``config.json`` for a model of ``vocab``
    tokens."""
    folder = Path(folder)
    path = folder / "tokenizer_config.json"
    raw, generation = _json(path), _json(folder / "generation_config.json")
    tokenizer = Tokenizer.from_json(folder / "tokenizer.json", vocab=vocab)
    listed = lambda ids: ids if isinstance(ids, list) else [] if ids is None else [ids]

    def named(name):
        token = raw.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None and not isinstance(token, str):
            raise ModelError(f"{path}: {name} is {token!r}, no token")
        return None if token is None else tokenizer.id_of(token)

    ends = [*listed(config.get("eos_token_id")), *listed(generation.get("eos_token_id"))]
    bos, eos = named("bos_token"), named("eos_token")
    if bos is None:
        bos = config.get("bos_token_id")
    if eos is None:
        eos = next(iter(ends), None)
    before, behind = tokenizer.around
    stated = lambda name, default: default if raw.get(name) is None else raw[name]
    tokenizer.framing = Framing.of_file(
        path if raw else folder / "config.json",
        tokenizer,
        bos=bos,
        eos=eos,
        add_bos=stated("add_bos_token", bos in before),
        add_eos=stated("add_eos_token", eos in behind),
        ends=ends,
        template=_template(path, raw, folder / "chat_template.jinja"),
    )
    return FolderText(tokenizer, bos, eos)
