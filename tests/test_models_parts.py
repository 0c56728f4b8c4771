"""Models in several files, and types of safetensors: the same model, or one line that says what is wrong."""

import json
import os
import re
import subprocess
import sys

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from poblano_host.models import ModelError
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.models.safetensors import load_directory
from poblano_host.models.tokenizer import Tokenizer
from tests.models_files import save_directory, tiny_tokenizer
from tests.models_tiny import tiny_model


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(vocab=400, tokenizer=Tokenizer(tokenizer, "qwen2"))


def same(model, other):
    assert model.tensors.keys() == other.tensors.keys()
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensor, other.tensors[name])


def refused(load, path, message):
    with pytest.raises(ModelError) as error:
        load(path)
    assert "\n" not in str(error.value) and re.search(message, str(error.value)), str(error.value)


def split_gguf(source, folder, count, *, numbers=None, total=None, keep=lambda name, part: True):
    """The tensors of a file dealt out to ``count`` files; ``numbers`` are what these say they are."""
    reader = gguf.GGUFReader(source)
    paths = [folder / f"model-{n + 1:05}-of-{count:05}.gguf" for n in range(count)]
    for n, path in enumerate(paths):
        writer = gguf.GGUFWriter(path, reader.get_field("general.architecture").contents())
        for field in reader.fields.values() if n == 0 else ():
            if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                of = field.types[-1] if len(field.types) > 1 else None
                writer.add_key_value(field.name, field.contents(), field.types[0], of)
        writer.add_uint16("split.no", n if numbers is None else numbers[n])
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", len(reader.tensors) if total is None else total)
        for i, tensor in enumerate(reader.tensors):
            if i % count == n and keep(tensor.name, n):
                writer.add_tensor(tensor.name, np.array(tensor.data))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def test_split_gguf(model, tmp_path):
    export_gguf(model, tmp_path / "whole.gguf")
    whole = load_gguf(tmp_path / "whole.gguf")
    paths = split_gguf(tmp_path / "whole.gguf", tmp_path, 3)
    for path in paths:
        again = load_gguf(path)
        same(whole, again)
        assert again.config == whole.config and again.stored == whole.stored
    paths[1].rename(tmp_path / "away.gguf")
    refused(load_gguf, paths[0], "model-00002-of-00003.gguf: no such file$")
    refused(
        load_gguf, tmp_path / "away.gguf", "away.gguf: one of 3 parts, which is not named NAME-00001-of-0"
    )
    split_gguf(tmp_path / "whole.gguf", tmp_path, 3, numbers=[0, 2, 1])
    refused(
        load_gguf, paths[0], "00002-of-00003.gguf: not part 2 of 3, as its fields split.no and split.count"
    )
    split_gguf(tmp_path / "whole.gguf", tmp_path, 3, total=7)
    refused(load_gguf, paths[0], "model-00001-of-00003.gguf: the parts have 20 tensors, not 7$")
    paths[2].write_bytes(paths[2].read_bytes()[:-9])
    refused(
        load_gguf, paths[0], "00003-of-00003.gguf: truncated or corrupt GGUF: tensor .* passes the end of the"
    )


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    """A directory with two safetensors files and an index."""
    save_directory(model, tokenizer, tmp_path / "model")
    one = tmp_path / "model/model.safetensors"
    tensors = load_file(one)
    one.rename(tmp_path / "whole.safetensors")
    places = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({n: t for n, t in tensors.items() if places[n] == file}, tmp_path / "model" / file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path / "model"


def test_several_safetensors(folder):
    several = load_directory(folder)
    (folder.parent / "whole.safetensors").rename(folder / "model.safetensors")
    same(load_directory(folder), several)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda map: {}, "index.json: weight_map is missing$"),
        (lambda map: [*map], "index.json: weight_map is missing$"),
        (lambda map: map | {"x": 3}, "tensor x is in 3, which is no file beside it$"),
        (
            lambda map: map | {"x": "../whole.safetensors"},
            "tensor x is in '../whole.safetensors', which is no",
        ),
        (lambda map: map | {"x": "none.safetensors"}, "none.safetensors: no such file$"),
        (lambda map: map | {"x": "model-00001-of-00002.safetensors"}, "00001-.* tensor x is not in it$"),
        (
            lambda map: {n: f for n, f in map.items() if n != "model.norm.weight"},
            "-of-00002.safetensors: tensor model.norm.weight is not in the index$",
        ),
    ],
)
def test_index(folder, change, message):
    path = folder / "model.safetensors.index.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "weight_map": change(raw["weight_map"])}))
    refused(load_directory, folder, message)


def test_a_tensor_in_two_files(folder):
    first, second = (folder / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    tensors = load_file(first)
    save_file(load_file(second) | {"model.norm.weight": np.ones(64, np.float32)}, second)
    save_file(tensors | {"model.norm.weight": np.ones(64, np.float32)}, first)
    refused(load_directory, folder, "tensor model.norm.weight is (in another file too|not in the index)$")


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_types_of_safetensors(model, tokenizer, kind, tmp_path):
    import ml_dtypes

    save_directory(model, tokenizer, tmp_path / "model")
    path = tmp_path / "model/model.safetensors"
    form = np.float16 if kind == "F16" else ml_dtypes.bfloat16
    exact = {name: tensor.astype(form) for name, tensor in load_file(path).items()}
    save_file({name: tensor.astype(np.float32) for name, tensor in exact.items()}, path)
    expected = load_directory(path.parent)
    save_file(exact, path)
    loaded = load_directory(path.parent)
    same(expected, loaded)
    assert set(loaded.stored.values()) == {kind}
    assert all(tensor.dtype == np.float32 for tensor in loaded.tensors.values())


def test_bf16_without_the_test_packages(model, tokenizer, tmp_path):
    import ml_dtypes

    save_directory(model, tokenizer, tmp_path / "model")
    path = tmp_path / "model/model.safetensors"
    save_file({name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in load_file(path).items()}, path)
    script = (
        "import sys\nsys.modules['ml_dtypes'] = None\nfrom poblano_host.models import load_model\n"
        f"print(load_model({str(path.parent)!r}).stored['token_embd.weight'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=_environment()
    )
    assert result.stdout == "BF16\n", result.stderr


def _environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_refused_safetensors(model, tokenizer, tmp_path):
    save_directory(model, tokenizer, tmp_path)
    path = tmp_path / "model.safetensors"
    good = load_file(path)
    save_file(good | {"model.norm.weight": np.ones(64, np.int8)}, path)
    refused(load_directory, tmp_path, "model.norm.weight has unsupported type I8; F32, F16, BF16 are read$")
    save_file(good | {"model.norm.weight": np.ones((0, 64), np.float32)}, path)
    refused(load_directory, tmp_path, "model.norm.weight is empty$")
    save_file({}, path)
    refused(load_directory, tmp_path, "model.safetensors: no tensors$")
    config = tmp_path / "config.json"
    save_file(good, path)
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": {"bits": 4}}))
    refused(
        load_directory, tmp_path, "quantization_config is not supported; F32, F16 and BF16 tensors are read"
    )
