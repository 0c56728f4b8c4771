"""GGUF's types: what is held equals what its package reads, or differs by what docs/formats.md says."""

from pathlib import Path
import struct

import gguf
import numpy as np
import pytest

from poblano.config import PRESETS, preset
from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.compiler.conversions import conversions
from poblano_host.compiler.weights import block_tensor, matrix_bytes
from poblano_host.models import BlockTensor, FloatModel, ModelError, quantise_model
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.gguf_file import StoredTensor
from poblano_host.models.gguf_types import TYPES, tensor_of
from poblano_host.models.quantise import quantise_q8_0
from poblano_host.models.tokenizer import Tokenizer
from tests.gguf_blocks import KINDS, stored_bytes, stored_tensor, type_table
from tests.models_files import tiny_tokenizer
from tests.models_tiny import Run, chip, tiny_model

DOCUMENT = Path(__file__).parents[1] / "docs/formats.md"
Kind = gguf.GGMLQuantizationType


def test_document():
    """`print(tests.gguf_blocks.type_table())` is what the document should have."""
    assert type_table() in DOCUMENT.read_text()


def random_tensor(kind, shape, seed=0):
    """Random bytes, with factors of a layer's size: every code, sign and scale occurs."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (shape[0], shape[1] // elements, size)).astype(np.uint8)
    places = {Kind.Q4_1: (0, 2), Kind.Q5_1: (0, 2), Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2), Kind.Q6_K: (208,)}
    if kind is Kind.MXFP4:
        data[..., 0] = generator.integers(105, 130, data.shape[:2])
    elif kind not in (Kind.F32, Kind.F16, Kind.BF16):
        for at in places.get(kind, (0,)):
            factors = generator.normal(0, 0.01, data.shape[:2]).astype(np.float16)
            data[..., at : at + 2] = factors[..., None].view(np.uint8)
    else:
        data = stored_bytes(kind, generator.normal(0, 0.05, shape).astype(np.float32))
    return StoredTensor(kind, shape, data.reshape(shape[0], -1))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_equals_the_package(kind):
    stored = random_tensor(kind, (24, 512))
    expected = gguf.dequantize(stored.data, kind).reshape(24, 512)
    held = tensor_of(stored, "x")
    got = held.dequantise() if isinstance(held, BlockTensor) else held
    assert got.dtype == np.float32
    if TYPES[kind].blocks is None and TYPES[kind].format is not None:
        anew = quantise_q8_0(expected)
        np.testing.assert_array_equal(held.q, anew.q)
        np.testing.assert_array_equal(held.scale, anew.scale)
    elif kind is Kind.Q4_K:
        blocks = expected.reshape(24, 16, 32)
        scale, low = held.scale.astype(np.float64)[..., None], held.minimum.astype(np.float64)[..., None]
        bound = (15 * np.abs(scale) + np.abs(low)) * 2.0**-11 * 1.001
        assert (np.abs(got.reshape(blocks.shape) - blocks) <= bound).all()
        assert not np.array_equal(got, expected)
    else:
        np.testing.assert_array_equal(got, expected)
    if isinstance(held, BlockTensor):
        assert held.format == TYPES[kind].format and held.scale.dtype in (np.float16, np.float32)


def test_q4_k_with_scales_that_fit_is_exact():
    """Where d and dmin are powers of two, both products have few bits: nothing is rounded; with the smallest
    d too, since F16's subnormal numbers are whole multiples of it."""
    for factor in (2.0**-6, 2.0**-24, 3 * 2.0**-24):
        stored = random_tensor(Kind.Q4_K, (8, 512))
        data = stored.data.reshape(8, 2, -1).copy()
        data[..., 0:4] = np.frombuffer(struct.pack("<ee", factor, factor), np.uint8)
        stored = StoredTensor(Kind.Q4_K, (8, 512), data.reshape(8, -1))
        expected = gguf.dequantize(stored.data, Kind.Q4_K)
        np.testing.assert_array_equal(tensor_of(stored, "x").dequantise(), expected)


def test_q4_k_streams_5_bits_a_weight():
    tensor = tensor_of(stored_tensor(Kind.Q4_K, np.ones((576, 1536), np.float32)), "x")
    for name in PRESETS:
        assert matrix_bytes(tensor, preset(name)) * 8 <= 5 * 576 * 1536


def test_q4_k_beyond_f16(tmp_path):
    data = random_tensor(Kind.Q4_K, (64, 256)).data.copy()
    data[3, 0:2] = np.array([5000], np.float16).view(np.uint8)
    assert not np.isfinite(tensor_of(StoredTensor(Kind.Q4_K, (64, 256), data), "x").scale).all()


def test_mxfp4_on_two_arrays():
    """It stays as it is where the array has MXFP4 weights; with INT8 weights it is exact too."""
    held = tensor_of(random_tensor(Kind.MXFP4, (16, 128)), "x")
    native = block_tensor(held, chip(formats=("int8", "int4", "mxfp4_e2m1")))
    assert native is held and held.format == "mxfp4_e2m1"
    integers = block_tensor(held, chip())
    assert integers.format == "q8_0" and integers.scale.dtype == np.float16
    np.testing.assert_array_equal(integers.dequantise(), held.dequantise())
    small = BlockTensor(held.format, held.q, held.scale * np.float32(2.0**-20))
    wide = block_tensor(small, chip())
    assert wide.scale.dtype == np.float32
    np.testing.assert_array_equal(wide.dequantise(), small.dequantise())
    with pytest.raises(ValueError, match=r"a matrix of shape \(16, 128\): a block's scale is below 2\*\*-55"):
        block_tensor(BlockTensor(held.format, held.q, held.scale * np.float32(2.0**-60)), chip())


def write(path, model, kind):
    """A Model as a GGUF file with matrices in a type."""
    plain = path.with_name("plain.gguf")
    export_gguf(model, plain)
    reader = gguf.GGUFReader(plain)
    writer = gguf.GGUFWriter(path, model.config.architecture)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            of = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], of)
    for tensor in reader.tensors:
        data = np.array(tensor.data)
        if data.ndim == 2:
            writer.add_tensor(tensor.name, stored_bytes(kind, data), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def model():
    tokenizer = Tokenizer(tiny_tokenizer(), "qwen2")
    sizes = dict(dim=256, heads=8, kv_heads=2, ffn_dim=256, layers=1, vocab=416, context=32)
    return tiny_model(tokenizer=tokenizer, **sizes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_model_of_each_type(kind, model, tmp_path):
    """The file loads, and the chip's logits are near those of the float model on the stored weights."""
    path = tmp_path / "model.gguf"
    write(path, model, kind)
    loaded = load_gguf(path)
    assert {loaded.stored[name] for name, t in loaded.tensors.items() if len(t.shape) == 2} == {kind.name}
    (conversion,) = conversions(loaded, chip())
    held = {"mxfp4_e2m1": "q8_0", None: "q8_0"}.get(TYPES[kind].format, TYPES[kind].format)
    assert (conversion.stored, conversion.held, conversion.rule) == (kind.name, held, TYPES[kind].rule)
    tokens = [5, 17, 300, 41, 7, 99]
    expected = FloatModel(loaded).forward(tokens)
    got = Run(CompiledModel(loaded, chip(tiles=1), context=32)).steps(tokens, [6])
    assert np.sqrt(np.square(got - expected).mean() / np.square(expected).mean()) < 0.04


def test_an_array_without_the_elements(model, tmp_path):
    """The message names the tensor, and what the array has."""
    path = tmp_path / "model.gguf"
    write(path, model, Kind.Q4_K)
    message = r"tensor blk.0.attn_[kqv].weight: this array has no UINT4 weights; it has INT8$"
    with pytest.raises(CompileError, match=message):
        CompiledModel(load_gguf(path), chip(formats=("int8",)), context=32)


def test_conversions_of_a_model_that_is_quantised_again(model, tmp_path):
    path = tmp_path / "model.gguf"
    write(path, model, Kind.Q4_K)
    again = quantise_model(load_gguf(path), "q4_0", again=True)
    (conversion,) = conversions(again, chip())
    assert str(conversion) == "8 matrices of Q4_K are quantised to q4_0"
    (conversion,) = conversions(model, chip())
    assert str(conversion) == "8 matrices of q8_0 are held as q8_0: exact"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if TYPES[kind].format], ids=lambda kind: kind.name)
def test_a_tensor_that_is_not_finite(kind, model, tmp_path):
    path = tmp_path / "model.gguf"
    write(path, model, kind)
    data = bytearray(path.read_bytes())
    stored = {t.name: t for t in gguf.GGUFReader(path).tensors}["blk.0.ffn_down.weight"]
    at = stored.data_offset + (208 if kind is Kind.Q6_K else 0)
    data[at : at + 2] = b"\xff\xff"
    path.write_bytes(data)
    with pytest.raises(
        ModelError, match=r"tensor blk.0.ffn_down.weight(: | has elements that are not finite)"
    ):
        load_gguf(path)
