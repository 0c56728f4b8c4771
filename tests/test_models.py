"""Models from files: loaders, quantisers, tokenizers and the float model, against gguf and llama.cpp."""

from dataclasses import replace
import json
import shutil

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from poblano_host.models import (
    BlockTensor,
    FloatModel,
    Model,
    ModelConfig,
    ModelError,
    load_model,
    loader,
    quantise_model,
)
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.quantise import QUANTISERS
from poblano_host.models.safetensors import load_directory
from poblano_host.models.tokenizer import Tokenizer
from tests.models_files import save_directory, tiny_tokenizer
from tests.models_tiny import tiny_model

TEXT = (
    "And the king said unto them, What is this that ye have done in the 21 days? "
    "'Tis naïve; it's 3,000 — \n\n  so."
)


@pytest.fixture(scope="module")
def model():
    return load_model("default")


def llama_cpp(path):
    """A llama.cpp server on the GGUF file at ``path``, F32 KV cache, no flash attention."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 256
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cpuparams.n_threads = 1
    params.warmup = False
    return xllamacpp.Server(params)


def log_probabilities(server, prompt, count, forced):
    """llama.cpp's log-probabilities of the ``count`` likeliest next tokens, and how many tokens ``prompt``
    has. The token ``forced`` is then chosen: of half a character llama.cpp says nothing."""
    answer = server.handle_completions(
        {
            "prompt": prompt,
            "n_predict": 1,
            "logprobs": count,
            "temperature": 0,
            "cache_prompt": False,
            "logit_bias": [[forced, 1000]],
        }
    )
    answer = json.loads(answer) if isinstance(answer, (str, bytes)) else answer
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {entry["id"]: entry["logprob"] for entry in top}, answer["usage"]["prompt_tokens"]


def check_against_llama_cpp(model, path, count):
    export_gguf(model, path)
    server, forced = llama_cpp(path), model.tokenizer.id_of("a")
    ids = model.framed(TEXT)
    logits = FloatModel(model).forward(ids).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for length in (1, 7, len(ids)):
        theirs, _ = log_probabilities(server, ids[:length], count, forced)
        assert len(theirs) >= count // 2
        assert max(abs(expected[length - 1, i] - p) for i, p in theirs.items()) <= 1e-3
    # the same text gives the same tokens: the next token's distribution is that of our ids
    theirs, tokens = log_probabilities(server, TEXT, count, forced)
    assert tokens == len(ids)
    assert max(abs(expected[-1, i] - p) for i, p in theirs.items()) <= 1e-3


def test_default_model_against_llama_cpp(model, tmp_path):
    check_against_llama_cpp(model, tmp_path / "default.gguf", 1000)


@pytest.mark.slow
def test_smollm2_against_llama_cpp(tmp_path):
    check_against_llama_cpp(load_model("smollm2"), tmp_path / "smollm2.gguf", 1000)


def tiny(family, tokenizer, **changes):
    """A tiny model of ``family`` with a padded vocabulary; heads fill ``dim``, as llama.cpp's Qwen2 needs."""
    return tiny_model(
        family=family,
        dim=128,
        vocab=416,
        bos_id=397,
        eos_id=399,
        tokenizer=Tokenizer(tokenizer, "qwen2"),
        **changes,
    )


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # tests/test_models_families.py has all
@pytest.mark.parametrize("tied", [True, False])
def test_families_against_llama_cpp(family, tied, tmp_path):
    check_against_llama_cpp(tiny(family, tiny_tokenizer(), tied=tied), tmp_path / "model.gguf", 200)


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # tests/test_models_families.py has all
@pytest.mark.parametrize("tied", [True, False])
def test_families_in_both_files(family, tied, tmp_path):
    """The same model from a directory, and from the GGUF file that is exported then."""
    tokenizer = tiny_tokenizer()
    model = tiny(family, tokenizer, tied=tied, rope_base=5e5)
    save_directory(model, tokenizer, tmp_path / "model")
    loaded = load_directory(tmp_path / "model")
    export_gguf(loaded, tmp_path / "model.gguf")
    for again in (loaded, load_gguf(tmp_path / "model.gguf")):
        np.testing.assert_allclose(again.config.norm_eps, model.config.norm_eps, rtol=1e-6)
        assert replace(again.config, norm_eps=model.config.norm_eps) == model.config
        assert again.tensors.keys() == model.tensors.keys()
        for name, tensor in model.tensors.items():
            expected = tensor.dequantise() if isinstance(tensor, BlockTensor) else tensor
            np.testing.assert_array_equal(again.tensors[name], expected)
            assert again.tensors[name].dtype == np.float32
        assert again.tokenizer.encode(TEXT) == model.tokenizer.encode(TEXT)


def test_order_of_rows_in_files(tmp_path):
    """GGUF has Qwen2's rows in Hugging Face's order, but of Llama those that rotate side by side."""
    tokenizer = tiny_tokenizer()
    for family, halves in (("llama", False), ("qwen2", True)):
        model = tiny(family, tokenizer)
        save_directory(model, tokenizer, tmp_path / family)
        export_gguf(model, tmp_path / "model.gguf")
        theirs = load_file(tmp_path / family / "model.safetensors")["model.layers.1.self_attn.k_proj.weight"]
        stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
        ours = model.tensors["blk.1.attn_k.weight"].dequantise()
        np.testing.assert_array_equal(stored["blk.1.attn_k.weight"], theirs if halves else ours)
        half = model.config.head_dim // 2
        np.testing.assert_array_equal(theirs[[0, half, 1, half + 1]], ours[:4])


@pytest.mark.parametrize("name", ["q8_0", "q4_1"])
def test_stored_grid_with_halves(name, tmp_path):
    """Rows of quantised projections that RoPE rotates by halves are put beside each other in their grid."""
    model = tiny("qwen2", tiny_tokenizer(), formats=(name,))
    export_gguf(model, tmp_path / "model.gguf")
    quantised = quantise_gguf(tmp_path / "model.gguf", tmp_path / "quantised.gguf", name)
    floats = load_gguf(tmp_path / "model.gguf")
    for key, tensor in quantise_model(floats, name).tensors.items():
        got = quantised.tensors[key]
        if isinstance(tensor, BlockTensor):
            assert got.format == name
            np.testing.assert_array_equal(got.q, tensor.q)
            np.testing.assert_array_equal(got.dequantise(), tensor.dequantise())
        else:
            np.testing.assert_array_equal(got, tensor)


def test_export_and_load_gguf(model, tmp_path):
    path = tmp_path / "model.gguf"
    export_gguf(model, path)
    again = load_gguf(path)
    assert again.config == ModelConfig(**{**model.config.__dict__, "norm_eps": again.config.norm_eps})
    assert abs(again.config.norm_eps - model.config.norm_eps) < 1e-12
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)
    assert again.tokenizer.encode(TEXT) == model.tokenizer.encode(TEXT)


def test_tokenizer_round_trip(model):
    for text in (TEXT, "", " ", "\n\t x", "日本 ok", "a" * 300):
        assert model.tokenizer.decode(model.tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1"])
def test_quantisers_equal_gguf(name):
    rng = np.random.default_rng(1)
    array = (rng.standard_normal((64, 96)) * np.exp(rng.standard_normal((64, 96)) * 3)).astype(np.float32)
    array[3, :32] = 0
    array[5, 32:64] = 0.25
    ours = QUANTISERS[name](array)
    kind = gguf.GGMLQuantizationType[name.upper()]
    np.testing.assert_array_equal(
        ours.dequantise(), gguf.dequantize(gguf.quantize(array, kind), kind).reshape(64, 96)
    )


def quantise_gguf(path, quantised, name):
    """The model of the GGUF file ``path`` with its matrices in the format ``name``, through ``quantised``."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(quantised, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            writer.add_key_value(
                field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None
            )
    kind = gguf.GGMLQuantizationType[name.upper()]
    for tensor in reader.tensors:
        data = np.array(tensor.data)
        if data.ndim == 2:
            writer.add_tensor(tensor.name, gguf.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return load_gguf(quantised)


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1"])
def test_stored_grid_of_gguf(model, name, tmp_path):
    """A quantised GGUF keeps its grid bit for bit."""
    export_gguf(model, tmp_path / "model.gguf")
    loaded = quantise_gguf(tmp_path / "model.gguf", tmp_path / "quantised.gguf", name)
    expected = quantise_model(model, name)
    for key, tensor in expected.tensors.items():
        if isinstance(tensor, BlockTensor):
            assert loaded.tensors[key].format == name
            np.testing.assert_array_equal(loaded.tensors[key].q, tensor.q)
            np.testing.assert_array_equal(loaded.tensors[key].dequantise(), tensor.dequantise())


def test_decode_equals_prefill(model):
    ids = model.tokenizer.encode(TEXT)
    whole, single = FloatModel(model).forward(ids), FloatModel(model)
    for position, token in enumerate(ids):
        np.testing.assert_allclose(
            single.forward([token], position)[0], whole[position], rtol=1e-4, atol=1e-4
        )


def test_float_model_refuses_positions_past_the_context(model):
    with pytest.raises(ValueError, match="pass the context of 256"):
        FloatModel(model).forward([1] * 257)


# Bad files


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(loader.DEFAULT, tmp_path / "model")


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_unknown_architecture(folder):
    edit(folder, model_type="mamba")
    with pytest.raises(ModelError, match="config.json: unknown architecture 'mamba'; known are llama"):
        load_directory(folder)


def test_dimension_not_of_blocks(folder):
    edit(folder, intermediate_size=380)
    with pytest.raises(ModelError, match="ffn_dim 380 is not a multiple of 32"):
        load_directory(folder)


def test_wrong_shape(folder):
    edit(folder, intermediate_size=416)
    with pytest.raises(
        ModelError, match=r"tensor blk.0.ffn_gate.weight has shape \(384, 128\), not \(416, 128\)"
    ):
        load_directory(folder)


def test_missing_key_and_files(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="config.json: hidden_size is missing"):
        load_directory(folder)
    with pytest.raises(ModelError, match="config.json: no such file"):
        load_directory(tmp_path)
    with pytest.raises(ModelError, match="none.gguf: no such file"):
        load_model(str(tmp_path / "none.gguf"))
    with pytest.raises(ModelError, match="gpt5: no model; give default, moe, smollm2"):
        load_model("gpt5")


def test_truncated_safetensors(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="model.safetensors: truncated or corrupt safetensors"):
        load_directory(folder)


@pytest.mark.parametrize("cut", [0, 3, 20, 1000, 20000, -1, -5000])
def test_truncated_gguf(model, tmp_path, cut):
    path = tmp_path / "model.gguf"
    export_gguf(model, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match="model.gguf: truncated or corrupt GGUF"):
        load_gguf(path)


def test_corrupt_gguf(model, tmp_path):
    path = tmp_path / "model.gguf"
    export_gguf(model, path)
    good = path.read_bytes()
    path.write_bytes(b"GGML" + good[4:])
    with pytest.raises(ModelError, match="the first bytes are b'GGML', not b'GGUF'"):
        load_gguf(path)
    rng = np.random.default_rng(2)
    for _ in range(150):  # a flipped byte in the header is refused, or harmless
        bad = bytearray(good)
        bad[rng.integers(4, 12000)] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        try:
            load_gguf(path)
        except ModelError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_unknown_gguf_architecture(tmp_path):
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "rwkv6")
    writer.add_tensor("x", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="unknown architecture 'rwkv6'; known are llama"):
        load_gguf(path)


def test_missing_tensor(model, tmp_path):
    tensors = {k: v for k, v in model.tensors.items() if k != "blk.2.ffn_up.weight"}
    path = tmp_path / "model.gguf"
    export_gguf(Model(model.config, tensors, model.tokenizer), path)
    with pytest.raises(ModelError, match="tensor blk.2.ffn_up.weight is missing"):
        load_gguf(path)


def test_smollm2_with_another_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("POBLANO_CACHE", str(tmp_path))
    (tmp_path / loader.SMOLLM2_FILE).write_bytes(b"something else")
    with pytest.raises(ModelError, match="sha256 is .*; delete the file to fetch it again"):
        load_model("smollm2")
