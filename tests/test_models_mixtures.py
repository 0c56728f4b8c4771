"""Files of mixtures of experts: what of them is refused, and that stored grids are kept."""

import json

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from poblano_host.models import BlockTensor, ModelError
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.quantise import quantise_q8_0
from poblano_host.models.safetensors import load_directory
from tests.models_families import model_of
from tests.models_files import save_directory, tiny_tokenizer

EXPERT = "model.layers.1.{block}.experts.{n}.{part}.weight"


def written(folder, case, *, config=None, tensors=None):
    """A directory of a case with changed fields, and its tensors by a function."""
    save_directory(model_of(case), tiny_tokenizer(), folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
    if tensors is not None:
        path = folder / "model.safetensors"
        save_file(tensors(load_file(path)), path)
    return folder


REFUSED = [
    ("mixtral", {"num_local_experts": 0}, "experts is 0"),
    ("mixtral", {"num_experts_per_tok": 5}, "5 experts of a token are more than the 4"),
    ("mixtral", {"sliding_window": 64}, "sliding_window 64 is not supported, only None"),
    ("mixtral", {"quantization_config": {"quant_method": "mxfp4"}}, "quantization_config is not supported"),
    ("olmoe", {"clip_qkv": 8.0}, "clip_qkv 8.0 is not supported, only None"),
    ("olmoe", {"head_dim": 24}, "head_dim 24 is not a multiple of 32"),
    ("qwen2moe", {"decoder_sparse_step": 2}, "decoder_sparse_step 2 is not supported, only 1"),
    ("qwen2moe", {"mlp_only_layers": [0]}, r"mlp_only_layers \[0\] is not supported, only \[\]"),
    ("qwen2moe", {"shared_expert_intermediate_size": 48}, "shared_dim 48 is not a multiple of 32"),
    ("qwen2moe", {"qkv_bias": False}, "qkv_bias False is not supported, only True"),
    ("qwen3moe", {"moe_intermediate_size": None}, "a size or constant is no number|ffn_dim is None"),
    ("qwen3moe", {"num_experts": True}, "experts is True"),
]


@pytest.mark.parametrize("case, changes, message", REFUSED)
def test_refused_fields(case, changes, message, tmp_path):
    with pytest.raises(ModelError, match=f"^[^\n]*config.json: ({message})[^\n]*$"):
        load_directory(written(tmp_path, case, config=changes))


def drop(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def change(name, array):
    return lambda tensors: tensors | {name: array}


W1 = EXPERT.format(block="block_sparse_moe", n=2, part="w1")
STACK = "tensor blk.1.ffn_gate_exps.weight"


@pytest.mark.parametrize(
    "changed, message",
    [
        (drop(W1), f"{STACK} has no expert 2, but 3"),
        (drop(W1.replace(".2.", ".3.")), rf"{STACK} has shape \(288, 128\), not \(384, 128\)"),
        (change(W1, np.zeros((64, 128), np.float32)), f"{STACK} has experts of different shapes"),
        (change(W1.replace(".2.", ".02."), np.zeros(3, np.float32)), f"unknown tensor .*{'.02.'}"),
        (change(W1, np.full((96, 128), np.nan, np.float32)), f"{STACK} has elements that are not finite"),
        (
            lambda tensors: {k: v for k, v in tensors.items() if "w3" not in k},
            "tensor blk.0.ffn_up_exps.weight is missing",
        ),
        (
            lambda tensors: {k: v for k, v in tensors.items() if ".gate." not in k},
            "tensor blk.0.ffn_gate_inp.weight is missing",
        ),
    ],
)
def test_refused_experts(changed, message, tmp_path):
    with pytest.raises(ModelError, match=f"^[^\n]*model.safetensors: {message}[^\n]*$"):
        load_directory(written(tmp_path, "mixtral", tensors=changed))


def rewritten(path, model, changed, fields=lambda writer: None):
    """``model`` as a GGUF file, whose tensors ``changed`` has changed, and whose ``fields`` a function of the
    writer."""
    export_gguf(model, path.with_suffix(".whole"))
    reader = gguf.GGUFReader(path.with_suffix(".whole"))
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, arch)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kinds = field.types
        writer.add_key_value(name, field.contents(), kinds[0], kinds[-1] if len(kinds) > 1 else None)
    fields(writer)
    for tensor in reader.tensors:
        data, kind = changed(tensor.name, np.array(tensor.data))
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind, form", [("Q4_0", "q4_0"), ("Q8_0", "q8_0"), ("MXFP4", "mxfp4_e2m1")])
def test_stored_grids(kind, form, tmp_path):
    """Experts in blocks stay on their grid, those of all experts below each other."""
    kind = gguf.GGMLQuantizationType[kind]

    def quantise(name, data):
        if "_exps" not in name:
            return data, None
        return gguf.quants.quantize(data, kind), kind

    model = load_gguf(rewritten(tmp_path / "model.gguf", model_of("qwen3moe"), quantise))
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    found = [tensor for tensor in reader.tensors if "_exps" in tensor.name]
    assert len(found) == 6
    for stored in found:
        tensor = model.tensors[stored.name]
        assert tensor.format == form and model.stored[stored.name] == kind.name
        expected = gguf.dequantize(stored.data, kind)
        np.testing.assert_array_equal(tensor.dequantise(), expected.reshape(tensor.shape))


def reshape(name, *shape):
    return lambda key, data: (data.reshape(shape) if key == name else data, None)


GATE = "blk.0.ffn_gate_exps.weight"


@pytest.mark.parametrize(
    "changed, message",
    [
        (reshape(GATE, 384, 128), rf"tensor {GATE} has shape \(384, 128\), which is not of 4 experts"),
        (reshape(GATE, 2, 192, 128), rf"tensor {GATE} has shape \(2, 192, 128\), which is not of 4 experts"),
        (reshape(GATE, 4, 48, 256), rf"tensor {GATE} has shape \(192, 256\), not \(384, 128\)"),
        (
            lambda name, data: (data[:, :95] if name == GATE else data, None),
            rf"tensor {GATE} has shape \(380, 128\), not \(384, 128\)",
        ),
    ],
)
def test_refused_stacks(changed, message, tmp_path):
    with pytest.raises(ModelError, match=f"^[^\n]*model.gguf: {message}$"):
        load_gguf(rewritten(tmp_path / "model.gguf", model_of("mixtral"), changed))


def test_dense_models_have_no_experts(tmp_path):
    """A tensor of experts is unknown to a family without them."""
    export_gguf(model_of("qwen3"), tmp_path / "dense.gguf")
    path = rewritten(tmp_path / "model.gguf", model_of("qwen3"), lambda name, data: (data, None))
    assert load_gguf(path).config.ffn_dim == 96
    one = lambda name, data: (data[None] if name == "blk.0.ffn_up.weight" else data, None)
    with pytest.raises(ModelError, match=r"ffn_up.weight has shape \(1, 96, 96\), not \(96, 96\)"):
        load_gguf(rewritten(tmp_path / "model.gguf", model_of("qwen3"), one))


@pytest.mark.parametrize("case", ["mixtral", "qwen3moe", "deepseek", "phi3"])
def test_export_in_blocks(case, tmp_path):
    """Blocks are written as they are, so that the file is read as the same model; GGUF's own library has the
    same elements. Phi-3's files have some matrices joined, and become F32."""
    formats = ("q8_0", "q4_0", "q4_1", "mxfp4_e2m1")
    model, path = model_of(case, formats=formats), tmp_path / "model.gguf"
    export_gguf(model, path, blocks=True)
    again = load_gguf(path)
    for name, tensor in model.tensors.items():
        if not isinstance(tensor, BlockTensor) or case == "phi3":
            assert isinstance(again.tensors[name], np.ndarray)
            continue
        assert again.tensors[name].format == tensor.format
        np.testing.assert_array_equal(again.tensors[name].dequantise(), tensor.dequantise())
    rotated = model.graph.rotated()
    for stored in gguf.GGUFReader(path).tensors:
        tensor = model.tensors.get(stored.name)
        if isinstance(tensor, BlockTensor) and stored.name not in rotated and case != "phi3":
            values = gguf.dequantize(stored.data, stored.tensor_type)
            np.testing.assert_array_equal(values.reshape(tensor.shape), tensor.dequantise())


def test_scales_that_gguf_can_not_have(tmp_path):
    """A matrix whose scales F16 does not hold becomes F32."""
    model, name = model_of("mixtral"), "blk.0.ffn_up_exps.weight"
    tiny = np.full(model.tensors[name].shape, 2.0**-30, np.float32)
    model.tensors[name] = quantise_q8_0(tiny)
    assert model.tensors[name].scale.dtype == np.float32
    export_gguf(model, tmp_path / "model.gguf", blocks=True)
    np.testing.assert_array_equal(
        load_gguf(tmp_path / "model.gguf").tensors[name], model.tensors[name].dequantise()
    )
