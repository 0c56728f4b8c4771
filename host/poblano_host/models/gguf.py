"""GGUF files in and out. Q4_0, Q4_1 and Q8_0 matrices stay in their stored grid."""

from dataclasses import replace
import struct

import gguf
import numpy as np

from poblano.config import BLOCK

from .arch import FAMILIES, find_family
from .config import ModelError, stored_fields
from .metadata import Metadata
from .model import BlockTensor, Model, interleaved_rows
from .rope import GGUF_TENSORS
from .tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, Tokenizer

__all__ = ["export_gguf", "load_gguf"]

_TYPES = gguf.GGMLQuantizationType


def _nibbles(raw):
    """Bytes (n, blocks, 16) to elements (n, blocks, 32): the low nibbles are the first half of a block."""
    return np.concatenate((raw & 15, raw >> 4), axis=-1)


def _block_tensor(kind, raw, shape):
    """A quantised GGUF tensor's bytes (n, bytes per row) as a BlockTensor of ``shape``."""
    n, k = shape
    size = {_TYPES.Q4_0: 18, _TYPES.Q4_1: 20, _TYPES.Q8_0: 34}[kind]
    blocks = np.ascontiguousarray(raw).reshape(n, k // BLOCK, size)
    halves = lambda start: np.ascontiguousarray(blocks[..., start : start + 2]).view(np.float16)[..., 0]
    if kind is _TYPES.Q8_0:
        return BlockTensor("q8_0", blocks[..., 2:].view(np.int8).reshape(shape), halves(0))
    if kind is _TYPES.Q4_0:
        return BlockTensor("q4_0", (_nibbles(blocks[..., 2:]).astype(np.int8) - 8).reshape(shape), halves(0))
    return BlockTensor("q4_1", _nibbles(blocks[..., 4:]).reshape(shape), halves(0), halves(2))


def _tensor(path, tensor):
    shape = tuple(int(n) for n in reversed(tensor.shape))
    kind = tensor.tensor_type
    if kind in (_TYPES.F32, _TYPES.F16):
        return np.array(tensor.data, dtype=np.float32).reshape(shape)
    if kind in (_TYPES.Q4_0, _TYPES.Q4_1, _TYPES.Q8_0) and len(shape) == 2:
        return _block_tensor(kind, tensor.data.view(np.uint8), shape)
    raise ModelError(
        f"{path}: tensor {tensor.name} has unsupported type {kind.name}; "
        "F32, F16, Q4_0, Q4_1 and Q8_0 are read"
    )


def _reader(path):
    try:
        return gguf.GGUFReader(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't read: {error.strerror}") from None
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError, TypeError, struct.error) as error:
        raise ModelError(f"{path}: truncated or corrupt GGUF: {str(error) or type(error).__name__}") from None


def load_gguf(path):
    """The :class:`Model` in a GGUF file; :class:`ModelError` names the file and what is wrong."""
    reader = _reader(path)
    try:
        fields = Metadata(path, "gguf", {name: field.contents() for name, field in reader.fields.items()})
        family = find_family(fields.get("general.architecture"), path, of="gguf_name")
        tokens = fields.get("tokenizer.ggml.tokens")
        tensors = {tensor.name: _tensor(path, tensor) for tensor in reader.tensors}
        config = replace(fields, prefix=f"{family.gguf_name or family.name}.").config(
            family,
            divisors={name: tensors.pop(name) for name in GGUF_TENSORS if name in tensors},
            name=fields.values.get("general.name", "unnamed"),
            vocab=len(tokens),
            bos_id=fields.values.get("tokenizer.ggml.bos_token_id"),
            eos_id=fields.values.get("tokenizer.ggml.eos_token_id"),
            tied="output.weight" not in tensors,
        )
        kind = fields.get("tokenizer.ggml.model")
        if kind != "gpt2":
            raise ModelError(f"{path}: unknown tokenizer {kind!r}; gpt2 (byte-level BPE) is read")
        tokenizer = Tokenizer.from_gguf(
            tokens,
            fields.get("tokenizer.ggml.merges"),
            fields.get("tokenizer.ggml.token_type"),
            fields.get("tokenizer.ggml.pre"),
            path,
        )
    except ModelError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: truncated or corrupt GGUF: {error}") from None
    return Model.of_file(path, config, tensors, tokenizer, halves=family.gguf_halves)


def export_gguf(model, path):
    """Write ``model``, dequantised to F32, as a GGUF file that llama.cpp runs."""
    config, tokenizer = model.config, model.tokenizer
    family = FAMILIES[config.architecture]
    if tokenizer.pre is None:
        raise ModelError(f"{path}: GGUF has no name for how {config.name}'s tokenizer splits text")
    for name in config.unsaid("gguf"):
        raise ModelError(f"{path}: GGUF can't state {name} {getattr(config, name)!r} of {family.name}")
    writer = gguf.GGUFWriter(path, family.gguf_name or family.name)
    writer.add_name(config.name)
    scaling, tensors = config.rope.gguf(config.rope_base, config.head_dim)
    fields = {field.metadata["gguf"]: getattr(config, field.name) for field in stored_fields(type(config))}
    plain = {k: v for k, v in family.gguf(config).items() if k in _WRITTEN}
    for key, value in (fields | scaling | plain).items():
        if key is not None and value is not None:
            _add(writer, f"{writer.arch}.{key}", value)
    writer.add_vocab_size(config.vocab)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, config, tokenizer)
    rotated = model.graph.rotated() if family.gguf_halves else {}
    for name, tensor in model.tensors.items():
        data = tensor.dequantise() if isinstance(tensor, BlockTensor) else tensor
        if name in rotated:
            data = data[np.argsort(interleaved_rows(len(data), rotated[name]))]
        tensors[name] = data
    for name, tensor in family.fuse(config, tensors).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_WRITTEN = ("attention.value_length", "rope.dimension_count")
"""Fields of features that no operator has which llama.cpp wants to see."""


def _add(writer, key, value):
    kinds = {float: writer.add_float32, str: writer.add_string, int: writer.add_uint32}
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
    writer.add_add_bos_token(False)
