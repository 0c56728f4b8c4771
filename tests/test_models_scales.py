"""Scales of blocks: F16 as GGUF has them, F32 where these lose something, and what neither holds."""

import numpy as np
import pytest

from poblano.formats.scale_reference import read_scale
from poblano_host.models import BlockTensor, ModelError, quantise, quantise_model
from poblano_host.models.block_scales import TOLERANCE
from poblano_host.models.quantise import QUANTISERS, quantise_weights
from tests.models_tiny import tiny_model

PLAIN = ("q8_0", "q4_0")


def error(tensor, array):
    """The relative RMS error of each row, with scales as the chip reads them."""
    read = BlockTensor(tensor.format, tensor.q, read_scale(tensor.scale.astype(np.float32)), tensor.minimum)
    lost = np.square(read.dequantise().astype(np.float64) - array).sum(1)
    return np.sqrt(lost / np.square(array.astype(np.float64)).sum(1))


@pytest.fixture
def array():
    return np.random.default_rng(3).normal(size=(40, 256)).astype(np.float32)


@pytest.mark.parametrize("format", PLAIN)
@pytest.mark.parametrize("exponent", [-40, -20, -8, 0, 12, 30, 100])
def test_magnitudes(array, format, exponent):
    """The error is the same at every magnitude; the scales are F16 where these have it."""
    tensor = QUANTISERS[format](array * np.float32(2.0**exponent))
    assert tensor.scale.dtype == (np.float16 if -8 <= exponent <= 12 else np.float32)
    usual = error(QUANTISERS[format](array), array)
    got = error(tensor, array * np.float32(2.0**exponent))
    np.testing.assert_allclose(got, usual, rtol=0.1, atol=TOLERANCE)


@pytest.mark.parametrize("format", PLAIN)
def test_a_row(array, format):
    """One row that F16 scales lose is enough; a small block in a row is not."""
    block = array.copy()
    block[4, 32:64] *= 1e-6
    assert QUANTISERS[format](block).scale.dtype == np.float16
    array[4] *= 1e-6
    tensor = QUANTISERS[format](array)
    assert tensor.scale.dtype == np.float32 and error(tensor, array).max() < 0.15
    array[4] *= 1e-11
    with pytest.raises(ValueError, match="no scale holds rows whose largest magnitude is .*e-17; the least"):
        QUANTISERS[format](array)


def test_weights_of_models(array):
    """Dead rows become zeros; what every row has is kept, and rows are quantised in parts as at once."""
    array[7] = np.float32(1e-30)
    held = quantise_weights(array, "q8_0")
    assert held.scale.dtype == np.float16 and not held.dequantise()[7].any() and array[7].all()
    array[7] = 1e-7
    wide = quantise_weights(array, "q8_0")
    assert wide.scale.dtype == np.float32 and error(wide, array).max() < 0.01


@pytest.mark.parametrize("format", QUANTISERS)
def test_parts(array, format, monkeypatch):
    whole = QUANTISERS[format](array)
    monkeypatch.setattr(quantise, "AT_ONCE", 3 * 256)
    parts = quantise_weights(array, format)
    assert (parts.minimum is None) == (whole.minimum is None)
    for name in ("q", "scale"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    if format in PLAIN:
        array[9] *= 1e-6
        mixed = quantise_weights(array, format)
        np.testing.assert_array_equal(mixed.scale, QUANTISERS[format](array).scale)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("format", QUANTISERS)
def test_not_finite(array, format, value):
    array[3, 5] = value
    with pytest.raises(ValueError, match="^infinities and NaN have no block format$"):
        QUANTISERS[format](array)


def test_a_model_that_has_no_such_format():
    model = tiny_model()
    weights = model.tensors["blk.0.ffn_up.weight"].dequantise() + np.float32(1e6)
    model.tensors["blk.0.ffn_up.weight"] = weights
    with pytest.raises(
        ModelError, match="tiny: tensor blk.0.ffn_up.weight: minima are F16, which can't hold"
    ):
        quantise_model(model, "q4_1")
