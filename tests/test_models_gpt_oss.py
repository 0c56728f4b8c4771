"""gpt-oss's files: experts in MXFP4 as both kinds of files have them, and what is refused."""

from dataclasses import replace
import json
import math

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from poblano_host.models import FloatModel, ModelError
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.rope import RopeScaling, rope_frequencies
from poblano_host.models.safetensors import load_directory
from tests.models_families import model_of
from tests.models_files import save_directory, tiny_tokenizer
from tests.test_models import check_against_llama_cpp
from tests.test_models_mixtures import rewritten

MXFP4 = gguf.GGMLQuantizationType.MXFP4
PART = "model.layers.0.mlp.experts.{}"
BLOCKS, SCALES = (PART.format(f"gate_up_proj_{part}") for part in ("blocks", "scales"))


def packed(stored):
    """A directory's tensors with the experts' in MXFP4, and what these then are in float32.

    gguf quantises them to bytes of a scale and of the elements n and n + 16 of a block; here elements 2n and
    2n + 1 are beside each other.
    """
    found, expected = {}, {}
    for name, tensor in stored.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            found[name] = tensor
            continue
        rows = np.ascontiguousarray(tensor.swapaxes(1, 2))  # (E, N, K)
        data = gguf.quants.quantize(rows, MXFP4).reshape(*rows.shape[:2], -1, 17)
        codes = np.concatenate((data[..., 1:] & 15, data[..., 1:] >> 4), -1)
        found[f"{name}_blocks"] = codes[..., 0::2] | codes[..., 1::2] << 4
        found[f"{name}_scales"] = np.ascontiguousarray(data[..., 0])
        expected[name] = gguf.dequantize(data.reshape(-1, data[0, 0].size), MXFP4).reshape(rows.shape)
    return found, expected


@pytest.fixture
def folder(tmp_path):
    """A directory in MXFP4."""
    save_directory(model_of("gpt_oss"), tiny_tokenizer(), tmp_path)
    edit(tmp_path, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    path = tmp_path / "model.safetensors"
    save_file(packed(load_file(path))[0], path)
    return tmp_path


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_directory_in_mxfp4(tmp_path):
    """Experts stay on their grid; gate and up have turns in the rows of the file."""
    save_directory(model_of("gpt_oss"), tiny_tokenizer(), tmp_path)
    edit(tmp_path, quantization_config={"quant_method": "mxfp4"})
    path = tmp_path / "model.safetensors"
    stored, expected = packed(load_file(path))
    save_file(stored, path)
    model = load_directory(tmp_path)
    for layer in range(2):
        part = lambda name, n=layer: expected[PART.replace("0", str(n)).format(name)]
        both, down = part("gate_up_proj"), part("down_proj")
        for name, array in {"gate": both[:, 0::2], "up": both[:, 1::2], "down": down}.items():
            tensor = model.tensors[f"blk.{layer}.ffn_{name}_exps.weight"]
            assert tensor.format == "mxfp4_e2m1"
            np.testing.assert_array_equal(tensor.dequantise(), array.reshape(tensor.shape))
            assert model.stored[f"blk.{layer}.ffn_{name}_exps.weight"] == "MXFP4"


def test_gguf_in_mxfp4(folder):
    """The same model as a GGUF file, whose experts stay on their grid."""
    model, tokens = load_directory(folder), [5, 6, 7, 300, 2]

    def stored(name, data):
        if not name.endswith("_exps.weight"):
            return data, None
        return gguf.quants.quantize(data, MXFP4), MXFP4

    again = load_gguf(rewritten(folder / "model.gguf", model, stored))
    for name, tensor in model.tensors.items():
        if name.endswith("_exps.weight"):
            assert again.tensors[name].format == "mxfp4_e2m1"
            np.testing.assert_array_equal(again.tensors[name].dequantise(), tensor.dequantise())
    expected = FloatModel(model).forward(tokens)
    np.testing.assert_allclose(FloatModel(again).forward(tokens), expected, rtol=1e-4, atol=1e-4)


def test_clamped_elements_against_llama_cpp(tmp_path):
    """Biases that take some gates and ups past the limit, above and below."""
    model, tokens = model_of("gpt_oss"), [5, 6, 7, 300, 2]
    for layer in range(2):
        for part in ("gate", "up"):
            model.tensors[f"blk.{layer}.ffn_{part}_exps.bias"] *= 12
    wider = replace(model, config=replace(model.config, limit=100.0))
    assert np.abs(FloatModel(model).forward(tokens) - FloatModel(wider).forward(tokens)).max() > 0.1
    check_against_llama_cpp(model, tmp_path / "model.gguf", 200)


def without(name):
    return lambda tensors: tensors.pop(name)


def put(name, change):
    return lambda tensors: tensors.update({name: change(tensors[name])})


STEM = "blk.0.ffn_gate_up_exps"


@pytest.mark.parametrize(
    "change, message",
    [
        (without(SCALES), f"tensor {STEM}.scales is missing"),
        (put(SCALES, lambda x: x.astype(np.float32)), f"tensor {STEM}.scales is no U8"),
        (without(BLOCKS), f"tensor {STEM}.scales has bytes that no blocks go with"),
        (put(BLOCKS, lambda x: x[..., :8].copy()), rf"tensor {STEM} has blocks of shape \(8, 192, 4, 8\)"),
        (put(SCALES, lambda x: x[:, :-1].copy()), rf"tensor {STEM} has blocks .* scales of \(8, 191, 4\)"),
        (put(SCALES, lambda x: np.full_like(x, 255)), "blk.0.ffn_gate_exps.weight has elements that are not"),
        (
            lambda tensors: [put(name, lambda x: x[:7].copy())(tensors) for name in (BLOCKS, SCALES)],
            r"blk.0.ffn_gate_exps.weight has shape \(672, 128\), not \(768, 128\)",
        ),
        (without("model.layers.0.self_attn.sinks"), "tensor blk.0.attn_sinks.weight is missing"),
        (without(PART.format("down_proj_bias")), "tensor blk.0.ffn_down_exps.bias is missing"),
        (
            put("model.norm.weight", lambda x: x.astype(np.uint8)),
            "tensor output_norm.weight has bytes that no blocks go with",
        ),
    ],
)
def test_refused_tensors(folder, change, message):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match=f"^[^\n]*model.safetensors: (tensor )?{message}[^\n]*$"):
        load_directory(folder)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(quantization_config={"quant_method": "fp8"}), "quantization_config is not supported"),
        (dict(quantization_config="mxfp4"), "quantization_config is not supported"),
        (dict(layer_types=["full_attention"] * 2), "layer_types .* is not supported, only"),
        (dict(attention_bias=False), "attention_bias False is not supported, only True"),
        (dict(sliding_window=0), "window is 0"),
        (dict(swiglu_limit=0), "limit is 0.0"),
    ],
)
def test_refused_fields(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ModelError, match=f"^[^\n]*config.json: ({message})[^\n]*$"):
        load_directory(folder)


def test_bytes_need_the_field(folder):
    """Without quantization_config bytes are no tensors."""
    edit(folder, quantization_config=None)
    with pytest.raises(ModelError, match="has unsupported type U8; F32, F16, BF16 are read"):
        load_directory(folder)


def test_yarn_that_is_not_truncated(folder):
    """Frequencies between those that scaling leaves alone and those it divides, as gpt-oss has them."""
    edit(
        folder,
        rope_scaling={
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "original_max_position_embeddings": 64,
            "truncate": False,
        },
    )
    model = load_directory(folder)
    scaling, base = model.config.rope, model.config.rope_base
    assert not scaling.truncate and RopeScaling().truncate
    where = lambda turns: 16 * math.log(64 / (turns * 2 * math.pi)) / math.log(base)
    kept = [1 - min(max((i - max(where(32), 0)) / (where(1) - max(where(32), 0)), 0), 1) for i in range(16)]
    plain = np.array(rope_frequencies(base, 32))
    expected = [k * f + (1 - k) * f / 32 for k, f in zip(kept, plain)]
    np.testing.assert_allclose(model.config.frequencies, expected)
    with pytest.raises(ModelError, match="x.gguf: GGUF can't state truncate False of RoPE scaling 'yarn'$"):
        export_gguf(model, folder / "x.gguf")
