"""GGUF files in and out. Matrices stay in their stored grid where the chip has it."""

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import gguf
import numpy as np

from .arch import FAMILIES, find_family
from .config import ModelError, stored_fields
from .gguf_file import StoredTensor, read_gguf
from .gguf_types import packed, tensor_of
from .metadata import Metadata
from .model import BlockTensor, Model, interleaved_rows, rows_of
from .rope import GGUF_TENSORS
from .text_files import gguf_tokenizer
from .tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED

__all__ = ["export_gguf", "gguf_sizes", "load_gguf"]


def _config(path, fields, stored):
    """The configuration that a file states, and its family; tensors of RoPE are taken out of ``stored``."""
    family = find_family(fields.get("general.architecture"), path, of="gguf_name", fields=fields.values)
    value = lambda name: tensor_of(stored.pop(name), f"{path}: tensor {name}")
    config = replace(fields, prefix=f"{family.gguf_name or family.name}.").config(
        family,
        divisors={name: value(name) for name in GGUF_TENSORS if name in stored},
        name=fields.values.get("general.name", "unnamed"),
        vocab=len(fields.get("tokenizer.ggml.tokens")),
        bos_id=fields.values.get("tokenizer.ggml.bos_token_id"),
        eos_id=fields.values.get("tokenizer.ggml.eos_token_id"),
        tied="output.weight" not in stored,
    )
    return config, family


@contextmanager
def _whole(path):
    """What a damaged file raises as a :class:`ModelError`."""
    try:
        yield
    except ModelError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: truncated or corrupt GGUF: {error}") from None


def gguf_sizes(path):
    """The configuration of a GGUF file, and the type of most of its bytes, as ``Q4_1``: no weights are
    read."""
    values, stored = read_gguf(path)
    bytes_of = Counter()
    for tensor in stored.values():
        bytes_of[tensor.kind.name] += tensor.data.nbytes
    with _whole(path):
        config, _ = _config(path, Metadata(path, "gguf", values), stored)
    return config, bytes_of.most_common(1)[0][0]


def load_gguf(path):
    """The :class:`Model` in a GGUF file; :class:`ModelError` names the file and what is wrong."""
    values, stored = read_gguf(path)
    fields = Metadata(path, "gguf", values)
    with _whole(path):
        config, family = _config(path, fields, stored)
        tokenizer = gguf_tokenizer(fields)
    stored = {name: _flat(path, name, tensor, config) for name, tensor in stored.items()}
    tensors = {name: tensor_of(tensor, f"{path}: tensor {name}") for name, tensor in stored.items()}
    kinds = {name: tensor.kind.name for name, tensor in stored.items()}
    return Model.of_file(path, config, tensors, tokenizer, halves=family.gguf_halves, stored=kinds)


def _flat(path, name, tensor, config):
    """A :class:`~.gguf_file.StoredTensor` with the matrices or biases of all experts or heads below each
    other, and the scores of a shared expert as a matrix of one row."""
    part, shape = name.split(".")[-2:-1], tensor.shape
    if part == ["ffn_gate_inp_shexp"] and len(shape) == 1:
        return replace(tensor, shape=(1, *shape))
    if part and part[0].endswith("_exps"):
        count, what = getattr(config, "experts", None), "experts"
    elif part and part[0] in ("attn_k_b", "attn_v_b"):
        count, what = config.heads, "heads"
    else:
        return tensor
    matrix = 3 if name.endswith(".weight") else 2
    if len(shape) != matrix or shape[0] != count:
        raise ModelError(f"{path}: tensor {name} has shape {shape}, which is not of {count} {what}")
    flat = (shape[0] * shape[1], *shape[2:])
    return StoredTensor(tensor.kind, flat, tensor.data if matrix == 3 else tensor.data.reshape(1, -1))


def export_gguf(model, path, *, blocks=False):
    """Write ``model`` as a GGUF file that llama.cpp runs, dequantised to F32; with ``blocks`` the matrices in
    blocks that GGUF has a type for stay as they are, but for families whose files have some joined."""
    config, tokenizer = model.config, model.tokenizer
    family = FAMILIES[config.architecture]
    if tokenizer.pre is None:
        raise ModelError(f"{path}: GGUF has no name for how {config.name}'s tokenizer splits text")
    for name in config.unsaid("gguf"):
        raise ModelError(f"{path}: GGUF can't state {name} {getattr(config, name)!r} of {family.name}")
    try:
        scaling, tensors = config.rope.gguf(config.rope_base, config.head_dim)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    writer = gguf.GGUFWriter(path, family.gguf_name or family.name)
    writer.add_name(config.name)
    fields = {field.metadata["gguf"]: getattr(config, field.name) for field in stored_fields(type(config))}
    plain = {k: v for k, v in family.gguf(config).items() if k in _WRITTEN}
    for key, value in (fields | scaling | plain).items():
        if key is not None and value is not None:
            _add(writer, f"{writer.arch}.{key}", value)
    writer.add_vocab_size(config.vocab)
    blocks = blocks and not family.fused(config)
    writer.add_file_type(gguf.LlamaFileType.GUESSED if blocks else gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, config, tokenizer)
    rotated, stacks = model.graph.rotated() if family.gguf_halves else {}, model.graph.stacks()
    kinds = {}
    for name, tensor in model.tensors.items():
        if name in rotated:
            tensor = rows_of(tensor, np.argsort(interleaved_rows(tensor.shape[0], rotated[name])))
        data = tensor
        if isinstance(tensor, BlockTensor):
            kinds[name], data = blocks and packed(tensor) or (None, tensor.dequantise())
        tensors[name] = data.reshape(stacks[name], -1, *data.shape[1:]) if name in stacks else data
    for name, tensor in family.fuse(config, tensors).items():
        writer.add_tensor(name, tensor, raw_dtype=kinds.get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_WRITTEN = ("attention.key_length", "attention.value_length", "rope.dimension_count", "expert_gating_func")
"""Fields of features that no operator has which llama.cpp wants to see."""


def _add(writer, key, value):
    kinds = {float: writer.add_float32, str: writer.add_string, int: writer.add_uint32, bool: writer.add_bool}
    kinds[type(value)](key, value)


def _add_tokenizer(writer, config, tokenizer):
    tokens = [tokenizer.token_of(i) for i in range(config.vocab)]  # None where the embedding is padded
    types = [
        UNUSED
        if token is None
        else CONTROL
        if tokenizer.is_special(i)
        else USER_DEFINED
        if tokenizer.is_added(i)
        else NORMAL
        for i, token in enumerate(tokens)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list([f"[PAD{i}]" if token is None else token for i, token in enumerate(tokens)])
    writer.add_token_types(types)
    writer.add_token_merges(tokenizer.merges)
    if config.bos_id is not None:
        writer.add_bos_token_id(config.bos_id)
    if config.eos_id is not None:
        writer.add_eos_token_id(config.eos_id)
    writer.add_add_bos_token(tokenizer.framing.add_bos)
    writer.add_add_eos_token(tokenizer.framing.add_eos)
    if tokenizer.framing.template is not None:
        writer.add_chat_template(tokenizer.framing.template)
