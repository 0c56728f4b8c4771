"""Byte-level BPE tokenizers, from ``tokenizer.json`` or rebuilt from a GGUF file's vocabulary and merges."""

import json

from tokenizers import AddedToken, Regex, Tokenizer as _Tokenizer, decoders, models, pre_tokenizers

from .model import ModelError

__all__ = ["Tokenizer"]

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTROL = 3
"""GGUF's token type of a special token."""


class Tokenizer:
    """Text to token ids and back."""

    def __init__(self, tokenizer, pre="gpt-2"):
        self._tokenizer = tokenizer
        self.pre = pre

    @classmethod
    def from_json(cls, path):
        try:
            return cls(_Tokenizer.from_file(str(path)))
        except Exception as error:
            raise ModelError(f"{path}: not a tokenizer: {error}") from None

    @classmethod
    def from_gguf(cls, tokens, merges, types, pre, where):
        """From GGUF's ``tokenizer.ggml`` fields; ``pre`` selects how text is split before the merges."""
        digits = [pre_tokenizers.Digits(individual_digits=True)]
        splits = {"gpt-2": [], "gpt2": [], "default": [], "smollm": digits, "smaug-bpe": digits}
        if pre not in splits:
            raise ModelError(f"{where}: unknown pre-tokenizer {pre!r}; known are {', '.join(splits)}")
        vocabulary = {token: i for i, token in enumerate(tokens)}
        try:
            tokenizer = _Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(m.split(" ", 1)) for m in merges]))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{where}: not a tokenizer: {error}") from None
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            *splits[pre],
            pre_tokenizers.Split(Regex(GPT2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
        special = [AddedToken(token, special=True, normalized=False)
                   for token, kind in zip(tokens, types) if kind == CONTROL]
        tokenizer.add_special_tokens(special)
        return cls(tokenizer, pre)

    def __len__(self):
        return self._tokenizer.get_vocab_size()

    def encode(self, text):
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        """The text, special tokens included; bytes that are no UTF-8 (yet) become the replacement character."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def id_of(self, token):
        """The id of ``token``, or None."""
        return self._tokenizer.token_to_id(token)

    def is_special(self, id):
        """Whether ``id`` is a control token and no text."""
        return id in self._tokenizer.get_added_tokens_decoder()

    def token_of(self, id):
        return self._tokenizer.id_to_token(id)

    @property
    def merges(self):
        """Merges as GGUF writes them: the two parts with a space between."""
        merges = json.loads(self._tokenizer.to_str())["model"]["merges"]
        return [m if isinstance(m, str) else " ".join(m) for m in merges]

    def chat_prompt(self, text):
        """``text`` as a user's turn in ChatML if the vocabulary has it, else ``text``."""
        if self.id_of("<|im_start|>") is None:
            return text
        return ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
                f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")
