"""Compiled matrix products on the golden chip: equal to the reference, in every format and for awkward shapes."""

import numpy as np
import pytest

from poblano.compute.reference import matmul
from poblano.config import preset
from poblano.vector.reference import quantise
from poblano_host.compiler import CompileError, MatmulJob
from poblano_host.golden import GoldenChip
from poblano_host.models.quantise import QUANTISERS

from .models_tiny import chip


def product(job, *, shuffle=None):
    memory = np.zeros(job.memory_bytes, np.uint8)
    for address, data in job.image:
        memory[address:address + len(data)] = np.frombuffer(data, np.uint8)
    GoldenChip(job.config, memory).run(job.program.encode(), shuffle=shuffle)
    address, (rows, columns) = job.program.result
    return memory[address:address + 4 * rows * columns].view(np.float32).reshape(rows, columns)[:, :job.shape[1]]


def reference(a, b, format):
    pad = -a.shape[1] % 32
    a, b = np.pad(a, ((0, 0), (0, pad))), np.pad(b, ((0, pad), (0, 0)))
    q, scale, total = quantise(a)
    w = QUANTISERS[format](b.T)
    return matmul(q, scale, total, w.q.T, w.scale.T, None if w.minimum is None else w.minimum.T)


@pytest.mark.parametrize("format", QUANTISERS)
@pytest.mark.parametrize("m, k, n", [(1, 32, 32), (3, 5, 7), (40, 100, 130), (17, 600, 65), (2, 4000, 33)])
@pytest.mark.parametrize("config", [chip(), preset("nano"), chip(tiles=3, vmem_lines=64, amem_blocks=128),
                                    chip(64, 64, lanes=32, tiles=1)], ids=["16x16", "nano", "little", "64x64"])
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
    with pytest.raises(CompileError, match="unknown format 'q5_k'; known are q8_0, q4_0, q4_1"):
        MatmulJob(ones(2, 3), ones(3, 5), config, format="q5_k")
    with pytest.raises(CompileError, match="K of 1056 needs 33 blocks of activation memory; there are 32"):
        MatmulJob(ones(1, 1056), ones(1056, 5), config)
    with pytest.raises(CompileError, match="the product needs [0-9]+ bytes of memory; 16 address bits reach 65536"):
        MatmulJob(ones(1, 32), ones(32, 5), config.with_memory(addr_width=16))
