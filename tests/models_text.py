"""Lines of mixed text, tokenizers trained on them as GGUF's fields, and llama.cpp's answers, for tests."""

from functools import cache
import json
import random
import urllib.request

import gguf
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from poblano_host.models.tokenizer import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, USER_DEFINED

__all__ = ["LlamaCpp", "SPECIAL", "byte_pairs", "lines", "scored_pieces", "write_gguf"]

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
PARTS = [
    *"the and king said unto them Poblano ThisIsCamelCase HTTPServer snake_case don't WE'LL it's".split(),
    *"naïve café Ärger straße İstanbul ΑΒΓ αβγ Привет мир мІр ñandú e\u0301 I'VE she'd 'Tis".split(),
    *"日本語 漢字かな 東京タワー 中文 没有 한국어 텍스트 ไทย ภาษา हिन्दी नमस्ते عربي שלום".split(),
    *"😀 👩‍👩‍👧 🏳️‍🌈 ❤️ 🇩🇪 → ∑ ½ Ⅷ ١٢٣ x² №".split(),
    *"0 7 42 123 1234567 3.14 1,000,000 0x1F 2026-11-29 12:34:56 1e-5 v2.0.1".split(),
    *"def return if (x == y): { } [i] -> ** += // # ... !!! ?! <tag> </tag> &amp;".split(),
    *"$x @y a.b.c ~ ^ | \\ `q`".split(),
    *[" ", "  ", "   ", "    ", "     ", "        ", " " * 17, "\t", "\t\t", "\n", "\n\n", "\r\n", " \n "],
    *["\u00a0", "\u200b", "\u3000", "\ufeff", "ababa", "banana", "aaaaaaa", "aaa", "-----", "====", "▁"],
]


@cache
def lines(count=2000):
    """Lines of words, code, several scripts, emoji and runs of spaces; the same ones each time."""
    chance, found = random.Random(12), []
    for _ in range(count):
        words = chance.choices(PARTS, k=chance.randrange(1, 14))
        found.append("".join(word + " " * (chance.random() < 0.6) for word in words))
    return found


@cache
def _trained(byte_level):
    """The tokens and merges (pairs) of byte pairs trained without any splitting but into lines."""
    tokenizer, options = Tokenizer(models.BPE()), {}
    if byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        options = dict(initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    text = lines() if byte_level else [line.replace(" ", SPACE) for line in lines()]
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=1500, show_progress=False, **options))
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(pair) for pair in model["merges"]]


def byte_pairs(pre, **more):
    """``tokenizer.ggml`` fields of byte-level BPE that splits text as ``pre`` says."""
    tokens, merges = _trained(True)
    return dict(
        model="gpt2",
        pre=pre,
        tokens=[*tokens, *SPECIAL, "    "],
        token_type=[NORMAL] * len(tokens) + [UNKNOWN] + [CONTROL] * 4 + [USER_DEFINED],
        merges=[" ".join(pair) for pair in merges],
        bos_token_id=len(tokens) + 1,
        eos_token_id=len(tokens) + 2,
        **more,
    )


def scored_pieces(**more):
    """``tokenizer.ggml`` fields of SentencePiece's: the earlier a token was made, the higher its score."""
    tokens, merges = _trained(False)
    merged = dict.fromkeys(token for pair in merges if (token := "".join(pair)) != "\n\n")
    single = [token for token in tokens if token not in merged and len(token) == 1 and token not in "→∑"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    every = [*SPECIAL, *bytes_, *merged, *single]
    types = [UNKNOWN] + [CONTROL] * 4 + [BYTE] * 256
    return dict(
        model="llama",
        tokens=[*every, "\n\n"],
        token_type=types + [NORMAL] * (len(every) - len(types)) + [USER_DEFINED],
        scores=[0.0] * len(types) + [-float(n) for n in range(len(every) - len(types))] + [0.0],
        bos_token_id=1,
        eos_token_id=2,
        **more,
    )


def write_gguf(path, text, *, template=None, layers=1, name="tiny"):
    """A random Llama with the ``tokenizer.ggml`` fields ``text``."""
    dim, heads, ffn, vocab = 64, 2, 96, len(text["tokens"])
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    for key, value in dict(
        embedding_length=dim, block_count=layers, feed_forward_length=ffn, context_length=256
    ).items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_uint32("llama.attention.head_count", heads)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in text.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
        add[type(value)](f"tokenizer.ggml.{key}", value)
    if template is not None:
        writer.add_chat_template(template)
    generator = np.random.default_rng(1)
    shapes = {"token_embd": (vocab, dim), "output_norm": (dim,)}
    for n in range(layers):
        matrices = dict(attn_q=(dim, dim), attn_k=(dim, dim), attn_v=(dim, dim), attn_output=(dim, dim))
        matrices |= dict(ffn_gate=(ffn, dim), ffn_up=(ffn, dim), ffn_down=(dim, ffn))
        matrices |= dict(attn_norm=(dim,), ffn_norm=(dim,))
        shapes |= {f"blk.{n}.{part}": shape for part, shape in matrices.items()}
    for part, shape in shapes.items():
        values = generator.normal(0, 0.1, shape) if len(shape) == 2 else np.ones(shape)
        writer.add_tensor(f"{part}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class LlamaCpp:
    """llama.cpp with the model of a GGUF file."""

    def __init__(self, path):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.cpuparams.n_threads, params.warmup, params.use_jinja = 256, 1, False, True
        self._server = xllamacpp.Server(params)
        # A server that is freed before its loop has begun waits for ever: here the loop has answered.
        self._server.handle_completions({"prompt": [0], "n_predict": 1})

    def _ask(self, what, **body):
        headers = {"Content-Type": "application/json"}
        url = f"{self._server.listening_address}/{what}"
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), headers)
        ) as answer:
            return json.load(answer)

    def tokenize(self, text, add_special=False):
        """The ids of a text, or of a list of texts one behind the other."""
        return self._ask("tokenize", content=text, add_special=add_special, parse_special=True)["tokens"]

    def render(self, messages):
        """The text of a conversation by the file's own template."""
        return self._ask("apply-template", messages=messages)["prompt"]
