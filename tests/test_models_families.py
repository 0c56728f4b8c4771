"""Every family: a tiny random model as GGUF and as safetensors, against llama.cpp."""

from dataclasses import replace
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from poblano_host.models import FloatModel, ModelError
from poblano_host.models.arch import FAMILIES
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.operators import ACTIVATIONS
from poblano_host.models.rope import RopeScaling
from poblano_host.models.safetensors import load_directory
from tests.models_families import CASES, model_of
from tests.models_files import save_directory, tiny_tokenizer
from tests.test_models import check_against_llama_cpp


def test_every_family_has_a_case():
    assert {case["family"] for case in CASES.values()} == set(FAMILIES)


def _half(function):
    """llama.cpp's GELU is a table of half floats."""
    halve = lambda x: x.astype(np.float16).astype(np.float32)
    return lambda x: halve(function(halve(x)))


@pytest.mark.parametrize("case", CASES)
def test_files(case, tmp_path, monkeypatch):
    """Hugging Face's directory, and the GGUF file that is exported then, hold the same model, whose
    log-probabilities are llama.cpp's."""
    monkeypatch.setitem(ACTIVATIONS, "gelu", _half(ACTIVATIONS["gelu"]))
    model, tokens = model_of(case), [5, 6, 7, 300, 2]
    expected = FloatModel(model).forward(tokens)
    save_directory(model, tiny_tokenizer(), tmp_path / "model")
    loaded = load_directory(tmp_path / "model")
    assert replace(loaded.config, name=model.config.name) == model.config
    np.testing.assert_allclose(FloatModel(loaded).forward(tokens), expected, rtol=1e-5, atol=1e-5)
    check_against_llama_cpp(loaded, tmp_path / "model.gguf", 200)
    again = load_gguf(tmp_path / "model.gguf")
    np.testing.assert_allclose(FloatModel(again).forward(tokens), expected, rtol=1e-4, atol=1e-4)


def test_what_gguf_cannot_state(tmp_path):
    """Mistral's window, and layers without positions other than every fourth, are in safetensors alone."""
    for case, changes, name in (
        ("mistral", dict(window=13), "window"),
        ("smollm3", dict(interval=2), "interval"),
    ):
        model = model_of(case, **changes)
        save_directory(model, tiny_tokenizer(), tmp_path / case)
        loaded = load_directory(tmp_path / case)
        assert getattr(loaded.config, name) == changes[name]
        with pytest.raises(ModelError, match=f"GGUF can't state {name} {changes[name]} of {case}$"):
            export_gguf(loaded, tmp_path / "model.gguf")


GEMMA_5 = {
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
    },
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
REFUSED = [
    ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0 is not supported, only None"),
    ("gemma3", {"hidden_activation": "gelu"}, "hidden_activation 'gelu' is not supported"),
    ("gemma3", {"layer_types": ["full_attention"] * 7}, "layer_types .* is not supported, only"),
    ("gemma3", {"sliding_window": 0}, "window is 0"),
    ("gpt2", {"activation_function": "relu"}, "activation_function 'relu' is not supported, only 'gelu_new'"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights False is not supported, only True"),
    ("smollm3", {"no_rope_layers": [1, 1, 1, 1, 0]}, "no_rope_layers .* is not supported, only"),
    ("qwen3", {"use_sliding_window": True}, "use_sliding_window True is not supported, only False"),
    ("phi3", {"partial_rotary_factor": 0.75}, "partial_rotary_factor 0.75 is not supported, only 1.0"),
    ("phi3", {"rope_scaling": {"type": "longrope"}}, "RoPE scaling 'longrope' needs short_factor and"),
    (
        "phi3",
        {
            "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 15},
            "original_max_position_embeddings": 64,
        },
        "RoPE has 15 factors, not 16, half of head_dim",
    ),
    ("granite", {"logits_scaling": 0}, "logit_divisor is 0.0"),
    ("granite", {"num_local_experts": 4}, "granite with num_local_experts 4 is not supported"),
]


@pytest.mark.parametrize("case, changes, message", REFUSED)
def test_refused_fields(case, changes, message, tmp_path):
    """Nothing runs with a field that is ignored."""
    save_directory(model_of(case), tiny_tokenizer(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=f"config.json: {message}"):
        load_directory(tmp_path)


def test_newer_fields_of_gemma(tmp_path):
    """The kinds of layers as a list, and RoPE's constants of each kind."""
    model = model_of("gemma3", layers=4)
    save_directory(model, tiny_tokenizer(), tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text()) | GEMMA_5
    for name in ("sliding_window_pattern", "rope_theta", "rope_local_base_freq", "rope_scaling"):
        del content[name]
    path.write_text(json.dumps(content))
    config = load_directory(tmp_path).config
    assert (config.period, config.rope_base, config.local_base) == (2, 5e5, 2e4)
    assert config.rope == RopeScaling(kind="linear", factor=8.0)


def test_text_of_a_model_that_sees(tmp_path):
    """Gemma 3's checkpoints of text and images, whose configurations leave out what is as by default."""
    sizes = dict(dim=64, heads=8, kv_heads=4, head_dim=256, query_scalar=256.0, context=131072, norm_eps=1e-6)
    model = model_of("gemma3", **sizes, layers=2, rope_base=1e6)
    save_directory(model, tiny_tokenizer(), tmp_path)
    path, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    text = json.loads(path.read_text())
    for name in ("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"):
        del text[name]
    for name in ("rms_norm_eps", "query_pre_attn_scalar", "rope_theta", "tie_word_embeddings"):
        del text[name]
    whole = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 8}}
    path.write_text(json.dumps(whole | {"mm_tokens_per_image": 256, "image_token_index": 400}))
    tensors = {f"language_model.{name}": tensor for name, tensor in load_file(weights).items()}
    save_file(tensors | {"vision_tower.x": np.zeros(3, np.float32)}, weights)
    loaded = load_directory(tmp_path)
    assert replace(loaded.config, name=model.config.name) == model.config
    tokens = [5, 6, 7]
    np.testing.assert_allclose(
        FloatModel(loaded).forward(tokens), FloatModel(model).forward(tokens), rtol=1e-5, atol=1e-5
    )
