"""Compiled matrix products on the golden chip: equal to the reference, in every format and for awkward
shapes."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.compute.reference import matmul
from poblano.config import preset
from poblano.formats.element import FORMATS as CHIP_FORMATS
from poblano.formats.element import Activation
from poblano.vector.reference import quantise
from poblano_host.compiler import CompileError, MatmulJob
from poblano_host.compiler.weights import FORMATS
from poblano_host.golden.chip import GoldenChip
from poblano_host.models.quantise import QUANTISERS
from tests.models_tiny import chip

ALL = tuple(CHIP_FORMATS)
TWICE = chip(formats=ALL)
TWICE = replace(TWICE, tile=replace(TWICE.tile, array=replace(TWICE.tile.array, fp4_rate=2)))


def product(job, *, shuffle=None):
    memory = np.zeros(job.memory_bytes, np.uint8)
    for address, data in job.image:
        memory[address : address + len(data)] = np.frombuffer(data, np.uint8)
    GoldenChip(job.config, memory).run(job.program.encode(), shuffle=shuffle)
    return job.product(lambda address, size: memory[address : address + size])


def reference(a, b, format, activation=Activation.INT8):
    pad = -a.shape[1] % 32
    a, b = np.pad(a, ((0, 0), (0, pad))), np.pad(b, ((0, pad), (0, 0)))
    q, scale, total = quantise(a, activation)
    w, form = QUANTISERS[format](b.T), FORMATS[format]
    return matmul(
        q,
        scale,
        total,
        w.q.T,
        w.scale.T,
        None if w.minimum is None else w.minimum.T,
        activation=activation,
        element=form["element"],
        scale_format=form["scale"],
    )


@pytest.mark.parametrize("activation", Activation, ids=lambda a: a.name)
@pytest.mark.parametrize("format", QUANTISERS)
@pytest.mark.parametrize(
    "config",
    [
        chip(formats=ALL),
        chip(rows=4, cols=4, lanes=2, tiles=1, data_width=64, formats=ALL),
        chip(64, 64, lanes=32, tiles=1, formats=ALL),
        TWICE,
    ],
    ids=["16x16", "4x4", "64x64", "fp4_rate 2"],
)
def test_every_pair_of_formats(config, format, activation):
    generator = np.random.default_rng(9)
    a, b = (
        generator.normal(size=(17, 100)).astype(np.float32),
        generator.normal(size=(100, 65)).astype(np.float32),
    )
    a[:, :32] = 0
    job = MatmulJob(a, b, config, format=format, activation=activation.name.lower())
    expected = reference(a, b, format, activation)
    np.testing.assert_array_equal(product(job), expected)
    assert np.abs(expected - a.astype(np.float64) @ b).max() < 0.7 * np.sqrt(100)


@pytest.mark.parametrize("format", ["q8_0", "q4_0", "q4_1"])
@pytest.mark.parametrize("m, k, n", [(1, 32, 32), (3, 5, 7), (40, 100, 130), (17, 600, 65), (2, 4000, 33)])
@pytest.mark.parametrize(
    "config",
    [chip(), preset("nano"), chip(tiles=3, vmem_lines=64, amem_blocks=128), chip(64, 64, lanes=32, tiles=1)],
    ids=["16x16", "nano", "little", "64x64"],
)
def test_product(config, m, k, n, format):
    generator = np.random.default_rng(m * k)
    a, b = generator.normal(size=(m, k)).astype(np.float32), generator.normal(size=(k, n)).astype(np.float32)
    job = MatmulJob(a, b, config, format=format)
    expected = reference(a, b, format)
    np.testing.assert_array_equal(product(job), expected)
    np.testing.assert_array_equal(product(job, shuffle=m + n), expected)
    exact = a.astype(np.float64) @ b
    assert np.abs(expected - exact).max() < 0.5 * np.sqrt(k)
    assert job.program.work[0].macs == m * k * n


def test_errors():
    config = chip(amem_blocks=32)
    ones = lambda *shape: np.ones(shape, np.float32)
    with pytest.raises(CompileError, match=r"can't multiply shapes \(2, 3\) and \(4, 5\)"):
        MatmulJob(ones(2, 3), ones(4, 5), config)
    with pytest.raises(CompileError, match=r"shapes \(0, 3\) and \(3, 5\) are empty"):
        MatmulJob(ones(0, 3), ones(3, 5), config)
    with pytest.raises(CompileError, match="unknown format 'q5_k'; known are q8_0, q4_0, q4_1, mxint8"):
        MatmulJob(ones(2, 3), ones(3, 5), config, format="q5_k")
    with pytest.raises(CompileError, match="this array has no E4M3 weights; it has INT8, INT4, UINT4$"):
        MatmulJob(ones(2, 3), ones(3, 5), config, format="mxfp8_e4m3")
    with pytest.raises(CompileError, match="this array has no INT8 weights with E8M0 scales; it has none$"):
        MatmulJob(ones(2, 3), ones(3, 5), config, format="mxint8")
    with pytest.raises(CompileError, match="this array has no MXFP8_E4M3 activations; it has INT8$"):
        MatmulJob(ones(2, 3), ones(3, 5), config, activation="mxfp8_e4m3")
    with pytest.raises(
        CompileError, match="unknown activation format 'fp8'; known are int8, mxint8, mxfp8_e4m3"
    ):
        MatmulJob(ones(2, 3), ones(3, 5), config, activation="fp8")
    with pytest.raises(CompileError, match="K of 1056 needs 33 blocks of activation memory; there are 32"):
        MatmulJob(ones(1, 1056), ones(1056, 5), config)
    with pytest.raises(
        CompileError, match="the product needs [0-9]+ bytes of memory; 16 address bits reach 65536"
    ):
        MatmulJob(ones(1, 32), ones(32, 5), config.with_memory(addr_width=16))
