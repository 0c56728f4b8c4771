"""Text to token ids and back, by the ``tokenizers`` package; text as tokens arrive."""

import codecs
import json
from pathlib import Path
import re

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as _Tokenizer

from .config import ModelError
from .framing import Framing
from .pre_tokenizers import PRE_TOKENIZERS
from .tokenizer_json import read_tokenizer_json

__all__ = [
    "BYTE",
    "CONTROL",
    "NORMAL",
    "SPACE",
    "TextStream",
    "Tokenizer",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "byte_of",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""GGUF's token types; CONTROL is a special token."""
SPACE = "▁"
"""What stands for a space in tokens as SentencePiece has them."""


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _bytes_of_characters():
    """The byte that each character of a byte-level token stands for (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


_BYTES = _bytes_of_characters()


def byte_of(token):
    """The byte that a token like ``<0x0A>`` stands for, or None."""
    found = re.fullmatch(r"<0x([0-9A-F]{2})>", token)
    return None if found is None else int(found[1], 16)


def _json(step):
    return json.loads(step.__getstate__())


def _steps(part):
    """The steps of a part of the library's tokenizer (a decoder, say), one or several, as JSON."""
    if part is None:
        return []
    step = _json(part)
    lists = [step[key] for key in ("pretokenizers", "decoders", "normalizers") if key in step]
    return lists[0] if lists else [step]


def _pre_tokenizer(tokenizer):
    """GGUF's name for how the library's ``tokenizer`` splits text, or None.

    A normaliser to Unicode's NFC counts as none: GGUF has no field for it.
    """
    *steps, last = _steps(tokenizer.pre_tokenizer) or [{"type": None}]
    if type(tokenizer.model) is not models.BPE or last["type"] != "ByteLevel" or last["add_prefix_space"]:
        return None
    if _steps(tokenizer.normalizer) not in ([], [{"type": "NFC"}]):
        return None
    if last["use_regex"]:
        steps.extend(map(_json, PRE_TOKENIZERS["gpt-2"].steps))
    return next(
        (
            name
            for name, known in PRE_TOKENIZERS.items()
            if steps == [*map(_json, known.steps)] and tokenizer.model.ignore_merges == known.whole
        ),
        None,
    )


class TextStream:
    """Text as tokens arrive: :meth:`push` gives what is complete; a character's bytes may be in several
    tokens."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id):
        """The text that token ``id`` completes, maybe empty."""
        return self._decoder.decode(self._tokenizer.bytes_of(id))

    def flush(self):
        """What is left at the end: a replacement character for an unfinished one."""
        return self._decoder.decode(b"", True)


class Tokenizer:
    """Text to token ids and back.

    Parameters
    ----------
    tokenizer : the library's
    pre : GGUF's name for how text is split before the merges, None if it has none
    framing : :class:`Framing`

    Members
    -------
    prefixed : whether a space is put before text, and taken away from what is decoded
    """

    def __init__(self, tokenizer, pre="gpt-2", framing=Framing()):
        self._tokenizer = tokenizer
        self._added = {id: token.special for id, token in tokenizer.get_added_tokens_decoder().items()}
        self._size = max(tokenizer.get_vocab().values(), default=-1) + 1
        self.pre, self.framing = pre, framing
        steps = _steps(tokenizer.decoder)
        kinds = {step["type"] for step in steps}
        self._byte_level = "ByteLevel" in kinds
        self._spaced = not self._byte_level and bool(kinds & {"Replace", "Metaspace", "ByteFallback"})
        self.prefixed = self._spaced and any(
            step.get("start") or step.get("prepend_scheme", "never") != "never" for step in steps
        )

    @classmethod
    def from_json(cls, path, *, vocab=None):
        """From a ``tokenizer.json``; added tokens that a model of ``vocab`` tokens lacks are left out."""
        raw = read_tokenizer_json(Path(path))
        try:
            if vocab is not None:
                raw["added_tokens"] = [t for t in raw.get("added_tokens") or () if t["id"] < vocab]
            tokenizer = _Tokenizer.from_str(json.dumps(raw))
            made = cls(tokenizer, _pre_tokenizer(tokenizer))
            made.encode("a")
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: not a tokenizer: {_first_line(error)}") from None
        if not made._byte_level and not made._spaced:
            raise ModelError(
                f"{path}: a tokenizer of {type(tokenizer.model).__name__} with the decoder "
                f"{type(tokenizer.decoder).__name__} is not supported; byte-level and SentencePiece's are"
            )
        return made

    @classmethod
    def of_merges(cls, tokens, merges, types, pre, where):
        """Of byte pairs: GGUF's ``tokenizer.ggml`` fields; ``pre`` selects how text is split before the
        merges."""
        if pre not in PRE_TOKENIZERS:
            raise ModelError(f"{where}: unknown pre-tokenizer {pre!r}; known are {', '.join(PRE_TOKENIZERS)}")
        vocabulary, splitting = vocabulary_of(tokens, types, where), PRE_TOKENIZERS[pre]
        try:
            pairs = [(m[:1] + a, b) for m in merges for a, _, b in (m[1:].partition(" "),)]
            tokenizer = _Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=splitting.whole))
        except Exception as error:  # as above
            raise ModelError(f"{where}: not a tokenizer: {_first_line(error)}") from None
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [*splitting.steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_tokens(
            [
                AddedToken(token, special=kind != USER_DEFINED, normalized=False)
                for token, kind in zip(tokens, types)
                if kind in (CONTROL, USER_DEFINED, UNKNOWN)
            ]
        )
        return cls(tokenizer, pre)

    def __len__(self):
        """One more than the largest id."""
        return self._size

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
        text = b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")
        return text[1:] if self.prefixed and text.startswith(" ") else text

    def stream(self):
        """A :class:`TextStream`: for the same tokens, its pieces joined are :meth:`decode`'s text, with the
        space that may be before it."""
        return TextStream(self)

    def bytes_of(self, id):
        """The bytes of text that a token stands for; none for an id without a token."""
        token = self.token_of(id) or ""
        if self._spaced and not self.is_special(id):
            byte = byte_of(token)
            return token.replace(SPACE, " ").encode() if byte is None else bytes([byte])
        if self.is_added(id):
            return token.encode()
        known = all(character in _BYTES for character in token)
        return bytes(_BYTES[c] for c in token) if known else token.encode()

    def id_of(self, token):
        """The id of ``token``, or None."""
        surrogates = any("\ud800" <= character <= "\udfff" for character in token)
        return None if surrogates else self._tokenizer.token_to_id(token)

    def is_special(self, id):
        """Whether ``id`` is a control token and no text."""
        return self._added.get(id, False)

    def is_added(self, id):
        """Whether ``id`` is found in the text before it is split."""
        return id in self._added

    def token_of(self, id):
        return self._tokenizer.id_to_token(id) if 0 <= id < self._size else None

    @property
    def around(self):
        """(ids before, ids behind) that ``tokenizer.json`` puts around text."""
        plain, full = self.encode("a"), self._tokenizer.encode("a", add_special_tokens=True).ids
        first = next(n for n in range(len(full) + 1) if full[n : n + len(plain)] == plain or n == len(full))
        return full[:first], full[first + len(plain) :]

    @property
    def kind(self):
        """In words."""
        return "SentencePiece" if self._spaced else f"byte-level BPE ({self.pre or 'its own splitting'})"

    @property
    def merges(self):
        """Merges as GGUF writes them: the two parts with a space between."""
        merges = json.loads(self._tokenizer.to_str())["model"]["merges"]
        return [m if isinstance(m, str) else " ".join(m) for m in merges]


def vocabulary_of(tokens, types, where):
    """{token: id} of GGUF's lists; :class:`ModelError` if they can't be a vocabulary's."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens):
        raise ModelError(f"{where}: not a tokenizer: {len(tokens) - len(vocabulary)} tokens occur twice")
    if len(types) != len(tokens):
        raise ModelError(f"{where}: not a tokenizer: {len(tokens)} tokens and {len(types)} token types")
    return vocabulary
