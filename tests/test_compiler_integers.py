"""Integer matrices multiply exactly; floating-point operands that the chip would lose are refused."""

import numpy as np
import pytest

from poblano.config import preset
from poblano.isa.weight_stream import ScaleFormat
from poblano_host.compiler import CompileError, IntegerProduct, MatmulJob, integer_weights
from poblano_host.runtime.backend import open_backend, run_job
from tests.models_tiny import chip
from tests.test_compiler_matmul import product


def exactly(a, b, config, backend=None):
    """The product, and how many parts it has."""
    integers, products = IntegerProduct(a, b, config), []
    for part in integers.parts:
        job = MatmulJob(*part, config, quantiser=integer_weights)
        if backend is None:
            products.append(product(job))
        else:
            opened = open_backend(backend, config, job.memory_bytes, job.ring)
            products.append(run_job(job, opened)[0])
            opened.close()
    return integers.combine(products), len(integers.parts)


@pytest.mark.parametrize(
    "low, high, dtype", [(-127, 127, np.int8), (-128, 127, np.int8), (0, 255, np.uint8), (-40000, 40000, int)]
)
@pytest.mark.parametrize("m, k, n", [(1, 1, 1), (5, 31, 7), (3, 32, 40), (20, 200, 33)])
def test_integers(m, k, n, low, high, dtype):
    generator = np.random.default_rng(k)
    a, b = (generator.integers(low, high, shape, endpoint=True).astype(dtype) for shape in ((m, k), (k, n)))
    a[0, 0], b[0, 0] = low, high
    got, parts = exactly(a, b, chip())
    assert got.dtype == np.int64 and parts == 1
    np.testing.assert_array_equal(got, a.astype(np.int64) @ b.astype(np.int64))


def test_sums_beyond_fp32():
    """K is cut where the sum of a row could pass 2**24."""
    a, b = np.full((2, 3000), 127), np.full((3000, 5), -128)
    got, parts = exactly(a, b, chip())
    assert parts == 3
    np.testing.assert_array_equal(got, a @ b)


def test_integers_of_64_bits():
    a, b = np.array([[1 << 40, -5], [-(1 << 62), 1]]), np.array([[3], [1 << 20]], np.uint64)
    np.testing.assert_array_equal(exactly(a[:1], b, chip())[0], [[(3 << 40) - (5 << 20)]])
    with pytest.raises(CompileError, match="the product has elements that integers of 64 bits don't hold"):
        exactly(a, b, chip())
    with pytest.raises(CompileError, match=f"B has elements of {1 << 63}; the largest is {(1 << 63) - 1}"):
        IntegerProduct(a, np.array([[1 << 63], [0]], np.uint64), chip())
    least = np.array([[-(1 << 63)]])
    np.testing.assert_array_equal(exactly(least, np.array([[1]]), chip())[0], least)


@pytest.mark.slow
def test_integers_on_the_chip():
    generator = np.random.default_rng(1)
    a, b = generator.integers(-128, 128, (6, 50)), generator.integers(-128, 128, (50, 9))
    np.testing.assert_array_equal(exactly(a, b, preset("desk"), "sim")[0], a @ b)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["q8_0", "q4_0"])
def test_f32_scales_on_the_chip(format):
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(6, 70)), 1e-8 * generator.normal(size=(70, 20))
    job = MatmulJob(a, b, preset("desk"), format=format)
    assert job.matrix.form["scale"] == ScaleFormat.F32
    chip = open_backend("sim", job.config, job.memory_bytes, job.ring)
    np.testing.assert_array_equal(run_job(job, chip)[0], product(job))
    chip.close()


def test_integers_need_int8():
    with pytest.raises(CompileError, match="integer matrices need INT8 activations and weights"):
        IntegerProduct(np.ones((2, 2), int), np.ones((2, 2), int), chip(formats=("mxfp8_e4m3",)))
    with pytest.raises(CompileError, match=r"can't multiply shapes \(2, 2\) and \(3, 2\)"):
        IntegerProduct(np.ones((2, 2), int), np.ones((3, 2), int), chip())


@pytest.mark.parametrize("format", ["q8_0", "q4_0"])
@pytest.mark.parametrize("magnitude", [1e-10, 1e-6, 1e-4, 1, 1e7, 1e12])
def test_magnitudes_of_b(magnitude, format):
    """The error does not depend on B's size, nor on that of one column: it was 100 % at 1e-6."""
    generator = np.random.default_rng(7)
    a, b = generator.normal(size=(8, 96)), generator.normal(size=(96, 24))
    bound = 0.012 if format == "q8_0" else 0.15
    for columns in (slice(None), slice(3, 4)):
        scaled = b.copy()
        scaled[:, columns] *= magnitude
        got, exact = product(MatmulJob(a, scaled, chip(), format=format)), a @ scaled
        error = np.sqrt(np.square(got - exact).mean(0) / np.square(exact).mean(0))
        assert error.max() < 2.5 * bound and error.mean() < bound


def test_magnitudes_that_no_format_holds():
    ones, config = np.ones((4, 64)), chip()
    column, row = np.ones((64, 8)), ones.copy()
    column[:, 5], row[2] = 1e-16, 1e-16
    with pytest.raises(
        CompileError, match="B has a column whose largest magnitude is 1e-16; blocks below 1.78e-15"
    ):
        MatmulJob(ones, column, config)
    with pytest.raises(
        CompileError, match="A has a row whose largest magnitude is 1e-16; blocks below 1.78e-15"
    ):
        MatmulJob(row, column * 0 + 1, config)
    with pytest.raises(CompileError, match="B has elements of 1e\\+300, which FP32 does not hold"):
        MatmulJob(ones, np.full((64, 8), 1e300), config)
    with pytest.raises(
        CompileError, match="B in q4_1: minima are F16, which can't hold these elements; q8_0 and"
    ):
        MatmulJob(ones, column * 0 - 1e7, config, format="q4_1")
    with pytest.raises(
        CompileError, match="B has a column whose largest magnitude is 1e-310; blocks below 1.18e-38"
    ):
        MatmulJob(ones, np.full((64, 8), 1e-310), chip(formats=("int8", "mxfp8_e4m3")), format="mxfp8_e4m3")
    mixed = np.ones((64, 8))
    mixed[:32] = 1e-16  # what is lost of these columns is nothing
    np.testing.assert_allclose(product(MatmulJob(ones, mixed, config)), 32, rtol=1e-3)


@pytest.mark.parametrize("value, what", [(np.nan, "NaN"), (np.inf, "infinities"), (-np.inf, "infinities")])
def test_operands_that_are_not_finite(value, what):
    for name in "AB":
        a, b = np.ones((2, 40)), np.ones((40, 3))
        (a if name == "A" else b)[1, 2] = value
        with pytest.raises(CompileError, match=f"^{name} has {what}; a matrix product needs finite numbers$"):
            MatmulJob(a, b, chip())
