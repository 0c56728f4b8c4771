"""GGUF files in and out. Q4_0, Q4_1 and Q8_0 matrices stay in their stored grid."""

import struct

import gguf
import numpy as np

from .model import BLOCK, BlockTensor, Model, ModelConfig, ModelError
from .tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, Tokenizer

__all__ = ["export_gguf", "load_gguf"]

ARCHITECTURES = ("llama",)
_REQUIRED = object()
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

    def field(name, default=_REQUIRED):
        value = reader.get_field(name)
        if value is None:
            if default is _REQUIRED:
                raise ModelError(f"{path}: field {name} is missing")
            return default
        return value.contents()

    try:
        architecture = field("general.architecture")
        if architecture not in ARCHITECTURES:
            raise ModelError(
                f"{path}: unknown architecture {architecture!r}; known are {', '.join(ARCHITECTURES)}"
            )
        get = lambda name, default=_REQUIRED: field(f"{architecture}.{name}", default)
        tokens = field("tokenizer.ggml.tokens")
        heads, dim = get("attention.head_count"), get("embedding_length")
        config = ModelConfig(
            architecture=architecture,
            name=field("general.name", "unnamed"),
            dim=dim,
            layers=get("block_count"),
            heads=heads,
            kv_heads=get("attention.head_count_kv", heads),
            head_dim=get("attention.key_length", dim // heads),
            ffn_dim=get("feed_forward_length"),
            vocab=len(tokens),
            context=get("context_length"),
            rope_base=float(get("rope.freq_base", 10000.0)),
            norm_eps=float(get("attention.layer_norm_rms_epsilon")),
            bos_id=field("tokenizer.ggml.bos_token_id", None),
            eos_id=field("tokenizer.ggml.eos_token_id", None),
        )
        config.check(path)
        for name, plain in (
            ("rope.scaling.type", "none"),
            ("rope.dimension_count", config.head_dim),
            ("attention.value_length", config.head_dim),
            ("expert_count", 0),
        ):
            value = get(name, plain)
            if value != plain:
                raise ModelError(f"{path}: {architecture}.{name} {value!r} is not supported, only {plain!r}")
        kind = field("tokenizer.ggml.model")
        if kind != "gpt2":
            raise ModelError(f"{path}: unknown tokenizer {kind!r}; gpt2 (byte-level BPE) is read")
        tokenizer = Tokenizer.from_gguf(
            tokens,
            field("tokenizer.ggml.merges"),
            field("tokenizer.ggml.token_type"),
            field("tokenizer.ggml.pre"),
            path,
        )
        tensors = {tensor.name: _tensor(path, tensor) for tensor in reader.tensors}
    except ModelError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: truncated or corrupt GGUF: {error}") from None
    model = Model(config, tensors, tokenizer)
    model.check(path)
    return model


def export_gguf(model, path):
    """Write ``model``, dequantised to F32, as a GGUF file that llama.cpp runs."""
    config, tokenizer = model.config, model.tokenizer
    if tokenizer.pre is None:
        raise ModelError(f"{path}: GGUF has no name for how {config.name}'s tokenizer splits text")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(config.name)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.ffn_dim)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
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
    for name, tensor in model.tensors.items():
        writer.add_tensor(name, tensor.dequantise() if isinstance(tensor, BlockTensor) else tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
