"""The MX quantisers against ml_dtypes, and what they do with zeros, extremes and models."""

import ml_dtypes
import numpy as np
import pytest

from poblano.config import BLOCK
from poblano.formats.element import Activation
from poblano.vector.reference import quantise
from poblano_host.models import FloatModel, ModelError, quantise_model
from poblano_host.models.model import MX_FORMATS
from poblano_host.models.quantise import QUANTISERS
from tests.models_tiny import tiny_model

DTYPES = {
    "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp8_e5m2": ml_dtypes.float8_e5m2,
    "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp6_e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp4_e2m1": ml_dtypes.float4_e2m1fn,
}
EMAX = {"mxint8": 0, "mxfp8_e4m3": 8, "mxfp8_e5m2": 15, "mxfp6_e2m3": 2, "mxfp6_e3m2": 4, "mxfp4_e2m1": 2}
"""The specification's table 1 and section 6.3."""


def matrix(seed=0):
    """(512, 320): blocks of all magnitudes that float32 has, zeros and powers of two among them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(512, 10, BLOCK)) * np.exp2(rng.integers(-20, 20, (512, 10, 1)))
    x[:40] *= np.exp2(rng.integers(-130, 100, (40, 10, 1)))
    x[40] = 0
    x[41, :, 1:] = 0
    x[42] = np.exp2(rng.integers(-30, 30, (10, BLOCK)))
    x[43, :, 0] = np.finfo(np.float32).max
    x[44] = np.finfo(np.float32).smallest_subnormal * rng.integers(-9, 10, (10, BLOCK))
    return np.clip(x, -3.4028234e38, 3.4028234e38).astype(np.float32).reshape(512, 320)


@pytest.mark.parametrize("name", EMAX)
def test_against_ml_dtypes(name):
    x = matrix()
    tensor = QUANTISERS[name](x)
    blocks = x.reshape(512, 10, BLOCK).astype(np.float64)
    amax = np.abs(blocks).max(-1)
    with np.errstate(divide="ignore"):
        exponent = np.clip(
            np.where(amax > 0, np.floor(np.log2(amax)), -np.inf) - EMAX[name], -127, 127
        ).astype(int)
    np.testing.assert_array_equal(tensor.scale, np.ldexp(np.float32(1), exponent))
    assert tensor.scale.dtype == np.float32 and tensor.format == name
    np.testing.assert_array_equal(
        tensor.scale.astype(ml_dtypes.float8_e8m0fnu).astype(np.float32), tensor.scale
    )
    scaled = np.ldexp(blocks, -exponent[..., None])
    if name == "mxint8":
        values = np.clip(np.round(scaled * 64), -127, 127) / 64
        np.testing.assert_array_equal(tensor.q, (values * 64).astype(np.int8).reshape(x.shape))
    else:
        dtype = DTYPES[name]
        largest = float(ml_dtypes.finfo(dtype).max)
        # In float32 nothing rounds that ml_dtypes would not round the same way.
        codes = np.clip(scaled, -largest, largest).astype(np.float32).astype(dtype)
        values = codes.astype(np.float64)
        np.testing.assert_array_equal(tensor.q, codes.view(np.uint8).reshape(x.shape))
    exact = np.ldexp(values, exponent[..., None]).reshape(x.shape)
    got = tensor.dequantise()
    assert got.dtype == np.float32 and np.isfinite(got).all()
    np.testing.assert_array_equal(got.astype(np.float64), exact)
    np.testing.assert_array_equal(tensor.rows(slice(3, 7)).dequantise(), got[3:7])


@pytest.mark.parametrize("name", EMAX)
def test_as_the_chip(name):
    """Weights and activations of the same numbers have the same codes and scales."""
    x = matrix(1)
    tensor, activation = QUANTISERS[name](x), Activation[name.upper()]
    codes, scale, _ = quantise(x, activation)
    np.testing.assert_array_equal(tensor.q.view(np.int8), codes)
    np.testing.assert_array_equal(tensor.scale, scale)


@pytest.mark.parametrize("name", EMAX)
def test_error_is_bounded(name):
    x = np.random.default_rng(2).normal(size=(64, 320)).astype(np.float32)
    error = np.abs(QUANTISERS[name](x).dequantise() - x).reshape(64, 10, BLOCK).max(-1)
    amax = np.abs(x).reshape(64, 10, BLOCK).max(-1)
    mantissa = MX_FORMATS[name].element.format.mantissa_bits or 6
    # The largest may be clamped: E4M3 loses up to 2 - 1.75 of 2**8, the others less than an element's last
    # bit and a half.
    assert (error <= amax * (0.125 if name == "mxfp8_e4m3" else 2.0**-mantissa)).all()


def test_errors():
    with pytest.raises(ValueError, match="infinities and NaN have no block format"):
        QUANTISERS["mxfp8_e4m3"](np.full((1, 32), np.inf))
    with pytest.raises(ValueError, match="rows of 33 elements do not divide into blocks of 32"):
        QUANTISERS["mxfp4_e2m1"](np.ones((1, 33)))
    with pytest.raises(
        ModelError, match="unknown format 'mxfp4'; known are q8_0, q4_0, q4_1, mxint8, mxfp8_e4m3"
    ):
        quantise_model(tiny_model(), "mxfp4")


def test_models():
    model = tiny_model()
    assert (
        quantise_model(model, "mxfp8_e4m3").tensors["blk.0.attn_q.weight"]
        is model.tensors["blk.0.attn_q.weight"]
    )
    again = quantise_model(model, "mxfp8_e4m3", again=True)
    assert {t.format for t in again.tensors.values() if hasattr(t, "format")} == {"mxfp8_e4m3"}
    assert again.tensors["output_norm.weight"] is model.tensors["output_norm.weight"]
    np.testing.assert_array_equal(
        again.embed([3, 1]), again.tensors["token_embd.weight"].dequantise()[[3, 1]]
    )
    twice = quantise_model(again, "mxfp8_e4m3", again=True)
    assert twice.tensors["blk.0.attn_q.weight"] is again.tensors["blk.0.attn_q.weight"]
    assert np.isfinite(FloatModel(again).forward([1, 2, 3])).all()
