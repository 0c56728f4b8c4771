"""What a board's chip must compute as the golden model: a matrix product, and the first layer of the
default model."""

import time

import numpy as np

from poblano_host.compiler import CompiledModel, MatmulJob
from poblano_host.models import load_model
from poblano_host.runtime.backend import open_backend, run_job
from poblano_host.runtime.errors import Mismatch

__all__ = ["check_chip", "check_layer", "check_product"]

SHAPE = (5, 70, 96)
CONTEXT = VOCAB = 64


def check_product(backend, config):
    """Run a product on what makes a backend of a board; figures. Mismatch if it differs from the golden
    model's."""
    generator = np.random.default_rng(2)
    m, k, n = SHAPE
    job = MatmulJob(generator.normal(size=(m, k)), generator.normal(size=(k, n)), config, format="q4_1")
    chips = [open_backend(name, config, job.memory_bytes, job.ring) for name in (backend, "golden")]
    begun = time.monotonic()
    product, result = run_job(job, chips[0])
    seconds = time.monotonic() - begun
    expected, _ = run_job(job, chips[1])
    _same("the product", product, expected)
    return _figures(chips[0], result, seconds)


def check_layer(backend, config, tokens=(5, 6, 7)):
    """Run the first layer, and the logits of a few tokens, on what makes a backend of a board; figures.
    Mismatch if any byte of memory differs from the golden model's."""
    compiled = CompiledModel(load_model("default").shortened(1, vocab=VOCAB), config, context=CONTEXT)
    program = compiled.step(list(tokens), 0, logits="all")
    chips = [open_backend(name, config, compiled.memory_bytes, compiled.ring) for name in (backend, "golden")]
    begun, seconds, results = time.monotonic(), [], []
    for chip in chips:
        for address, data in compiled.image + program.inputs:
            chip.write(address, data)
        results.append(chip.run(program.code))
        seconds.append(time.monotonic() - begun)
    figures = _figures(chips[0], results[0], seconds[0])
    size = compiled.ring[0]
    _same("memory", *(np.frombuffer(chip.read(0, size), np.uint8) for chip in chips))
    return figures


def check_chip(backend, layer, note):
    """Both checks, the second if ``layer``, on an :class:`~poblano_fpga.on_board.OnBoard`; figures by their
    names."""
    figures = {}
    for name, check in (("matmul", check_product), ("layer", check_layer))[: 1 + layer]:
        note(
            f"{name}: "
            + (
                "A ({}, {}) times B ({}, {})".format(*SHAPE[:2], *SHAPE[1:])
                if name == "matmul"
                else "the first layer of the default model"
            )
        )
        figures[name] = check(backend, backend.config)
    backend.device.close()
    return figures


def _same(what, ours, golden):
    if not np.array_equal(ours, golden):
        first = int(np.flatnonzero(ours.ravel() != golden.ravel())[0])
        raise Mismatch(f"{what} differs from the golden model's, first in element {first}")


def _figures(chip, result, seconds):
    return dict(
        bytes_to_board=chip.device.bytes_up,
        bytes_from_board=chip.device.bytes_down,
        cycles=result.cycles,
        seconds=round(seconds, 3),
        bit_exact=True,
    )
