"""The chip with MX formats, on the RTL against the golden chip, bit for bit: products of awkward shapes,
and a layer of a model."""

import numpy as np
import pytest

from poblano.config import ArrayConfig, ChipConfig, MemoryConfig, TileConfig
from poblano_host.compiler import CompiledModel, MatmulJob
from poblano_host.models import load_model
from poblano_host.models.quantise import quantise_model
from poblano_host.runtime.backend import GoldenBackend, SimulationBackend, open_backend, run_job
from tests.test_first_light import dump

FORMATS = ("int8", "int4", "mxfp8_e4m3", "mxfp4_e2m1")
CONFIG = ChipConfig(
    name="formats",
    tiles=1,
    formats=FORMATS,
    tile=TileConfig(
        array=ArrayConfig(rows=8, cols=8, load_rows=2, fp4_rate=2),
        lanes=8,
        tokens=16,
        vmem_lines=4096,
        amem_blocks=2048,
        fifo_bytes=1024,
    ),
    memory=MemoryConfig(data_width=128, burst_beats=8, outstanding=4, bandwidth=16),
    queue_depth=2,
)
CASES = {
    "mxfp8": ("mxfp8_e4m3", "mxfp8_e4m3"),
    "mxfp4": ("mxfp4_e2m1", "mxfp8_e4m3"),
    "int8 attention": ("mxfp4_e2m1", {"linear": "mxfp8_e4m3", "attention": "int8"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "which, case", [("smollm2", "mxfp8"), ("smollm2", "mxfp4"), ("default", "int8 attention")]
)
def test_layer(which, case):
    """Prefill of some tokens and a decode step after them."""
    weights, activations = CASES[case]
    model = quantise_model(load_model(which).shortened(1, vocab=64), weights, again=True)
    compiled = CompiledModel(model, CONFIG, context=64, activations=activations)
    dumping, end = dump(CONFIG, compiled.memory_bytes)
    chips = [backend(CONFIG, end, compiled.ring) for backend in (SimulationBackend, GoldenBackend)]
    for chip in chips:
        for address, data in compiled.image:
            chip.write(address, data)
    position = 0
    for tokens in ([3, 1, 4, 1, 5], [9]):
        program = compiled.step(tokens, position)
        position += len(tokens)
        results = []
        for chip in chips:
            for address, data in program.inputs:
                chip.write(address, data)
            chip.run(program.encode())
            chip.run(dumping)
            results.append(np.array(chip.memory))
            results[-1][compiled.ring[0] : compiled.ring[0] + 64 * compiled.ring[1]] = (
                0  # the golden chip has none
            )
        assert results[0][compiled.memory_bytes :].any()
        np.testing.assert_array_equal(*results)
    for chip in chips:
        chip.close()


@pytest.mark.slow
def test_products():
    """Shapes that divide by nothing, very wide and very tall, in every pair of the chip's formats."""
    rng = np.random.default_rng(1)
    shapes = [(1, 1, 1), (7, 40, 9), (33, 65, 17), (3, 32, 700), (200, 33, 3), (2, 1500, 5)]
    pairs = [
        (weights, activations)
        for weights in ("q8_0", "q4_0", "q4_1", "mxfp8_e4m3", "mxfp4_e2m1")
        for activations in ("int8", "mxfp8_e4m3", "mxfp4_e2m1")
    ]
    for n, (weights, activations) in enumerate(pairs):
        m, k, columns = shapes[n % len(shapes)]
        a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, columns)))
        job = MatmulJob(a, b, CONFIG, format=weights, activation=activations)
        golden, simulated = (
            run_job(job, open_backend(name, CONFIG, job.memory_bytes, job.ring))[0]
            for name in ("golden", "sim")
        )
        np.testing.assert_array_equal(
            simulated, golden, err_msg=f"{m} x {k} x {columns}, {weights}, {activations}"
        )
        exact = a.astype(np.float64) @ b
        assert golden.shape == exact.shape and np.abs(golden - exact).mean() < 0.35 * max(
            1, np.abs(exact).mean()
        )
