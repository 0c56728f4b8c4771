"""A small tokenizer, and models written as Hugging Face directories, for tests."""

from fnmatch import fnmatchcase
import json
import re

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from poblano_host.models import BlockTensor
from poblano_host.models.arch import FAMILIES
from poblano_host.models.config import stored_fields

__all__ = ["QWEN2", "TEXTS", "save_directory", "tiny_tokenizer"]

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""The expression in Qwen2's own tokenizer.json."""
TEXTS = [
    "And the king said unto them, What is this that ye have done in the 21 days?",
    "",
    " ",
    "\n\n\t x  \n",
    "日本語 ok",
    "a" * 300,
    "1234567 3.14 x2y",
    "don't WE'LL I'd 'Tis the LORD's, and;them: thee.",
    "naïve café \u00a0 x",
    "emoji 😀 👩‍👩‍👧",
    "  leading",
    "trailing  ",
    "a\r\nb\r\n",
    "١٢٣ ½ Ⅷ",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>x",
    "def f(x):\n    return x**2\n",
    "\u200b\u3000.",
    "!!!???... (so) --the",
    "e\u0301 ñ",
]


def tiny_tokenizer(size=400):
    """A tokenizer as Qwen2's with a vocabulary of ``size``, trained on :data:`TEXTS`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_special_tokens(special)
    return tokenizer


def _join_experts(stacks, tensors):
    """The experts' ``tensors`` as in gpt-oss's files without blocks: gate and up in one, columns before
    rows."""
    for name, experts in stacks.items():
        parts, joined = [name], name
        if "_up_" in name:
            continue
        if "_gate_" in name:
            parts, joined = [name, name.replace("_gate_", "_up_")], name.replace("_gate_", "_gate_up_")
        parts = [tensors.pop(part) for part in parts]
        tensor = np.stack(parts, 1).reshape(experts, -1, *parts[0].shape[1:])
        tensors[joined] = tensor if tensor.ndim == 2 else tensor.swapaxes(1, 2)


def _split_experts(stacks, tensors):
    """Each of the experts' ``tensors`` by itself."""
    for name, experts in stacks.items():
        stem, _, ending = name.rpartition(".")
        parts = np.split(tensors.pop(name), experts)
        tensors |= {f"{stem}.{n}.{ending}": part for n, part in enumerate(parts)}


def _join_heads(config, tensors):
    """The keys' and values' matrices of each head of DeepSeek's ``tensors`` in one."""
    for layer in range(config.layers):
        k, v = (tensors.pop(f"blk.{layer}.attn_{part}_b.weight") for part in "kv")
        k = k.reshape(config.heads, config.rank, -1).swapaxes(1, 2)
        v = v.reshape(config.heads, -1, config.rank)
        tensors[f"blk.{layer}.attn_kv_b.weight"] = np.concatenate((k, v), 1).reshape(-1, config.rank)


def save_directory(model, tokenizer, folder):
    """Write ``model`` as Hugging Face does, with the library's ``tokenizer``; matrices become float32."""
    config, family = model.config, FAMILIES[model.config.architecture]
    content = {
        field.metadata["hugging_face"]: getattr(config, field.name) for field in stored_fields(type(config))
    }
    content.pop(None, None)
    content |= {
        "model_type": family.model_type or family.name,
        "vocab_size": config.vocab,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "tie_word_embeddings": config.tied,
        "rope_scaling": config.rope.hugging_face(),
        "_name_or_path": config.name,
    }
    names = {ours: theirs for theirs, ours in family.names.items()}
    rotated, tensors = model.graph.rotated(), {}
    for name, tensor in model.tensors.items():
        tensor = tensor.dequantise() if isinstance(tensor, BlockTensor) else tensor
        if name in rotated:  # a head's even rows, then its odd
            heads = tensor.reshape(-1, config.head_dim, *tensor.shape[1:])
            tensor = np.concatenate((heads[:, 0::2], heads[:, 1::2]), axis=1).reshape(tensor.shape)
        tensors[name] = tensor
    stacks = {name: count for name, count in model.graph.stacks().items() if "_exps" in name}
    (_join_experts if family.name == "gpt_oss" else _split_experts)(stacks, tensors)
    if family.name == "deepseek":
        content["qk_nope_head_dim"] = content.pop("qk_head_dim") - config.rope_dim
        _join_heads(config, tensors)
    stored = {}
    for name, tensor in family.fuse(config, tensors).items():
        if any(fnmatchcase(name, pattern) for pattern in family.transposed):
            tensor = tensor.T
        if any(fnmatchcase(name, pattern) for pattern in family.shifted):
            tensor = tensor - np.float32(1)
        numbers = iter(re.findall(r"(?<=\.)\d+(?=\.)", name))
        theirs = names[re.sub(r"(?<=\.)\d+(?=\.)", "*", name)]
        theirs = re.sub(r"\*", lambda star, numbers=numbers: next(numbers), theirs)
        stored[theirs] = np.ascontiguousarray(tensor)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    save_file(stored, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
