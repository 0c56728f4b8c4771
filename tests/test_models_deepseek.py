"""DeepSeek-V3's files: variants that are read, and what is refused."""

from dataclasses import replace
import json

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from poblano_host.models import FloatModel, ModelError
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.latent_attention import LatentAttention
from poblano_host.models.operators import Attention
from poblano_host.models.plain_latents import plain_latents
from poblano_host.models.safetensors import load_directory
from tests.models_families import model_of
from tests.models_files import save_directory, tiny_tokenizer
from tests.test_models_mixtures import rewritten

TOKENS = [5, 6, 7, 300, 2]


@pytest.fixture
def folder(tmp_path):
    save_directory(model_of("deepseek"), tiny_tokenizer(), tmp_path)
    return tmp_path


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes", [dict(query_rank=None), dict(shared=0), dict(dense_layers=0), dict(groups=1, used_groups=1)]
)
def test_variants(changes, tmp_path):
    """Queries in one matrix, as Moonlight's, and models without some of the parts."""
    model = model_of("deepseek", **changes)
    save_directory(model, tiny_tokenizer(), tmp_path)
    loaded = load_directory(tmp_path)
    assert replace(loaded.config, name=model.config.name) == model.config
    expected = FloatModel(model).forward(TOKENS)
    np.testing.assert_allclose(FloatModel(loaded).forward(TOKENS), expected, rtol=1e-5, atol=1e-5)
    export_gguf(loaded, tmp_path / "model.gguf")
    again = FloatModel(load_gguf(tmp_path / "model.gguf")).forward(TOKENS)
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-4)


def test_latents_are_kept():
    """A text in steps gives the same logits."""
    model = model_of("deepseek")
    whole, parts = FloatModel(model), FloatModel(model)
    got = [parts.forward(TOKENS[:2]), parts.forward(TOKENS[2:3], 2), parts.forward(TOKENS[3:], 3)]
    np.testing.assert_allclose(np.concatenate(got), whole.forward(TOKENS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(scoring_func="softmax"), "scoring_func 'softmax' is not supported, only 'sigmoid'"),
        (dict(topk_method="greedy"), "topk_method 'greedy' is not supported, only 'noaux_tc'"),
        (dict(rope_interleave=False), "rope_interleave False is not supported, only True"),
        (
            dict(rope_scaling={"rope_type": "yarn", "factor": 40.0}),
            "RoPE scaling 'yarn' of latent attention is not supported, only none",
        ),
        (dict(num_nextn_predict_layers=1), "deepseek with num_nextn_predict_layers 1 is not supported"),
        (dict(n_group=3), "16 experts in 2 of 3 groups"),
        (dict(topk_group=0), "16 experts in 0 of 4 groups"),
        (dict(topk_group=1, num_experts_per_tok=5), "5 experts of a token are more than its groups have"),
        (dict(kv_lora_rank=40), "rank 40 is not a multiple of 32"),
        (dict(v_head_dim="64"), "value_dim '64' is not a multiple of 32"),
        (dict(n_shared_experts=-1), "shared is -1"),
        (dict(q_lora_rank=40), "query_rank 40 is not a multiple of 32"),
        (dict(qk_nope_head_dim=40), "16 elements of heads of 56 rotate; the others must be a multiple of 32"),
        (dict(qk_nope_head_dim="32"), "a size or constant is no number"),
        (dict(qk_nope_head_dim=None), "head_dim is None|a size or constant is no number"),
        (dict(quantization_config={"quant_method": "fp8"}), "quantization_config is not supported"),
    ],
)
def test_refused_fields(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ModelError, match=f"^[^\n]*config.json: ({message})[^\n]*$"):
        load_directory(folder)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("self_attn.kv_b_proj.weight", lambda x: x[:-1].copy(), r"shape \(383, 64\), not \(384, 64\)"),
        ("self_attn.kv_b_proj.weight", None, "tensor blk.2.attn_k_b.weight is missing"),
        ("mlp.gate.e_score_correction_bias", None, "tensor blk.2.exp_probs_b.bias is missing"),
        ("mlp.shared_experts.up_proj.weight", None, "tensor blk.2.ffn_up_shexp.weight is missing"),
    ],
)
def test_refused_tensors(folder, name, change, message):
    path, name = folder / "model.safetensors", f"model.layers.2.{name}"
    tensors = load_file(path)
    old = tensors.pop(name)
    save_file(tensors | ({} if change is None else {name: change(old)}), path)
    with pytest.raises(ModelError, match=f"^[^\n]*{message}$"):
        load_directory(folder)


def test_refused_gguf(tmp_path):
    """Stacks of other heads, DeepSeek-V2's scoring, and files of before latent attention was GGUF's own."""
    key = "blk.0.attn_k_b.weight"
    shaped = lambda name, data: (data.reshape(2, 128, 32) if name == key else data, None)
    with pytest.raises(ModelError, match=rf"{key} has shape \(2, 128, 32\), which is not of 4 heads$"):
        load_gguf(rewritten(tmp_path / "model.gguf", model_of("deepseek"), shaped))
    for field, value, message in (
        ("expert_gating_func", 1, "expert_gating_func 1 is not supported, only 2"),
        ("expert_gating_func", None, "expert_gating_func None is not supported, only 2"),
        ("attention.head_count_kv", 4, "latent attention of 4 KV heads is not supported, only 1"),
        ("attention.key_length", 48, "deepseek2.attention.key_length 48 is not supported, only 80"),
    ):
        change = lambda writer, field=field, value=value: (
            writer.kv_data[0].pop(f"deepseek2.{field}")
            if value is None
            else writer.add_key_value(f"deepseek2.{field}", value, gguf.GGUFValueType.UINT32)
        )
        path = rewritten(
            tmp_path / "model.gguf", model_of("deepseek"), lambda name, data: (data, None), change
        )
        with pytest.raises(ModelError, match=f"^[^\n]*model.gguf: {message}$"):
            load_gguf(path)


def test_windows_of_dots1(tmp_path):
    """Layers behind some number attend to a window, if there are as many."""
    save_directory(model_of("dots1"), tiny_tokenizer(), tmp_path)
    edit(tmp_path, sliding_window=64, max_window_layers=3)
    load_directory(tmp_path)
    edit(tmp_path, max_window_layers=2)
    with pytest.raises(ModelError, match="config.json: max_window_layers 2 is not supported, only 3$"):
        load_directory(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(query_rank=None),
        dict(value_dim=32),
        dict(value_dim=128, head_dim=40, rope_dim=8),
        dict(formats=("q4_1", "q8_0", "q4_0")),
    ],
    ids=str,
)
def test_as_common_attention(changes):
    """What is compiled computes the same in floats, a text in steps too, and has no latents any more."""
    model = model_of("deepseek", **changes)
    plain = plain_latents(model)
    assert not plain.graph.of(LatentAttention) and len(plain.graph.of(Attention)) == model.config.layers
    assert {name: tensor.shape for name, tensor in plain.tensors.items()} == plain.graph.shapes()
    runs = FloatModel(plain)
    got = np.concatenate([runs.forward(TOKENS[:3]), runs.forward(TOKENS[3:], 3)])
    np.testing.assert_allclose(got, FloatModel(model).forward(TOKENS), rtol=1e-3, atol=1e-4)


def test_other_models_are_as_they_were():
    model = model_of("dots1")
    assert plain_latents(model) is model
