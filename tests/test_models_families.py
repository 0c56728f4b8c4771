"""Every family: a tiny random model as GGUF and as safetensors, against llama.cpp."""

from dataclasses import replace

import numpy as np
import pytest

from poblano_host.models import FloatModel
from poblano_host.models.arch import FAMILIES
from poblano_host.models.gguf import load_gguf
from poblano_host.models.operators import ACTIVATIONS
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
