"""GGUF files in and out. Matrices stay in their stored grid where the chip has it."""

from dataclasses import replace

import gguf
import numpy as np

from .arch import FAMILIES, find_family
from .config import ModelError, stored_fields
from .gguf_file import read_gguf
from .gguf_types import tensor_of
from .metadata import Metadata
from .model import BlockTensor, Model, interleaved_rows
from .text_files import gguf_tokenizer
from .tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED

__all__ = ["export_gguf", "load_gguf"]


def load_gguf(path):
    """The :class:`Model` in a GGUF file; :class:`ModelError` names the file and what is wrong."""
    values, stored = read_gguf(path)
    fields = Metadata(path, "gguf", values)
    try:
        family = find_family(fields.get("general.architecture"), path)
        tokens = fields.get("tokenizer.ggml.tokens")
        config = replace(fields, prefix=f"{family.name}.").config(
            family,
            name=fields.values.get("general.name", "unnamed"),
            vocab=len(tokens),
            bos_id=fields.values.get("tokenizer.ggml.bos_token_id"),
            eos_id=fields.values.get("tokenizer.ggml.eos_token_id"),
            tied="output.weight" not in stored,
        )
        tokenizer = gguf_tokenizer(fields)
    except ModelError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{path}: truncated or corrupt GGUF: {error}") from None
    tensors = {name: tensor_of(tensor, f"{path}: tensor {name}") for name, tensor in stored.items()}
    kinds = {name: tensor.kind.name for name, tensor in stored.items()}
    return Model.of_file(path, config, tensors, tokenizer, halves=family.gguf_halves, stored=kinds)


def export_gguf(model, path):
    """Write ``model``, dequantised to F32, as a GGUF file that llama.cpp runs."""
    config, tokenizer = model.config, model.tokenizer
    if tokenizer.pre is None:
        raise ModelError(f"{path}: GGUF has no name for how {config.name}'s tokenizer splits text")
    writer = gguf.GGUFWriter(path, config.architecture)
    writer.add_name(config.name)
    for field in stored_fields(type(config)):
        value, key = getattr(config, field.name), f"{config.architecture}.{field.metadata['gguf']}"
        (writer.add_float32 if field.type is float else writer.add_uint32)(key, value)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, config, tokenizer)
    rotated = model.graph.rotated() if FAMILIES[config.architecture].gguf_halves else {}
    for name, tensor in model.tensors.items():
        data = tensor.dequantise() if isinstance(tensor, BlockTensor) else tensor
        if name in rotated:
            data = data[np.argsort(interleaved_rows(len(data), rotated[name]))]
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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
