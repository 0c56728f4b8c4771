"""Capacities of experts: texts, and models that can't have one."""

import numpy as np
import pytest

from poblano_host.models import FloatModel, ModelError
from poblano_host.models.capacity import Capacity
from tests.models_tiny import tiny_model

MIXTURE = dict(family="mixtral", experts=4, used=2)


def test_texts():
    assert Capacity.read("8/32") == Capacity(8, 32)
    for text in ("", "8", "8/", "/32", "-1/8", "8/32/4", "8.0/32", "a/b", "8 / 32", "9999999/1"):
        with pytest.raises(ValueError, match="a capacity is two numbers"):
            Capacity.read(text)
    for text in ("0/8", "8/8", "9/8", "0/0"):
        with pytest.raises(ValueError, match="it is 1 to"):
            Capacity.read(text)


def test_refusals():
    with pytest.raises(ModelError, match="has no experts that could have a capacity"):
        tiny_model().with_capacity(Capacity(2, 8))
    with pytest.raises(ModelError, match="8 tokens choose 16 experts; 4 experts have room for 12"):
        tiny_model(**MIXTURE).with_capacity(Capacity(3, 8))


def test_the_float_model_routes_prompts_alone():
    """Windows of the prompt, however it is cut; what is chosen has room."""
    model = tiny_model(**MIXTURE)
    tokens = np.random.default_rng(0).integers(0, 72, 24).tolist()
    limited = model.with_capacity(Capacity(4, 8))
    free, whole = (FloatModel(m).forward(tokens, prompt=20) for m in (model, limited))
    assert not np.array_equal(free, whole)
    cut = FloatModel(limited)
    parts = [cut.forward(tokens[a:b], a, prompt=20) for a, b in ((0, 8), (8, 20), (20, 24))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(FloatModel(limited).forward(tokens), free)
