"""Byte-level BPE tokenizers, from ``tokenizer.json`` or rebuilt from a GGUF file's vocabulary and merges."""

import codecs
import json

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as _Tokenizer

from .config import ModelError
from .tokenizer_json import read_tokenizer_json

__all__ = ["CONTROL", "NORMAL", "TextStream", "Tokenizer", "UNUSED", "USER_DEFINED"]


def _isolate(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


GPT2 = _isolate(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
QWEN2 = _isolate(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    "gpt-2": [GPT2],
    "smollm": [pre_tokenizers.Digits(individual_digits=True), GPT2],
    "qwen2": [QWEN2],
}
"""How text is split before the merges, step by step, by GGUF's names."""
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""GGUF's token types; CONTROL is a special token."""


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _bytes_of_characters():
    """The byte that each character of a byte-level token stands for (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


_BYTES = _bytes_of_characters()


def _json(step):
    return json.loads(step.__getstate__())


def _pre_tokenizer(raw):
    """GGUF's name for how the tokenizer of a parsed ``tokenizer.json`` splits text, or None.

    A normaliser to Unicode's NFC counts as none: GGUF has no field for it.
    """
    split = raw["pre_tokenizer"] or {}
    *steps, last = split.get("pretokenizers") or [split]
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return None
    if raw["normalizer"] not in (None, {"type": "NFC"}):
        return None
    if last["use_regex"]:
        steps.append(_json(GPT2))
    return next((name for name, known in PRE_TOKENIZERS.items() if steps == [*map(_json, known)]), None)


class TextStream:
    """Text as tokens arrive: :meth:`push` gives what is complete; a character's bytes may be in several
    tokens."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id):
        """The text that token ``id`` completes, maybe empty."""
        token = self._tokenizer.token_of(id) or ""
        known = all(character in _BYTES for character in token)
        return self._decoder.decode(bytes(_BYTES[c] for c in token) if known else token.encode())

    def flush(self):
        """What is left at the end: a replacement character for an unfinished one."""
        return self._decoder.decode(b"", True)


class Tokenizer:
    """Text to token ids and back.

    ``pre`` is GGUF's name for how text is split before the merges, None if it has none.
    """

    def __init__(self, tokenizer, pre="gpt-2"):
        self._tokenizer = tokenizer
        self._added = tokenizer.get_added_tokens_decoder()
        self.pre = pre

    @classmethod
    def from_json(cls, path):
        raw = json.dumps(read_tokenizer_json(path))
        try:
            tokenizer = _Tokenizer.from_str(raw)
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: not a tokenizer: {_first_line(error)}") from None
        return cls(tokenizer, _pre_tokenizer(json.loads(tokenizer.to_str())))

    @classmethod
    def from_gguf(cls, tokens, merges, types, pre, where):
        """From GGUF's ``tokenizer.ggml`` fields; ``pre`` selects how text is split before the merges."""
        if pre not in PRE_TOKENIZERS:
            raise ModelError(f"{where}: unknown pre-tokenizer {pre!r}; known are {', '.join(PRE_TOKENIZERS)}")
        vocabulary = {token: i for i, token in enumerate(tokens)}
        if len(vocabulary) < len(tokens):
            raise ModelError(f"{where}: not a tokenizer: {len(tokens) - len(vocabulary)} tokens occur twice")
        if len(types) != len(tokens):
            raise ModelError(f"{where}: not a tokenizer: {len(tokens)} tokens and {len(types)} token types")
        try:
            tokenizer = _Tokenizer(
                models.BPE(vocab=vocabulary, merges=[tuple(m.split(" ", 1)) for m in merges])
            )
        except Exception as error:  # as above
            raise ModelError(f"{where}: not a tokenizer: {_first_line(error)}") from None
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [*PRE_TOKENIZERS[pre], pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_tokens(
            [
                AddedToken(token, special=kind == CONTROL, normalized=False)
                for token, kind in zip(tokens, types)
                if kind in (CONTROL, USER_DEFINED)
            ]
        )
        return cls(tokenizer, pre)

    def __len__(self):
        return self._tokenizer.get_vocab_size()

    def encode(self, text):
        """The ids of ``text``, none added; :class:`ModelError` where a tokenizer's own expressions fail."""
        try:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the library, and no Exception
                raise
            raise ModelError(f"the tokenizer can't split this text: {_first_line(error)}") from None

    def decode(self, ids):
        """The text, special tokens included; bytes that are no UTF-8 (yet) become the replacement
        character."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def stream(self):
        """A :class:`TextStream`: for the same tokens, its pieces joined are :meth:`decode`'s text."""
        return TextStream(self)

    def id_of(self, token):
        """The id of ``token``, or None."""
        surrogates = any("\ud800" <= character <= "\udfff" for character in token)
        return None if surrogates else self._tokenizer.token_to_id(token)

    def is_special(self, id):
        """Whether ``id`` is a control token and no text."""
        return self.is_added(id) and self._added[id].special

    def is_added(self, id):
        """Whether ``id`` is found in the text before it is split."""
        return id in self._added

    def token_of(self, id):
        return self._tokenizer.id_to_token(id) if 0 <= id < 1 << 32 else None

    @property
    def merges(self):
        """Merges as GGUF writes them: the two parts with a space between."""
        merges = json.loads(self._tokenizer.to_str())["model"]["merges"]
        return [m if isinstance(m, str) else " ".join(m) for m in merges]

    def chat_prompt(self, text):
        """``text`` as a user's turn in ChatML if the vocabulary has it, else ``text``."""
        if self.id_of("<|im_start|>") is None:
            return text
        return (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n"
            f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        )
