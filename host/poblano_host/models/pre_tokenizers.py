"""How text is split before byte pairs are merged, by the names that GGUF files have for it."""

from dataclasses import dataclass

from tokenizers import Regex, pre_tokenizers

__all__ = ["PRE_TOKENIZERS", "PreTokenizer"]

LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
"""English endings behind an apostrophe."""
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
"""Letters that may be capital, and small; of Latin's first 26, as llama.cpp has them."""
WORDS = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*")
"""Words that begin anew where a capital follows a small letter."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{SHORT}|{LETTERS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
QWEN2 = rf"{SHORT}|{LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
QWEN35 = (
    rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
)
TEKKEN = rf"{WORDS[0]}|{WORDS[1]}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
GPT4O = rf"{WORDS[0]}{SHORT}?|{WORDS[1]}{SHORT}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"


def _isolate(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


@dataclass(frozen=True, eq=False)
class PreTokenizer:
    """Steps that split text one after the other.

    ``whole``: a piece that is a token is taken whole, whatever the merges say. ``bos``: text begins with
    the token for that unless a file says otherwise.
    """

    steps: tuple
    whole: bool = False
    bos: bool = False


_DIGITS = pre_tokenizers.Digits(individual_digits=True)
_GPT2 = PreTokenizer((_isolate(GPT2),))
_SMOLLM = PreTokenizer((_DIGITS, _isolate(GPT2)))
_LLAMA3 = PreTokenizer((_isolate(LLAMA3),), whole=True, bos=True)
_QWEN2 = PreTokenizer((_isolate(QWEN2),))
_GPT4O = PreTokenizer((_isolate(GPT4O),))

PRE_TOKENIZERS = {
    "gpt-2": _GPT2,
    "smollm": _SMOLLM,
    "qwen2": _QWEN2,
    "llama-bpe": _LLAMA3,
    "refact": _SMOLLM,
    "tekken": PreTokenizer((_isolate(TEKKEN),), whole=True, bos=True),
    "gpt-4o": _GPT4O,
    "default": PreTokenizer(
        tuple(map(_isolate, (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")))
    ),
    "qwen35": PreTokenizer((_isolate(QWEN35),)),
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "pixtral": _LLAMA3,
    "dbrx": PreTokenizer((_isolate(LLAMA3),)),
    "smaug-bpe": PreTokenizer((_isolate(LLAMA3),)),
    "llama4": _GPT4O,
    "deepseek-r1-qwen": _QWEN2,
    "megrez": _QWEN2,
    "stablelm2": _QWEN2,
    "starcoder": _SMOLLM,
    "command-r": _SMOLLM,
    "exaone": _SMOLLM,
    "exaone4": _GPT2,
    "phi-2": _GPT2,
    "mpt": _GPT2,
    "olmo": _GPT2,
}
"""By name; the first of several with the same steps is the one that is written."""
